"""Write test results for other programs, as JUnit XML and as JSON.

There is no single standard for the XML. This is what GitHub's reporters, GitLab and Jenkins all read
("jenkins-junit.xsd" of Jenkins's xunit plugin):
``testsuites/testsuite/testcase`` with ``failure``, ``error`` or ``skipped``.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.testing.runner import CaseResult

__all__ = ["VERSION", "junit_xml", "results_json"]

VERSION = 1
_ELEMENTS = {"failed": "failure", "error": "error", "skipped": "skipped"}
_TYPES = {"failed": "expectation", "error": "unibuild"}
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, production 2, "Char"


def junit_xml(suite: str, results: Sequence[CaseResult]) -> bytes:
    """Return the results as JUnit XML, in UTF-8.

    Args:
        suite: what was tested: the domain's name.
        results: in the order in which they ran.
    """
    counts = {
        "tests": str(len(results)),
        "failures": str(sum(result.outcome == "failed" for result in results)),
        "errors": str(sum(result.outcome == "error" for result in results)),
        "skipped": str(sum(result.outcome == "skipped" for result in results)),
        "time": f"{sum(result.seconds for result in results):.3f}",
    }
    root = ElementTree.Element("testsuites", counts)
    inner = ElementTree.SubElement(root, "testsuite", {"name": _safe(suite), **counts})
    for result in results:
        about = {"classname": _safe(suite), "name": _safe(result.name), "time": f"{result.seconds:.3f}"}
        case = ElementTree.SubElement(inner, "testcase", about)
        if result.outcome in _ELEMENTS:
            kind = {"type": _TYPES[result.outcome]} if result.outcome in _TYPES else {}
            why = ElementTree.SubElement(
                case, _ELEMENTS[result.outcome], {"message": _safe(result.message or ""), **kind}
            )
            why.text = _safe("\n".join((result.message or "", *result.details)))
        if result.console:
            ElementTree.SubElement(case, "system-out").text = _safe(result.console)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def results_json(suite: str, host: str, results: Sequence[CaseResult]) -> str:
    """Return the results as one JSON object; docs/reference/test.md describes it."""
    tests = [
        {
            "name": result.name,
            "outcome": result.outcome,
            "seconds": round(result.seconds, 3),
            "message": result.message,
            "details": list(result.details),
            "log": str(result.log) if result.log else None,
        }
        for result in results
    ]
    passed = all(result.outcome == "passed" for result in results)
    tree = {"version": VERSION, "name": suite, "host": host, "passed": passed, "tests": tests}
    return json.dumps(tree, indent=1) + "\n"


def _safe(text: str) -> str:
    """Return the text with the characters that XML cannot contain, such as escape sequences, replaced."""
    return _NO_XML.sub("\N{REPLACEMENT CHARACTER}", text)
