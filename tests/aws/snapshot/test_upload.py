"""Snapshots by EBS direct, against the emulator."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from disks import Disk
from emulator import Delay, ManualClock, World
from uploads import REGION, Uploads

from unibuild.aws.client import RetryPolicy
from unibuild.aws.snapshot.blocks import BaseSnapshot
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.aws.snapshot.publisher import FinishedSnapshot
from unibuild.errors import AwsError, FileError

if TYPE_CHECKING:
    from emulator import Emulator


@pytest.fixture
def uploads(aws: Emulator, tmp_path: Path) -> Uploads:
    return Uploads(aws, tmp_path)


def test_only_blocks_with_data_are_put_and_the_volume_equals_the_image(uploads: Uploads) -> None:
    disk = Disk.of(1, 0, 2, 3)
    made = uploads.make(disk, tags={"unibuild:unikernel": "hello"})
    assert made.puts == uploads.count("PutSnapshotBlock") == 3
    assert uploads.there(made).content == disk.content
    assert uploads.emulator.region(REGION).tags[made.id] == {"unibuild:unikernel": "hello"}
    assert UploadJournal(uploads.folder).begun == ()


def test_change_puts_one_block_on_top_of_the_parent(uploads: Uploads) -> None:
    old, new = Disk.of(1, 2, 3, 4), Disk.of(1, 2, 3, 99)
    base = uploads.base(uploads.make(old), old)
    uploads.emulator.calls.clear()
    made = uploads.make(new, base)
    assert (made.puts, made.parent, uploads.count("PutSnapshotBlock")) == (1, base.id, 1)
    assert uploads.there(made).content == new.content


def test_smaller_image_puts_zeros_over_the_parents_blocks(uploads: Uploads) -> None:
    old, new = Disk.of(*range(1, 8)), Disk.of(*range(1, 5))
    made = uploads.make(new, uploads.base(uploads.make(old), old))
    assert made.puts == 3
    assert uploads.there(made).content == new.content


def test_missing_parent_is_not_used(uploads: Uploads) -> None:
    disk = Disk.of(1, 2, 3)
    made = uploads.make(disk, BaseSnapshot("snap-0123456789abcdef0", 1, {0: disk.checksums[0]}))
    assert (made.parent, made.puts) == (None, 3)
    assert uploads.there(made).content == disk.content


def test_existing_image_needs_no_call(uploads: Uploads) -> None:
    disk = Disk.of(1, 2)
    first = uploads.make(disk)
    uploads.emulator.calls.clear()
    assert uploads.make(disk, uploads.base(first, disk)) == FinishedSnapshot(first.id, 0, None, is_found=True)
    assert uploads.emulator.calls.count() == 0


def test_encryption(uploads: Uploads) -> None:
    made = uploads.make(Disk.of(1), encryption="aws/ebs")
    assert uploads.there(made).key.startswith("arn:aws:kms:")


FAULTS = ["throttle", "500", "503", "502", "cut-before", "cut-upload", "cut-after", "cut-answer", "garbage"]


@pytest.mark.parametrize("kind", FAULTS)
def test_upload_completes_if_a_third_of_all_calls_fail(uploads: Uploads, kind: str) -> None:
    uploads.emulator.faults.add(kind, rate=0.34)
    disk = Disk.of(*range(1, 16))
    made = uploads.make(disk)
    assert uploads.emulator.faults.hits[kind] >= 1
    assert uploads.there(made).content == disk.content
    assert list(uploads.snapshots) == [made.id]


def test_stall_is_cut_and_tried_again(uploads: Uploads) -> None:
    uploads.retries = RetryPolicy(read=(0.2, 10.0))
    uploads.emulator.faults.timeout = 1.0
    uploads.emulator.faults.add("stall", "PutSnapshotBlock", times=2)
    made = uploads.make(Disk.of(1, 2, 3))
    assert uploads.there(made).content == Disk.of(1, 2, 3).content
    assert uploads.emulator.faults.hits == {"stall": 2}


def test_new_snapshot_may_be_missing_for_minutes(uploads: Uploads) -> None:
    clock = ManualClock()
    uploads.emulator.reset(World(clock))
    uploads.emulator.world.timing.snapshot_appears = Delay(seconds=120, calls=20)
    uploads.emulator.faults.watch = lambda call, moment: clock.advance(5)
    assert uploads.there(uploads.make(Disk.of(1, 2))).content == Disk.of(1, 2).content
    assert uploads.emulator.calls.errors["ResourceNotFoundException"] >= 20


@pytest.mark.parametrize("kind", ["cut-after", "garbage", "cut-answer"])
@pytest.mark.parametrize("operation", ["StartSnapshot", "CompleteSnapshot"])
def test_lost_answer_is_found_again(uploads: Uploads, operation: str, kind: str) -> None:
    uploads.emulator.faults.add(kind, operation, times=1)
    made = uploads.make(Disk.of(1, 2))
    assert list(uploads.snapshots) == [made.id]
    assert uploads.there(made).content == Disk.of(1, 2).content


def test_permanent_error_deletes_the_pending_snapshot(uploads: Uploads) -> None:
    from emulator.errors import AwsError as Refused

    denied = Refused("AccessDeniedException", "No.", 403)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=1, error=denied)
    with pytest.raises(AwsError, match="may not do this"):
        uploads.make(Disk.of(1, 2, 3))
    assert uploads.snapshots == {}
    assert UploadJournal(uploads.folder).begun == ()


def test_lasting_fault_keeps_the_upload_for_the_next_run(uploads: Uploads) -> None:
    uploads.retries = RetryPolicy(budget=0.2, tries=2)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=2)
    with pytest.raises(AwsError):
        uploads.make(Disk.of(1, 2, 3))
    uploads.emulator.faults.clear()
    made = uploads.make(Disk.of(1, 2, 3))
    assert list(uploads.snapshots) == [made.id]
    assert made.puts < 3
    assert uploads.there(made).content == Disk.of(1, 2, 3).content


def test_image_that_changes_during_the_upload_leaves_nothing(uploads: Uploads) -> None:
    class Changing(Disk):
        def read(self, index: int) -> bytes:
            if uploads.snapshots:
                raise FileError("hello.xen was changed")
            return super().read(index)

    with pytest.raises(FileError):
        uploads.make(Changing.of(1, 2))
    assert uploads.snapshots == {}


def test_expired_snapshot_is_started_again(uploads: Uploads) -> None:
    clock = ManualClock()
    uploads.emulator.reset(World(clock))
    uploads.retries = RetryPolicy(budget=0.2, tries=2)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=1)
    with pytest.raises(AwsError):
        uploads.make(Disk.of(1, 2, 3))
    uploads.emulator.faults.clear()
    clock.advance(2 * 3600)
    made = uploads.make(Disk.of(1, 2, 3))
    assert made.puts == 3
    assert uploads.there(made).content == Disk.of(1, 2, 3).content
    assert list(uploads.snapshots) == [made.id]


def test_deleted_pending_snapshot_is_started_again(uploads: Uploads) -> None:
    uploads.retries = RetryPolicy(budget=0.2, tries=2)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=1)
    with pytest.raises(AwsError):
        uploads.make(Disk.of(1, 2, 3))
    uploads.emulator.faults.clear()
    uploads.snapshots.clear()
    made = uploads.make(Disk.of(1, 2, 3))
    assert uploads.there(made).content == Disk.of(1, 2, 3).content


def test_unfinished_upload_of_another_image_is_removed(uploads: Uploads) -> None:
    uploads.retries = RetryPolicy(budget=0.2, tries=2)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=1)
    with pytest.raises(AwsError):
        uploads.make(Disk.of(1, 2))
    uploads.emulator.faults.clear()
    made = uploads.make(Disk.of(5, 6))
    assert list(uploads.snapshots) == [made.id]


def test_token_finds_the_snapshot_without_the_journal(uploads: Uploads) -> None:
    uploads.retries = RetryPolicy(budget=0.2, tries=2)
    uploads.emulator.faults.add("500", "PutSnapshotBlock", skip=1)
    with pytest.raises(AwsError):
        uploads.make(Disk.of(1, 2))
    (uploads.folder / "aws.json").unlink()
    uploads.emulator.faults.clear()
    made = uploads.make(Disk.of(1, 2))
    assert list(uploads.snapshots) == [made.id]


def test_damaged_journal_counts_as_empty(uploads: Uploads) -> None:
    (uploads.folder / "aws.json").write_bytes(b'{"version": 0}')
    uploads.make(Disk.of(1))
    assert b'"version":1' in (uploads.folder / "aws.json").read_bytes()


def test_progress_shows_bytes_and_remaining_time(uploads: Uploads) -> None:
    uploads.make(Disk.of(1, 2, 3, 4))
    shown = [(fraction, detail) for what, fraction, detail in uploads.told if what.startswith("upload")]
    assert shown[0] == (0.0, "0.0 of 2.0 MiB")
    assert shown[-1] == (1.0, "2.0 of 2.0 MiB")
    assert "s left" in shown[1][1]


UPLOAD = """
import sys, json
sys.path.insert(0, {here!r})
from pathlib import Path
from disks import Disk
from uploads import Uploads
print(json.dumps(Uploads(None, Path({folder!r})).make(Disk.of(*range(1, 21)))))
"""


@pytest.mark.parametrize("blow", [signal.SIGINT, signal.SIGKILL])
def test_killed_upload_continues_where_it_stopped(uploads: Uploads, blow: signal.Signals) -> None:
    code = UPLOAD.format(here=str(Path(__file__).parents[1]), folder=str(uploads.folder))

    def run() -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL, stdout=subprocess.PIPE)

    uploads.emulator.faults.latency = 0.1
    with run() as child:
        puts = iter(range(12))

        def watch(call, moment):
            if call.operation == "PutSnapshotBlock" and moment == "after" and next(puts, None) == 10:
                os.kill(child.pid, blow)

        uploads.emulator.faults.watch = watch
        child.wait(200)
        assert child.returncode == (-blow if blow is signal.SIGKILL else -signal.SIGINT)
    uploads.emulator.faults.clear()
    uploads.emulator.calls.clear()
    with run() as child:
        assert child.wait(200) == 0
    [made] = uploads.snapshots.values()
    assert made.content == Disk.of(*range(1, 21)).content
    if blow is signal.SIGINT:  # answered calls are in the journal; a killed run may lose half a second
        assert uploads.count("PutSnapshotBlock") <= 18  # the 11th is sent after two answers: see Pace
