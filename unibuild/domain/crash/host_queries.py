"""Questions to a host that may be broken: each is bounded in time, and one without an answer is no error."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from unibuild.errors import CommandError, NoAnswerError, UnibuildError

if TYPE_CHECKING:
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Diagnostic

__all__ = ["Asking"]

PATIENCE = 10.0  # seconds for one answer
BUDGET = 30.0  # seconds for all of them


class Asking:
    """Asks a host, and notes in ``missing`` what it could not tell: each a sentence.

    Args:
        host: the host.
    """

    def __init__(self, host: Host) -> None:
        self.host = host
        self._until = time.monotonic() + BUDGET
        self.missing: list[str] = []

    def ask(self, diagnostic: Diagnostic) -> str:
        """Return the answer to a query; "" where it fails, which is noted."""
        try:
            left = self.left()
            return diagnostic.query(left)
        except CommandError as error:
            said = error.output.strip().splitlines()
            why = said[-1] if said else f"it failed with exit code {error.returncode}"
        except NoAnswerError:
            why = f"no answer within {left:.0f} s"
        except UnibuildError as error:
            why = error.message
        self.missing.append(f"{diagnostic.name} on {self.host.name}: {why}")
        return ""

    def left(self) -> float:
        """Return the seconds that the next answer may take.

        Raises:
            UnibuildError: there are none left.
        """
        left = min(PATIENCE, self._until - time.monotonic())
        if left <= 0:
            raise UnibuildError(f"not asked: {self.host.name} has taken {BUDGET:g} s already")
        return left
