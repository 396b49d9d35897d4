"""Ports of this machine that lead to a domain in the box, as ``[lab] forward`` says them."""

from __future__ import annotations

import re

from unibuild.errors import SettingsError

__all__ = ["FIRST_ADDRESS", "parse_forward"]

FIRST_ADDRESS = "10.0.2.50"
"""The address that the box leases first."""


def parse_forward(rule: str) -> tuple[int, str]:
    """Split "8080:80" or "8080:10.0.2.51:80" into the port here and the address there, (8080, "10.0.2.50:80").

    Raises:
        SettingsError: it is neither.
    """
    found = re.fullmatch(r"(\d{1,5}):(?:(10\.0\.2\.\d{1,3}):)?(\d{1,5})", rule)
    if not found or not all(0 < int(port) < 65536 for port in (found[1], found[3])):
        raise SettingsError(
            f'lab.forward: "{rule}" is no port to forward',
            hint='write "8080:80", or "8080:10.0.2.51:80" for a domain that has not the first address',
        )
    return int(found[1]), f"{found[2] or FIRST_ADDRESS}:{int(found[3])}"
