"""Find a domain's IP address, and the way from this machine to its ports."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from unibuild.errors import HostError, LabError, SettingsError
from unibuild.xlcfg import devices

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.host.base import Host
    from unibuild.xlcfg import parser

__all__ = ["address", "find_leased_address", "forward_port", "set_address"]


def set_address(config: parser.Config, given: str | None) -> str | None:
    """Return the IP address that is configured for a domain, or None.

    Args:
        config: the domain's ``.xl``; ``ip`` of a network device counts.
        given: ``[boot.ready] address``.
    """
    return given or next((str(vif["ip"]).split()[0].partition("/")[0] for vif in _vifs(config) if vif.get("ip")), None)


def find_leased_address(host: Host, config: parser.Config) -> str | None:
    """Return the IP address that the lab's DHCP server gives a domain that was created, or None.

    Raises:
        HostError: the host is out of reach.
    """
    macs = [str(vif["mac"]) for vif in _vifs(config) if vif.get("mac")]
    if host.address != "lab" or not macs:
        return None
    from unibuild.lab.network import find_lease

    return find_lease(host, macs)


def address(host: Host, config: parser.Config, given: str | None) -> str:
    """Return the IP address of a domain that was created.

    Args:
        host: the domain's host.
        config: the domain's ``.xl``.
        given: ``[boot.ready] address``.

    Raises:
        SettingsError: the address is not known.
        HostError: the host is out of reach.
    """
    found = set_address(config, given) or find_leased_address(host, config)
    if found:
        return found
    if not _vifs(config):
        raise SettingsError(
            f"{config.get('name')} lacks a network device to probe",
            hint='add one: [xl.vif.0] bridge = "xenbr0"',
        )
    raise SettingsError(
        f"the address of {config.get('name')} on {host.name} is not known", hint="set [boot.ready] address"
    )


@contextlib.contextmanager
def forward_port(host: Host, to: str, port: int, rules: Sequence[str] = ()) -> Iterator[tuple[str, int]]:
    """Give the local address and port that lead to a domain's port; in the lab, forward a port for this block.

    Args:
        host: the domain's host.
        to: the domain's address.
        port: the domain's port.
        rules: ``[lab] forward``: a rule that leads to the port already is used, and stays.

    Raises:
        HostError: the address is not in the lab's network.
        LabError: the lab is down, or has no free port.
    """
    if host.address != "lab":
        yield to, port
        return
    from unibuild.lab import vm
    from unibuild.lab.network import has_address, parse_forward

    lab = vm.running()
    if lab is None:
        raise LabError("the lab went down", hint="run `unibuild lab status`")
    if not has_address(to):
        raise HostError(f"{to} is not in the lab's network, 10.0.2.*")
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


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
