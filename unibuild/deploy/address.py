"""The way from this machine to a port of a domain."""

from __future__ import annotations

import contextlib
import ipaddress
import re
import socket
from typing import TYPE_CHECKING

from unibuild.errors import HostError, LabError, SettingsError
from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.host.base import Host
    from unibuild.xlcfg import parser

__all__ = ["address", "find_leased_address", "forward_port", "set_address"]

_LEASES = "/run/udhcpd.conf"  # lab/dom0/etc/xen/scripts/vif-bridge writes it: a line "static_lease MAC IP" each


def set_address(config: parser.Config, given: str | None) -> str | None:
    """Return the IP address that somebody has set for a domain, or None.

    Args:
        config: what its ``.xl`` says; ``ip`` of a network device counts.
        given: ``[boot.ready] address``.
    """
    return given or next((str(vif["ip"]).split()[0].partition("/")[0] for vif in _vifs(config) if vif.get("ip")), None)


def find_leased_address(host: Host, config: parser.Config) -> str | None:
    """Return the IP address that the lab's DHCP server has for a domain that was created, or None.

    Raises:
        HostError: the host is out of reach.
    """
    macs = [str(vif["mac"]) for vif in _vifs(config) if vif.get("mac")]
    if host.address != "lab" or not macs:
        return None
    leases = host.run(["cat", _LEASES], check=False, background=True).text
    found = (re.search(rf"(?mi)^static_lease {re.escape(mac)} (\S+)", leases) for mac in macs)
    return next((lease[1] for lease in found if lease), None)


def address(host: Host, config: parser.Config, given: str | None) -> str:
    """Return the IP address of a domain that was created.

    Args:
        host: where it is.
        config: what its ``.xl`` says.
        given: ``[boot.ready] address``.

    Raises:
        SettingsError: nothing tells it.
        HostError: the host is out of reach.
    """
    found = set_address(config, given) or find_leased_address(host, config)
    if found:
        return found
    if not _vifs(config):
        raise SettingsError(
            f"{config.get('name')} has no network device to ask it through",
            hint='add one: [xl.vif.0] bridge = "xenbr0"',
        )
    raise SettingsError(
        f"nothing tells the address of {config.get('name')} on {host.name}", hint="set [boot.ready] address"
    )


@contextlib.contextmanager
def forward_port(host: Host, to: str, port: int, rules: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Give the address and port that lead to a domain's port from here: in the lab a forwarded one, for this block.

    Args:
        host: where the domain is.
        to: its address.
        port: its port.
        rules: ``[lab] forward``: where one leads there already it is taken, and stays.

    Raises:
        HostError: the address is none of the lab's.
        LabError: the lab is down, or has no port left.
    """
    if host.address != "lab":
        yield to, port
        return
    from unibuild.lab import vm
    from unibuild.lab.network import parse_forward

    lab = vm.running()
    if lab is None:
        raise LabError("the lab went down", hint="`unibuild lab status` tells how it stands")
    if not _is_in_lab(to):
        raise HostError(f"the lab's domains are reached at 10.0.2.*, and {to} is none of these")
    for rule in rules:
        here, there = parse_forward(rule)
        if there == f"{to}:{port}":
            lab.forward(rule)
            yield "127.0.0.1", here
            return
    here = _free_port()
    lab.forward(f"{here}:{to}:{port}")
    try:
        yield "127.0.0.1", here
    finally:
        lab.unforward(here)


def _vifs(config: parser.Config) -> list[devices.Parsed]:
    specs = config.get("vif")
    return [devices.parse_vif(str(spec)) for spec in specs] if isinstance(specs, list) else []


def _is_in_lab(address: str) -> bool:
    with contextlib.suppress(ValueError):  # a name
        return ipaddress.ip_address(address) in ipaddress.ip_network("10.0.2.0/24")
    return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
