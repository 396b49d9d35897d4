"""The files with the results: well-formed whatever a console said, and with the right numbers."""

import json
from pathlib import Path
from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from unibuild.testing.results import junit_xml, results_json
from unibuild.testing.runner import CaseResult

texts = st.text(st.characters(codec=None, exclude_categories=()))
results = st.builds(
    CaseResult,
    name=texts,
    outcome=st.sampled_from(["passed", "failed", "error", "skipped"]),
    seconds=st.floats(0, 1e6),
    message=st.none() | texts,
    details=st.lists(texts, max_size=3).map(tuple),
    console=texts,
    log=st.none() | st.just(Path("a.log")),
)


@given(texts, st.lists(results, max_size=5))
def test_xml_is_well_formed_and_counts(suite, all_of_them):
    root = ElementTree.fromstring(junit_xml(suite, all_of_them))
    for element in (root, root[0]):
        assert int(element.get("tests")) == len(all_of_them)
        assert int(element.get("failures")) == sum(result.outcome == "failed" for result in all_of_them)
        assert int(element.get("errors")) == sum(result.outcome == "error" for result in all_of_them)
    bad = [case for case in root.iter("testcase") if case.find("failure") is not None or case.find("error") is not None]
    assert len(bad) == sum(result.outcome in ("failed", "error") for result in all_of_them)


def test_xml_of_a_failure():
    failed = CaseResult("boots", "failed", 1.5, "it crashed", ("| a\x1b[1m<b>",), "a\x1b[1m<b>\nc", Path("boots.log"))
    (case,) = ElementTree.fromstring(junit_xml("hello", [failed])).iter("testcase")
    assert case.attrib == {"classname": "hello", "name": "boots", "time": "1.500"}
    assert case.find("failure").get("message") == "it crashed"
    assert case.find("failure").text == "it crashed\n| a\ufffd[1m<b>"
    assert case.find("system-out").text == "a\ufffd[1m<b>\nc"


@given(st.lists(results, max_size=5))
def test_json_holds_the_same(all_of_them):
    tree = json.loads(results_json("hello", "lab", all_of_them))
    assert [test["outcome"] for test in tree["tests"]] == [result.outcome for result in all_of_them]
    assert tree["passed"] is all(result.outcome == "passed" for result in all_of_them)
