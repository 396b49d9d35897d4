"""What ``xl`` says when it fails, as a sentence and what to do about it."""

from __future__ import annotations

import re

from unibuild.errors import DomainError, UnibuildError
from unibuild.host import libxl_building, libxl_cases, libxl_numbers

__all__ = ["explain"]

_CASES = (*libxl_cases.EARLY, *libxl_building.CASES, *libxl_cases.LATE)
_NOISE = re.compile(r"^(?:Parsing config from .*|WARNING: .*)$", re.MULTILINE)


def explain(said: str, *, host: str, name: str) -> UnibuildError:
    """Return the error that tells in a sentence what ``xl`` said.

    Args:
        said: its standard error.
        host: the host's name, for the sentence.
        name: the domain's name, for the sentence.

    Returns:
        The nearest known case; with its own words as the hint's last lines where they say more, or where none is known.
    """
    said = _NOISE.sub("", said).strip()
    own = f"xl said: {_last_errors(said)}"
    for case in _CASES:
        found = re.search(case.pattern, said)
        if found:
            first = next((group for group in found.groups() if group), "")
            sentence, mend = (text.format(first, host=host, name=name) for text in (case.sentence, case.mend))
            return case.kind(sentence, hint=f"{mend}\n{own}" if case.quote else mend)
    meant = libxl_numbers.words(said)
    return DomainError(f"xl failed for {name} on {host}" + (f": {meant}" if meant else ""), hint=own)


def _last_errors(said: str) -> str:
    """Return the first two of its lines that name an error, else its last one."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search("error|fail|panic", line, re.IGNORECASE)]
    return "\n".join((errors or lines[-1:])[:2]) or "nothing"
