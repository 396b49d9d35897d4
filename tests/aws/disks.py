"""A small disk to publish: what `Uploader` takes, without a kernel behind it."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.aws.upload.blocks import BLOCK

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Disk:
    """Blocks by index, each written as one number, which its bytes come from; 0: zeros."""

    numbers: dict[int, int]
    volume_gib: int = 1

    @classmethod
    def of(cls, *numbers: int) -> Disk:
        return cls(dict(enumerate(numbers)))

    @property
    def checksums(self) -> Mapping[int, bytes]:
        return {
            index: hashlib.sha256(self.read(index)).digest() for index in sorted(self.numbers) if self.numbers[index]
        }

    @property
    def digest(self) -> str:
        return hashlib.sha256(repr(sorted((i, n) for i, n in self.numbers.items() if n)).encode()).hexdigest()

    @property
    def content(self) -> dict[int, bytes]:
        """What the volume must hold, as the emulator tells it."""
        return {index: self.read(index) for index in self.checksums}

    def read(self, index: int) -> bytes:
        number = self.numbers.get(index, 0)
        return random.Random(number).randbytes(1024).ljust(BLOCK, b"\0") if number else bytes(BLOCK)
