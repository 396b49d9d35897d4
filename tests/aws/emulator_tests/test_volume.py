"""A snapshot's volume equals a dict of its blocks, after any history of children and deleted parents."""

from __future__ import annotations

from emulator.snapshot import BLOCK, Block, Snapshot
from hypothesis import given
from hypothesis import strategies as st

PUTS = st.dictionaries(st.integers(0, 5), st.sampled_from([b"\0", b"a", b"b"]), max_size=4)


def line(generations):
    """Return a chain of snapshots, each the child of the previous one, and the expected content of each volume."""
    snapshots, held, parent = [], [], None
    for puts in generations:
        own = {index: Block.of(byte * BLOCK) for index, byte in puts.items()}
        parent = Snapshot(f"snap-{len(snapshots)}", 1, 0.0, parent=parent, own=own)
        snapshots.append(parent)
        held.append({**(held[-1] if held else {}), **puts})
    return snapshots, held


@given(st.lists(PUTS, min_size=1, max_size=4), st.data())
def test_volume_has_the_expected_blocks(generations, data):
    snapshots, held = line(generations)
    for deleted in data.draw(st.sets(st.integers(0, len(snapshots) - 1))):
        for one in snapshots:
            if one.parent is snapshots[deleted]:
                one.orphan()
    for one, blocks in zip(snapshots, held, strict=True):
        assert list(one.blocks) == sorted(blocks)
        assert {index: block.data[:1] for index, block in one.blocks.items()} == blocks
        expected = b"".join(blocks.get(index, b"\0") * 2 for index in range(6))
        assert b"".join(one.read(index * BLOCK + 7, 2) for index in range(6)) == expected
        assert list(one.content) == sorted(index for index, byte in blocks.items() if byte != b"\0")


def test_read_across_blocks():
    one = Snapshot("snap-1", 1, 0.0, own={1: Block.of(b"x" * BLOCK)})
    assert one.read(BLOCK - 2, 4) == b"\0\0xx"
    assert one.read(2 * BLOCK - 2, 4) == b"xx\0\0"


def test_volume_as_a_file(tmp_path):
    one = Snapshot("snap-1", 1, 0.0, own={1: Block.of(b"x" * BLOCK)})
    one.write_to(tmp_path / "volume")
    assert (tmp_path / "volume").stat().st_size == 1 << 30
    with (tmp_path / "volume").open("rb") as file:
        file.seek(BLOCK - 1)
        assert file.read(2) == b"\0x"
