"""Questions to a host that may be broken: each is bounded in time, and one without an answer is no error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, UnibuildError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.host.base import Host

__all__ = ["Asking"]

PATIENCE = 10.0  # seconds for one answer
BUDGET = 30.0  # seconds for all of them


class Asking:
    """Asks a host, and notes in ``missing`` what it could not tell: each a sentence.

    Args:
        host: the host.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._until = time.monotonic() + BUDGET
        self.missing: list[str] = []

    def ask(self, argv: Sequence[str], *, root: bool = True) -> str:
        """Return what a command says on the host; "" where it fails, which is noted."""
        try:
            return self.must(argv, root=root)
        except CommandError as error:
            said = error.output.strip().splitlines()
            why = said[-1] if said else f"it failed with exit code {error.returncode}"
            self.missing.append(f"{' '.join(argv)} on {self._host.name}: {why}")
        except UnibuildError as error:
            self.missing.append(f"{' '.join(argv)} on {self._host.name}: {error.message}")
        return ""

    def must(self, argv: Sequence[str], *, root: bool = True) -> str:
        """Return what a command says on the host.

        Raises:
            UnibuildError: it failed, or did not answer in time.
        """
        left = min(PATIENCE, self._until - time.monotonic())
        if left <= 0:
            raise UnibuildError(f"not asked: {self._host.name} has taken {BUDGET:g} s already")
        try:
            return self._host.run(argv, root=root, timeout=left).text
        except CommandError as error:
            if error.returncode < 0:
                raise UnibuildError(f"no answer within {left:.0f} s") from None
            raise

    def find(self, program: str, folders: Sequence[str]) -> str | None:
        """Return the path of a program that need not be on PATH there; None: the host has none, which is noted."""
        try:
            said = self.must(["find", *folders, "-maxdepth", "4", "-name", program], root=False)
        except CommandError as error:  # one of the folders is not there
            said = error.output
        except UnibuildError as error:
            self.missing.append(f"{program} on {self._host.name}: {error.message}")
            return None
        found = sorted(line for line in said.splitlines() if line.startswith("/"))
        if not found:
            self.missing.append(f"{self._host.name} has no program {program}: it comes with Xen's utilities")
        return found[-1] if found else None
