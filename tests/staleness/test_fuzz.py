"""Random projects and edits: after each the kernel is that of a build from nothing.

`nox -s fuzz` plays 5,000 edits (STALENESS_EDITS), with other seeds (STALENESS_SEED).
"""

import dataclasses
import os

import pytest
from stories import Counts, StalenessError, generate, play, shrink

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
