"""Uploads of disks to the emulator by the EBS direct API."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from unibuild.aws.client import Aws, Clock, RetryPolicy
from unibuild.aws.snapshot import upload
from unibuild.aws.snapshot.blocks import BaseSnapshot
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.aws.snapshot.publisher import FinishedSnapshot, SnapshotSpec

if TYPE_CHECKING:
    from pathlib import Path

    from disks import Disk
    from emulator import Emulator
    from emulator.snapshot import Snapshot

REGION = "us-east-1"


class Hasty(Clock):
    """A clock with waits a hundredth as long."""

    def sleep(self, seconds: float) -> None:
        super().sleep(seconds / 100)


@functools.cache
def owner(retries: RetryPolicy) -> Aws:
    """The account's owner, created once for each setting of retries, because clients are slow to create."""
    return Aws(region=REGION, clock=Hasty(), retries=retries)


class Uploads:
    """Uploads to one emulator, each as in a new process."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator, self.folder = emulator, folder
        self.told: list[tuple[str, float | None, str]] = []
        self.retries = RetryPolicy()

    def make(
        self, disk: Disk, *bases: BaseSnapshot, tags: dict[str, str] | None = None, encryption: str = ""
    ) -> FinishedSnapshot:
        account = owner(self.retries)
        about = SnapshotSpec(disk.digest, "hello", tags or {"Name": "hello"}, encryption)
        uploader = upload.Uploader(account, REGION, UploadJournal(self.folder), lambda *said: self.told.append(said))
        return uploader.make(disk, about, bases)

    def base(self, made: FinishedSnapshot, disk: Disk) -> BaseSnapshot:
        return BaseSnapshot(made.id, disk.volume_gib, {i: digest[:6] for i, digest in disk.checksums.items()})

    def there(self, made: FinishedSnapshot) -> Snapshot:
        return self.emulator.region(REGION).snapshots[made.id]

    @property
    def snapshots(self) -> dict[str, Snapshot]:
        return self.emulator.region(REGION).snapshots

    def count(self, operation: str) -> int:
        return self.emulator.calls.count(operation)
