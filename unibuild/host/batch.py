"""Run several commands on a host in one exchange: build their script, and split its output."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Batch", "BatchStep"]


@dataclass(frozen=True)
class BatchStep:
    """A command of a batch.

    Attributes:
        argv: program and arguments.
        root: run it with the rights that xl needs.
        may_fail: the steps after it run even if it fails.
        seconds: that it may take; None: those of ``base.limit``.
    """

    argv: Sequence[str]
    root: bool = True
    may_fail: bool = False
    seconds: float | None = None


@dataclass
class Batch:
    """The script of several commands, and what its output says of them.

    After each command the script writes a mark to both streams: ``RS TOKEN STATUS RS``, RS being the ASCII character
    30. A command that fails ends the script, unless its step may fail. The script itself always ends with status 0.

    Args:
        steps: what runs, in order.
        token: is in these marks only; drawn at random.
    """

    steps: Sequence[BatchStep]
    token: str = field(default_factory=lambda: f"b{secrets.token_hex(8)}")

    def script(self, commands: Sequence[str]) -> str:
        """Return the text for ``sh -c``; ``commands`` are those of the steps, in the language of POSIX sh."""
        mark = rf"\036{self.token} %s\036"
        lines = [f"m() {{ printf '{mark}' \"$1\"; printf '{mark}' \"$1\" >&2; }}"]
        for step, command in zip(self.steps, commands, strict=True):
            stop = "" if step.may_fail else "; [ $s = 0 ] || exit 0"
            lines.append(f"( {command} ); s=$?; m $s{stop}")
        return "\n".join([*lines, "exit 0"])

    def done(self, output: bytes | bytearray) -> int:
        """Return how many commands have ended, by what one of the streams has so far."""
        return output.count(f"\x1e{self.token} ".encode())

    def split(self, out: bytes, err: bytes) -> list[tuple[int, bytes, bytes]]:
        """Return exit status, output and error output of each command that ended, in order."""
        mark = re.compile(rb"\x1e" + self.token.encode() + rb" (\d+)\x1e")
        said, warned = mark.split(out), mark.split(err)
        pairs = zip(said[:-1:2], said[1::2], warned[:-1:2], strict=False)
        return [(int(status), one, other) for one, status, other in pairs]
