"""A place in a program, as the console's backtrace or an address in the kernel tells it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Frame"]

_NOT_OWN = ("duniverse/", "_opam/", "mirage/", "/")  # below the project's folder: libraries, and what is generated


@dataclass(frozen=True)
class Frame:
    """One line of a backtrace.

    Attributes:
        function: its name as people write it, or "".
        file: the source file, relative to the project's folder where it is in it, or "".
        line: from 1; 0: not known.
        how: what the frame is, before its name: "Called from", "maybe", or "".
        address: where the code is; None where only the console names the frame.
    """

    function: str
    file: str = ""
    line: int = 0
    how: str = ""
    address: int | None = None

    @property
    def place(self) -> str:
        """``FILE:LINE``, or ``FILE``, or "" where it is not known."""
        return f"{self.file}:{self.line}" if self.file and self.line else self.file

    @property
    def is_own(self) -> bool:
        """Whether its source is the project's own."""
        return bool(self.file) and not self.file.startswith(_NOT_OWN) and not self.function.startswith("Stdlib")

    def __str__(self) -> str:
        name = self.function or ("" if self.address is None else f"{self.address:#x}")
        return "  ".join(filter(None, (f"{self.how} {name}".strip(), self.place)))
