"""unibuild/stamps.py: what makes a task stale."""

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild import files, stamps
from unibuild.stamps import Watch, judge, seal


@pytest.fixture
def watch(tmp_path):
    """A task with an input, an input that an earlier task made, and a target, all there."""
    for name in ("source", "made", "target"):
        (tmp_path / name).write_text(name)
    path = {name: (str(tmp_path / name),) for name in ("source", "made", "target")}
    return Watch(
        root=str(tmp_path),
        inputs=path["source"],
        made=path["made"],
        targets=path["target"],
        fingerprint={"arguments": "-t xen"},
        digest=lambda name: files.sha256(tmp_path / name),
    )


@pytest.fixture
def record(watch):
    return seal(watch, judge(watch, None).record)


def rewrite(path):
    """Write the same bytes into a new file of that name."""
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes())
    beside.replace(path)


def test_without_a_record_it_is_stale(watch):
    assert judge(watch, None).reason == "not done yet"


def test_with_everything_as_it_was_it_is_up_to_date(watch, record):
    assert judge(watch, record).reason is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [("source", "source changed"), ("made", "made changed"), ("target", "target is not what was made")],
)
def test_an_edit_makes_it_stale_and_is_named(watch, record, tmp_path, name, reason):
    (tmp_path / name).write_text("edited")
    assert judge(watch, record).reason == reason


@pytest.mark.parametrize(
    ("name", "reason"), [("source", "source is gone"), ("made", "made is gone"), ("target", "target is missing")]
)
def test_a_lost_file_makes_it_stale_and_is_named(watch, record, tmp_path, name, reason):
    (tmp_path / name).unlink()
    assert judge(watch, record).reason == reason


def test_a_source_with_an_older_date_and_the_same_size_is_stale(watch, record, tmp_path):
    os.utime(tmp_path / "source", ns=(0, 1))
    assert judge(watch, record).reason == "source changed"


def test_a_source_that_was_replaced_by_one_with_the_same_date_and_size_is_stale(watch, record, tmp_path):
    before = (tmp_path / "source").stat().st_mtime_ns
    (tmp_path / "keep").hardlink_to(tmp_path / "source")  # or the new file might get the old one's inode
    rewrite(tmp_path / "source")
    os.utime(tmp_path / "source", ns=(before, before))
    assert judge(watch, record).reason == "source changed"


@pytest.mark.parametrize("name", ["made", "target"])
def test_what_was_made_and_is_made_again_the_same_is_up_to_date(watch, record, tmp_path, name):
    rewrite(tmp_path / name)
    verdict = judge(watch, record)
    assert (verdict.reason, verdict.suspects) == (None, ())
    assert verdict.record != record, "the new stamps are worth keeping: the next look need not read the file"


def test_a_setting_makes_it_stale_and_is_named(watch, record):
    changed = watch._replace(fingerprint={"arguments": "-t hvt"})
    assert judge(changed, record).reason == "arguments changed"


def test_more_than_one_reason_is_counted(watch, record, tmp_path):
    changed = watch._replace(inputs=(str(tmp_path / "made"), str(tmp_path / "target")))
    assert judge(changed, record).reason == "made is new (and 2 more)"


def test_targets_not_known_to_be_ours_are_suspects(watch, record, tmp_path):
    assert judge(watch, None).suspects == watch.targets
    assert judge(watch, record).suspects == ()
    (tmp_path / "target").write_text("cut")
    assert judge(watch, record).suspects == watch.targets


def test_an_edit_after_the_verdict_is_seen_the_next_time(watch, tmp_path):
    before = judge(watch, None).record
    (tmp_path / "source").write_text("SOURCE")  # at once, and of the same size
    assert judge(watch, seal(watch, before)).reason == "source changed"


def test_an_edit_of_what_was_made_after_the_verdict_is_seen_the_next_time(watch, tmp_path):
    before = judge(watch, None).record
    (tmp_path / "made").write_text("MADE")
    assert judge(watch, seal(watch, before)).reason == "made changed"


def test_a_target_written_right_after_the_success_is_seen(watch, record, tmp_path):
    (tmp_path / "target").write_text("TARGET")
    assert judge(watch, record).reason == "target is not what was made"


def test_an_edit_before_the_success_ended_is_late_and_one_after_it_is_not(watch, tmp_path):
    before = judge(watch, None).record
    (tmp_path / "source").write_text("edited")
    record = seal(watch, before)
    assert judge(watch, record).late == watch.inputs
    stamps.settle([stamps.take(watch.inputs[0])])
    (tmp_path / "source").write_text("edited again")
    assert judge(watch, record).late == ()


names = st.sampled_from(["source", "made", "target"])


@settings(deadline=None, max_examples=25)
@given(edits=st.dictionaries(names, st.binary(max_size=9), max_size=3))
def test_only_files_with_other_content_make_it_stale(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("tree")
    for name in ("source", "made", "target"):
        (folder / name).write_bytes(b"as it was")
    path = {name: (str(folder / name),) for name in ("source", "made", "target")}
    watch = Watch(str(folder), (), path["made"], path["target"], {}, lambda name: files.sha256(folder / name))
    record = seal(watch, judge(watch, None).record)
    for name, content in edits.items():
        (folder / name).write_bytes(content)
    changed = any(content != b"as it was" for name, content in edits.items() if name != "source")
    assert (judge(watch, record).reason is not None) == changed


def test_the_stamp_of_no_file_is_absent(tmp_path):
    assert stamps.take(str(tmp_path / "none")) == stamps.ABSENT
