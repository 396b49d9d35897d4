"""The calculations of an upload, without calls of AWS."""

from __future__ import annotations

import base64
import hashlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws.client import Stopped
from unibuild.aws.errors import Kind
from unibuild.aws.snapshot import blocks
from unibuild.aws.snapshot.blocks import ZEROS, BaseSnapshot, checksum_tags, checksums_from_tags
from unibuild.aws.snapshot.workers import ConcurrencyLimiter

DIGESTS = st.dictionaries(st.integers(0, 40), st.sampled_from([bytes([n]) * 32 for n in range(1, 5)]), max_size=20)


def applied(upload: blocks.UploadPlan, bases: list[BaseSnapshot]) -> dict[int, bytes]:
    """Return the content of a volume after an upload, by the rules of EBS."""
    there = next((dict(base.digests) for base in bases if base.id == upload.parent), {})
    return {index: digest for index, digest in sorted((there | upload.puts).items()) if digest != ZEROS}


@given(DIGESTS, st.lists(DIGESTS, max_size=3))
def test_upload_gives_the_wanted_volume_with_the_fewest_blocks(wanted, others):
    bases = [BaseSnapshot(f"snap-{number}", 1, other) for number, other in enumerate(others)]
    upload = blocks.plan_upload(wanted, 1, bases)
    assert applied(upload, bases) == dict(sorted(wanted.items()))
    differences = [sum(wanted.get(i) != other.get(i) for i in wanted | other) for other in others]
    assert len(upload.puts) == min([len(wanted), *differences])
    assert list(upload.puts) == sorted(upload.puts)


def test_block_of_zeros_is_put_over_a_block_of_the_parent():
    upload = blocks.plan_upload(
        {0: b"a" * 32, 1: b"b" * 32}, 1, [BaseSnapshot("snap-1", 1, {0: b"a" * 32, 1: b"b" * 32, 2: b"c" * 32})]
    )
    assert (upload.parent, upload.puts) == ("snap-1", {2: ZEROS})


def test_parent_is_not_used_if_that_is_cheaper():
    base = BaseSnapshot("snap-1", 1, {index: bytes([index]) * 32 for index in range(1, 20)})
    assert blocks.plan_upload({0: b"x" * 32, 1: b"y" * 32}, 1, [base]).parent is None


def test_parent_is_never_larger_than_the_volume():
    assert blocks.plan_upload({0: b"x" * 32}, 1, [BaseSnapshot("snap-1", 2, {0: b"x" * 32})]).parent is None


@given(DIGESTS)
def test_checksums_are_read_back_from_tags(digests):
    tags = checksum_tags(digests)
    assert all(len(value) <= 255 for value in tags.values())
    found = checksums_from_tags(tags | {"Name": "hello"})
    assert (found or {}) == {index: digest[:6] for index, digest in digests.items()}


def test_large_image_needs_several_tags_and_a_missing_one_is_noticed():
    digests = {index: hashlib.sha256(bytes([index])).digest() for index in range(100)}
    tags = checksum_tags(digests)
    assert len(tags) == 4
    for lost in tags:
        assert checksums_from_tags({key: value for key, value in tags.items() if key != lost}) is None


def test_checksums_that_do_not_fit_into_tags_are_omitted():
    assert checksum_tags({2000: b"x" * 32}) == {}


@pytest.mark.parametrize("value", ["", "no base64", "2:AAAA", "1:AAAAA", "AAAAAAAA"])
def test_other_tags_have_no_checksums(value):
    assert checksums_from_tags({"unibuild:blocks": value}) is None


@given(DIGESTS)
def test_aggregate_checksum_is_over_the_digests_in_order(digests):
    joined = b"".join(digest for _, digest in sorted(digests.items()))
    assert (
        blocks.aggregate(dict(reversed(digests.items()))) == base64.b64encode(hashlib.sha256(joined).digest()).decode()
    )


def test_token_depends_on_all_parameters():
    upload = blocks.plan_upload({0: b"x" * 32}, 1)
    token = blocks.client_token(upload, {"Description": "a"}, 0)
    assert token == blocks.client_token(blocks.plan_upload({0: b"x" * 32}, 1), {"Description": "a"}, 0)
    assert len(token) == 64
    others = [
        blocks.client_token(upload, {"Description": "b"}, 0),
        blocks.client_token(upload, {"Description": "a"}, 1),
    ]
    others.append(blocks.client_token(blocks.plan_upload({0: b"y" * 32}, 1), {"Description": "a"}, 0))
    assert len({token, *others}) == 4


class Watch:
    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


def paced(pace: ConcurrencyLimiter, watch: Watch, seconds: float) -> None:
    with pace:
        watch.time += seconds
    pace.record_success()


def test_pace_doubles_at_first_then_halves_on_a_fault_and_grows_by_one():
    watch = Watch()
    pace = ConcurrencyLimiter(watch)
    for _ in range(8):
        paced(pace, watch, 0.1)
    assert pace.limit == 16
    pace.record_fault(Kind.THROTTLE)
    pace.record_fault(Kind.THROTTLE)  # faults at the same time count once
    assert pace.limit == 8
    for _ in range(8):
        paced(pace, watch, 0.1)
    assert 8.9 < pace.limit < 9.1
    watch.time += 10
    pace.record_fault(Kind.ABSENT)
    assert pace.limit > 8.9


def test_pace_does_not_double_if_the_line_is_full():
    watch = Watch()
    pace = ConcurrencyLimiter(watch)
    for _ in range(8):
        paced(pace, watch, 3.0)
    assert 8.9 < pace.limit < 9.1


def test_pace_does_not_grow_if_that_only_makes_calls_wait():
    watch = Watch()
    pace = ConcurrencyLimiter(watch)
    paced(pace, watch, 0.1)
    before = pace.limit
    paced(pace, watch, 0.5)
    assert pace.limit == before


@given(st.lists(st.booleans(), max_size=300))
def test_pace_stays_within_its_limits(story):
    watch = Watch()
    pace = ConcurrencyLimiter(watch, start=8, least=1, most=32)
    for well in story:
        watch.time += 1
        paced(pace, watch, 0.1) if well else pace.record_fault(Kind.TRANSIENT)
        assert 1 <= pace.limit <= 32


def test_pace_limits_calls_and_releases_waiting_ones_at_the_end():
    pace = ConcurrencyLimiter(lambda: 0.0, start=1)
    sent = threading.Event()

    def wait() -> None:
        with pytest.raises(Stopped), pace:
            pass
        sent.set()

    with pace:
        threading.Thread(target=wait, daemon=True).start()
        assert not sent.wait(0.05)
        pace.close()
        assert sent.wait(30)
