"""A small disk to publish, which `Uploader` accepts like the image of a kernel."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.aws import distribution, publish
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.settings.ami import Publish

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from unibuild.aws.client import Aws


@dataclass
class Disk:
    """Blocks by index; each is given as a number that determines its bytes; 0: zeros."""

    numbers: dict[int, int]
    volume_gib: int = 1

    @classmethod
    def of(cls, *numbers: int) -> Disk:
        return cls(dict(enumerate(numbers)))

    @functools.cached_property
    def checksums(self) -> Mapping[int, bytes]:
        return {
            index: hashlib.sha256(self.read(index)).digest() for index in sorted(self.numbers) if self.numbers[index]
        }

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(sorted((i, n) for i, n in self.numbers.items() if n)).encode()).hexdigest()

    @property
    def content(self) -> dict[int, bytes]:
        """The expected content of the volume, in the form that the emulator returns."""
        return {index: self.read(index) for index in self.checksums}

    @property
    def size(self) -> int:
        return (max(self.numbers) + 1) * BLOCK

    def read(self, index: int) -> bytes:
        number = self.numbers.get(index, 0)
        return random.Random(number).randbytes(1024).ljust(BLOCK, b"\0") if number else bytes(BLOCK)


def publish_disk(
    aws: Aws, disk: Disk, folder: Path, bucket: str | None = None, regions: Sequence[str] = (), via: str | None = None
) -> publish.Published:
    """Publish a disk as the goal ``publish_ami`` publishes a kernel's image.

    Args:
        aws: the account.
        disk: the disk.
        folder: the folder of the journal.
        bucket: the S3 bucket of the import; None: by EBS direct.
        regions: the regions to copy to.
        via: the publisher; None: as ``bucket`` says.
    """
    about, journal = publish.KernelInfo("hello", publish.identity(disk.digest, "")), UploadJournal(folder)
    wanted = publish.AmiSpec(f"hello-{disk.digest[:12]}", "a disk", "paravirtual", "gp2", "", about, {})
    wanted = dataclasses.replace(wanted, via=via or ("s3" if bucket else "ebs"), bucket=bucket, role="vmimport")
    made = publish.find_published(aws, wanted, journal)
    made = made or publish.create(aws, disk, wanted, publish.check_prerequisites(aws, wanted), journal, lambda *_: None)
    distribution.distribute(aws, Publish(regions=tuple(regions)), made.region, made.image, lambda _: None)
    return made
