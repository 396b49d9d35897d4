"""unibuild/fingerprint.py: which changes make a task stale."""

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unibuild import fingerprint
from unibuild.fingerprint import Change, FileSystemClock, StageInputs, judge, seal
from unibuild.util import files


@pytest.fixture
def watch(tmp_path):
    """A task with an input, an input that an earlier task made, and a target; all files exist."""
    for name in ("source", "made", "target"):
        (tmp_path / name).write_text(name)
    path = {name: (str(tmp_path / name),) for name in ("source", "made", "target")}
    return StageInputs(
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
    """Replace a file by a new one with the same bytes."""
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


SECOND = 10**9  # ns


def replace(path, text):
    """Replace a file by another one of the same size and date."""
    before = path.stat().st_mtime_ns
    (path.parent / "keep").hardlink_to(path)  # otherwise the new file might get the old one's inode
    path.with_name("other").write_text(text)
    path.with_name("other").replace(path)
    os.utime(path, ns=(before, before))


def test_task_without_a_record_is_stale(watch):
    assert judge(watch, None).reason == "not done yet"


def test_unchanged_task_is_up_to_date(watch, record):
    assert judge(watch, record).reason is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [("source", "source changed"), ("made", "made changed"), ("target", "target is not what was made")],
)
def test_edit_makes_it_stale_and_is_named(watch, record, tmp_path, name, reason):
    (tmp_path / name).write_text("edited")
    assert judge(watch, record).reason == reason


@pytest.mark.parametrize(
    ("name", "reason"), [("source", "source is gone"), ("made", "made is gone"), ("target", "target is missing")]
)
def test_missing_file_makes_it_stale_and_is_named(watch, record, tmp_path, name, reason):
    (tmp_path / name).unlink()
    assert judge(watch, record).reason == reason


@pytest.mark.parametrize("name", ["made", "target"])
def test_input_that_is_made_again_with_the_same_bytes_is_up_to_date(watch, record, tmp_path, name):
    rewrite(tmp_path / name)
    verdict = judge(watch, record)
    assert (verdict.reason, verdict.suspects) == (None, ())
    assert verdict.record != record, "the new fingerprints are worth keeping: the next run need not read the file"


def test_setting_makes_it_stale_and_is_named(watch, record):
    changed = watch._replace(fingerprint={"arguments": "-t hvt"})
    assert judge(changed, record).reason == "arguments changed"


def test_more_than_one_reason_is_counted(watch, record, tmp_path):
    changed = watch._replace(inputs=(str(tmp_path / "made"), str(tmp_path / "target")))
    assert judge(changed, record).reason == "made is new (and 2 more)"


def test_targets_not_known_to_be_made_by_unibuild_are_suspects(watch, record, tmp_path):
    assert judge(watch, None).suspects == watch.targets
    assert judge(watch, record).suspects == ()
    (tmp_path / "target").write_text("cut")
    assert judge(watch, record).suspects == watch.targets


def test_edit_after_the_verdict_is_noticed_next_time(watch, tmp_path):
    before = judge(watch, None).record
    (tmp_path / "source").write_text("SOURCE")  # at once, and of the same size
    assert judge(watch, seal(watch, before)).reason == "source changed"


def test_edit_of_a_made_input_after_the_verdict_is_noticed_next_time(watch, tmp_path):
    before = judge(watch, None).record
    (tmp_path / "made").write_text("MADE")
    assert judge(watch, seal(watch, before)).reason == "made changed"


def test_target_written_right_after_the_success_is_noticed(watch, record, tmp_path):
    (tmp_path / "target").write_text("TARGET")
    assert judge(watch, record).reason == "target is not what was made"


def test_older_file_with_other_content_is_a_change(watch, record, tmp_path):
    (tmp_path / "source").write_text("SOURCE")
    os.utime(tmp_path / "source", ns=(0, 1))
    assert judge(watch, record).changes == (Change(str(tmp_path / "source"), "changed"),)


def test_another_file_with_the_same_date_and_size_is_a_change(watch, record, tmp_path):
    replace(tmp_path / "source", "SOURCE")
    assert judge(watch, record).reason == "source changed"


def test_an_edit_in_place_that_keeps_date_and_size_is_a_change(watch, tmp_path):
    path = tmp_path / "source"
    os.utime(path, ns=(0, 1))
    now = fingerprint.clock(str(tmp_path))
    record = seal(watch, judge(watch, None, now._replace(now=now.now + SECOND)).record)  # not "racily clean"
    path.write_text("SOURCE")
    os.utime(path, ns=(0, 1))
    assert judge(watch, record).reason == "source changed"


@pytest.mark.parametrize("name", ["source", "made", "target"])
def test_another_mode_or_link_is_not_a_change(watch, record, tmp_path, name):
    (tmp_path / name).chmod(0o600)
    (tmp_path / "link").hardlink_to(tmp_path / name)
    verdict = judge(watch._replace(touches=True), record)
    assert (verdict.reason, verdict.changes) == (None, ())


@pytest.mark.parametrize("touches", [False, True])
def test_another_date_makes_only_tasks_that_compare_dates_stale(watch, record, tmp_path, touches):
    os.utime(tmp_path / "source", ns=(0, 1))
    verdict = judge(watch._replace(touches=touches), record)
    assert (verdict.reason is not None) == touches


@pytest.mark.parametrize("name", ["source", "target"])
def test_second_edit_within_a_second_is_noticed_if_dates_are_whole_seconds(watch, tmp_path, name):
    path = tmp_path / name
    os.utime(path, ns=(5 * SECOND, 5 * SECOND))
    record = seal(watch, judge(watch, None, FileSystemClock(5 * SECOND, SECOND)).record)
    path.write_text(name.upper())  # of the same size, in place
    os.utime(path, ns=(5 * SECOND, 5 * SECOND))
    assert judge(watch, record).reason is not None


def test_clock_is_that_of_the_file_system_with_its_resolution(tmp_path, monkeypatch):
    real = os.stat

    def whole_seconds(path, *args, **kwargs):
        status = real(path, *args, **kwargs)
        return type("Status", (), {"st_mtime_ns": status.st_mtime_ns // (2 * SECOND) * 2 * SECOND})

    assert fingerprint.clock(str(tmp_path)).tick == fingerprint.TICK * 1e9
    monkeypatch.setattr(os, "stat", whole_seconds)
    assert fingerprint.clock(str(tmp_path)).tick == 2 * SECOND
    assert fingerprint.clock(str(tmp_path / "none")).tick == 2 * SECOND, "unknown is the coarsest"


def test_moved_tree_is_the_same_tree(tmp_path):
    (tmp_path / "one" / "lib").mkdir(parents=True)
    (tmp_path / "shared.h").write_text("shared")
    (tmp_path / "one" / "lib" / "a.c").write_text("a")

    def watched(root):
        paths = (f"{root}/lib/a.c", f"{tmp_path}/shared.h")
        return StageInputs(str(root), paths, (), (), {}, fingerprint.content)

    record = seal(watched(tmp_path / "one"), judge(watched(tmp_path / "one"), None).record)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert judge(watched(tmp_path / "two"), record).reason is None


def test_files_that_the_task_wrote_count_from_its_end_and_are_not_inputs(watch, tmp_path):
    before = judge(watch, None).record
    for name in ("source", "object"):
        (tmp_path / name).write_text("written by the task")
    now = watch._replace(outputs=(str(tmp_path / "object"),))
    record = seal(now, before, own=watch.inputs)
    assert judge(now, record).reason is None
    (tmp_path / "object").write_text("by somebody else")
    assert judge(now, record).others == ("object",)


names = st.sampled_from(["source", "made", "target"])


@settings(deadline=None, max_examples=25)
@given(edits=st.dictionaries(names, st.binary(max_size=9), max_size=3))
def test_only_files_with_changed_content_make_it_stale(tmp_path_factory, edits):
    folder = tmp_path_factory.mktemp("tree")
    for name in ("source", "made", "target"):
        (folder / name).write_bytes(b"as it was")
    path = {name: (str(folder / name),) for name in ("source", "made", "target")}
    watch = StageInputs(str(folder), (), path["made"], path["target"], {}, lambda name: files.sha256(folder / name))
    record = seal(watch, judge(watch, None).record)
    for name, content in edits.items():
        (folder / name).write_bytes(content)
    changed = any(content != b"as it was" for name, content in edits.items() if name != "source")
    assert (judge(watch, record).reason is not None) == changed


def test_fingerprint_of_a_missing_file_is_absent(tmp_path):
    assert fingerprint.take(str(tmp_path / "none")) == fingerprint.ABSENT


def test_file_is_older_than_the_boundary_after_it(tmp_path):
    (tmp_path / "before").touch()
    boundary = fingerprint.boundary(str(tmp_path))
    (tmp_path / "after").touch()
    older = [
        name for name in ("before", "after") if fingerprint.is_older(str(tmp_path / name), boundary, str(tmp_path))
    ]
    assert older == ["before"]


def test_boundary_allows_for_a_clock_of_whole_seconds(tmp_path, monkeypatch):
    second = 1_000_000_000
    monkeypatch.setattr(fingerprint, "clock", lambda _: fingerprint.FileSystemClock(9 * second, second))
    assert fingerprint.boundary(str(tmp_path)) == 8 * second
