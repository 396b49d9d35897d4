"""The way from this machine to a port of a domain."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from unibuild.errors import HostError, LabError, SettingsError
from unibuild.xl import devices

if TYPE_CHECKING:
    from collections.abc import Iterator

    from unibuild.host.base import Host
    from unibuild.xl import grammar

__all__ = ["address", "way"]

_LEASES = "/run/udhcpd.conf"  # lab/dom0/etc/xen/scripts/vif-bridge writes it: a line "static_lease MAC IP" each


def address(host: Host, config: grammar.Config, given: str | None) -> str:
    """Return the IP address of a domain that was created.

    Args:
        host: where it is.
        config: what its ``.xl`` says.
        given: ``[boot.ready] address``.

    Raises:
        SettingsError: nothing tells it.
        HostError: the host is out of reach.
    """
    if given:
        return given
    vifs = config.get("vif")
    for vif in [devices.parse_vif(str(spec)) for spec in vifs] if isinstance(vifs, list) else []:
        if vif.get("ip"):
            return str(vif["ip"]).split()[0].partition("/")[0]
        if host.address == "lab":
            leases = host.run(["cat", _LEASES], check=False).text
            found = re.search(rf"(?mi)^static_lease {re.escape(str(vif['mac']))} (\S+)", leases)
            if found:
                return found[1]
    if not vifs:
        raise SettingsError(
            f"{config.get('name')} has no network device to ask it through",
            hint='add one: [xl.vif.0] bridge = "xenbr0"',
        )
    raise SettingsError(
        f"nothing tells the address of {config.get('name')} on {host.name}", hint="set [boot.ready] address"
    )


@contextlib.contextmanager
def way(host: Host, to: str, port: int) -> Iterator[tuple[str, int]]:
    """Give the address and port that lead to a domain's port from here: in the lab a forwarded one, for this block.

    Raises:
        LabError: the lab has no way there, or is down.
    """
    if host.address != "lab":
        yield to, port
        return
    from unibuild.lab import box

    lab = box.running()
    if lab is None:
        raise LabError("the lab went down", hint="`unibuild lab status` tells how it stands")
    if ipaddress.ip_address(to) not in ipaddress.ip_network("10.0.2.0/24"):
        raise HostError(f"the lab's domains are reached at 10.0.2.*, and {to} is none of these")
    here = _free_port()
    lab.forward(f"{here}:{to}:{port}")
    try:
        yield "127.0.0.1", here
    finally:
        lab.unforward(here)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
