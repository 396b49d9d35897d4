"""Compare the blocks of two snapshots."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws.snapshot.comparison import BlockDifference, compare_block

SIZE = 64
blocks = st.one_of(st.none(), st.binary(min_size=SIZE, max_size=SIZE))


@given(st.integers(0, 9), blocks, blocks)
def test_counts_are_those_of_different_bytes(index, first, second):
    pairs = list(zip(first or bytes(SIZE), second or bytes(SIZE), strict=True))
    different = [place for place, (one, other) in enumerate(pairs) if one != other]
    found = compare_block(index, SIZE, first, second)
    if not different:
        assert found is None
        return
    assert found == BlockDifference(index, found.how, len(different), index * SIZE + different[0])
    assert found.how == ("first" if second is None else "second" if first is None else "changed")


def test_block_of_zeros_equals_a_missing_block():
    assert compare_block(3, SIZE, bytes(SIZE), None) is None
