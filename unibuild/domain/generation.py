"""A generation as a value: what a domain was made from, where that is kept, and how its boots went."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from unibuild.errors import FileError
from unibuild.util.files import refuse_newer, sha256, write_atomic

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["FILES", "FOLDER", "BootRecord", "Content", "Generation", "Kept", "load", "outcome", "read", "write"]

FILES = {"kernel": "kernel", "xl": "domain.xl", "ramdisk": "ramdisk"}
"""What a generation's folder holds beside ``generation.json``."""

FOLDER = "generations"
"""The folder of all generations, in the state folder."""

VERSION = 1
_ABOUT = "generation.json"


class BootRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One domain that was made from a generation.

    Attributes:
        host: the name of the host.
        uuid: that of the domain.
        at: when: UTC, as ISO 8601 has it.
        outcome: how it went: ``started``, ``ready``, ``running``, ``not ready``, ``crashed``, ``ended``,
            ``destroyed``, ``replaced``.
        why: more of it, in words.
        log: path of its console log as it was called then.
        good: whether it was ready, or ran where nothing says what ready is, and did not fail.
    """

    host: str
    uuid: str
    at: str
    outcome: str = "started"
    why: str = ""
    log: str | None = None
    good: bool = False


class Content(msgspec.Struct, frozen=True):
    """A kept file: its SHA-256 and its size in bytes."""

    sha256: str
    size: int


class _RecordVersion(msgspec.Struct):
    version: int


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``generation.json``."""

    version: int = VERSION
    name: str
    made: str
    facts: dict[str, str]
    files: dict[str, Content]
    boots: tuple[BootRecord, ...] = ()


@dataclass(frozen=True)
class Generation:
    """What a domain was made from.

    Attributes:
        number: its number, from 1.
        name: the domain's name.
        kernel: the kept kernel; it stands for the one that ``xl`` names.
        xl: the kept ``.xl``, as it was.
        ramdisk: the kept ramdisk, where ``xl`` names one.
        kernel_sha256: SHA-256 of the kernel.
        xl_sha256: SHA-256 of the ``.xl``.
        ramdisk_sha256: SHA-256 of the ramdisk.
        kernel_size: bytes of the kernel.
        facts: where it comes from, as ``unibuild.graph.provenance`` tells it.
        made: when it was first kept: UTC, as ISO 8601 has it.
        boots: the oldest first.
    """

    number: int
    name: str
    kernel: Path
    xl: Path
    ramdisk: Path | None
    kernel_sha256: str
    xl_sha256: str
    ramdisk_sha256: str | None
    kernel_size: int
    facts: Mapping[str, str]
    made: str
    boots: tuple[BootRecord, ...]

    @property
    def args(self) -> str:
        """The unikernel's arguments, as words of a shell."""
        return self.facts.get("arguments", "")

    @property
    def toolchain(self) -> str:
        """What built it, with its version."""
        return self.facts.get("toolchain", "")

    @property
    def revision(self) -> str:
        """The revision of the sources; empty where none is known."""
        return self.facts.get("revision", "")

    @property
    def hashes(self) -> dict[str, str]:
        """What tells it from others: the SHA-256 of its files by ``kernel``, ``xl`` and ``ramdisk``."""
        found = {"kernel": self.kernel_sha256, "xl": self.xl_sha256, "ramdisk": self.ramdisk_sha256}
        return {key: value for key, value in found.items() if value}

    def last_good(self, host: str) -> str:
        """Return when it was booted last on a host and was good; empty: never."""
        return max((boot.at for boot in self.boots if boot.host == host and boot.good), default="")

    @property
    def is_whole(self) -> bool:
        """Whether its files are what was kept; reads them all."""
        paths = {"kernel": self.kernel, "xl": self.xl, "ramdisk": self.ramdisk}
        try:
            return all(sha256(path) == self.hashes[key] for key, path in paths.items() if path)
        except FileError:
            return False


def load(folder: Path) -> Generation | None:
    """Return the generation in a folder that has its number for a name; None: it is not whole, by its files' sizes."""
    kept = read(folder)
    if kept is None or not {"kernel", "xl"} <= kept.files.keys() <= FILES.keys():
        return None
    paths = {key: folder / FILES[key] for key in kept.files}
    try:
        if any(paths[key].stat().st_size != content.size for key, content in kept.files.items()):
            return None
    except OSError:
        return None
    files = kept.files
    return Generation(
        number=int(folder.name),
        name=kept.name,
        kernel=paths["kernel"],
        xl=paths["xl"],
        ramdisk=paths.get("ramdisk"),
        kernel_sha256=files["kernel"].sha256,
        xl_sha256=files["xl"].sha256,
        ramdisk_sha256=files["ramdisk"].sha256 if "ramdisk" in files else None,
        kernel_size=files["kernel"].size,
        facts=kept.facts,
        made=kept.made,
        boots=kept.boots,
    )


def read(folder: Path) -> Kept | None:
    """Return what ``generation.json`` in a folder says; None: it is not there, or damaged.

    Raises:
        FileError: a newer unibuild wrote it.
    """
    try:
        content = (folder / _ABOUT).read_bytes()
        refuse_newer(folder / _ABOUT, msgspec.json.decode(content, type=_RecordVersion).version, VERSION)
        return msgspec.json.decode(content, type=Kept)
    except (OSError, ValueError):  # msgspec's own errors are ValueErrors
        return None


def outcome(state: Path, number: int, uuid: str) -> str | None:
    """Return how the boot of a domain went, by the generation that it was made from; None: that is not known any more.

    Args:
        state: the state folder.
        number: that of the generation.
        uuid: that of the domain.
    """
    kept = read(state / FOLDER / str(number))
    return next((boot.outcome for boot in kept.boots if boot.uuid == uuid), None) if kept else None


def write(folder: Path, kept: Kept) -> None:
    """Write ``generation.json``, whole.

    Raises:
        FileError: it cannot be written.
    """
    write_atomic(folder / _ABOUT, msgspec.json.format(msgspec.json.encode(kept), indent=1) + b"\n")
