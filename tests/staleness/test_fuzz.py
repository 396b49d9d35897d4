"""Random projects and edits: after each the kernel is that of a build from nothing.

`nox -s fuzz` plays 5,000 edits (STALENESS_EDITS), with other seeds (STALENESS_SEED).
"""

import dataclasses
import os

import pytest
from stories import PASSED, Counts, StalenessError, Story, generate, play, shrink, summarize

EDITS = int(os.environ.get("STALENESS_EDITS", "200"))
SEED = int(os.environ.get("STALENESS_SEED", "100"))
EACH = 10  # edits in one story


@pytest.mark.parametrize("seed", range(SEED, SEED + EDITS // EACH))
def test_no_story_leaves_a_stale_kernel(tmp_path, server, record_property, seed):
    counts, end = Counts(), "was cut off"
    try:
        play(generate(seed, EACH), tmp_path / "story", server, counts)
        end = PASSED
    except StalenessError as fault:
        end = fault.what
        short = shrink(fault, tmp_path, server)
        pytest.fail(f"seed {seed}: {short}\nto see it again: play({short.story}, ...)", pytrace=False)
    finally:
        record_property("staleness", {**dataclasses.asdict(counts), "end": end})
    assert counts.needless <= EACH / 2, counts


def test_the_summary_counts_no_edit_of_a_story_that_failed():
    passed = {"edits": 10, "builds": 5, "needless": 1, "questions": 3, "end": "passed"}
    stale = {**passed, "end": "a stale kernel"}
    assert summarize([passed, passed, stale, {**passed, "end": "was cut off"}]) == [
        "2 of 4 stories passed, with 20 edits: 10 builds, 2 of them needless, 6 calls of make -q or -pn",
        "1 story: a stale kernel",
        "1 story: was cut off",
    ]


FOUND = (
    Story(("link-upwards",), ((("removed", "link-upwards"),),)),
    Story(("recursive-makefile",), ((("plain-make", "recursive-makefile"), ("same-date", "recursive-makefile")),)),
    Story(("generated-header-compiled",), ((("state-removed", "generated-header-compiled"),),) * 2),
    Story(
        ("link-to-file", "git-revision-blind"),
        ((("state-removed", "link-to-file"),), (("change", "git-revision-blind"),)),
    ),
    Story(
        ("compiler-shadowed", "incbin"),
        ((("state-removed", "incbin"),), (("change", "compiler-shadowed"),)),
    ),
)


@pytest.mark.parametrize("story", FOUND, ids=lambda story: story.kinds[0])
def test_a_fault_that_a_story_found_stays_fixed(tmp_path, server, story):
    play(story, tmp_path, server)
