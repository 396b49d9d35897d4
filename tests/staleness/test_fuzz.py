"""Random projects and edits: after each the kernel is that of a build from nothing.

`nox -s fuzz` plays 5,000 edits (STALENESS_EDITS), with other seeds (STALENESS_SEED).
"""

import dataclasses
import os

import pytest
from stories import Counts, StalenessError, Story, generate, play, shrink

EDITS = int(os.environ.get("STALENESS_EDITS", "200"))
SEED = int(os.environ.get("STALENESS_SEED", "100"))
EACH = 10  # edits in one story


@pytest.mark.parametrize("seed", range(SEED, SEED + EDITS // EACH))
def test_no_story_leaves_a_stale_kernel(tmp_path, server, record_property, seed):
    counts = Counts()
    try:
        play(generate(seed, EACH), tmp_path / "story", server, counts)
    except StalenessError as fault:
        short = shrink(fault, tmp_path, server)
        pytest.fail(f"seed {seed}: {short}\nto see it again: play({short.story}, ...)", pytrace=False)
    record_property("staleness", dataclasses.asdict(counts))
    assert counts.needless <= EACH / 2, counts


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
