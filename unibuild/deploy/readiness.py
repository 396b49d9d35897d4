"""Wait until a domain is ready, as ``[boot.ready]`` defines it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from unibuild.deploy import address as reach
from unibuild.domain import readiness
from unibuild.domain.probes import HttpProbe, TcpProbe, TcpProbeFromHost, XenStoreProbe
from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from unibuild.domain.console import Reader
    from unibuild.domain.probes import Probe
    from unibuild.domain.readiness import Readiness
    from unibuild.host.base import Host
    from unibuild.host.toolstack import Domain
    from unibuild.settings.model import Ready
    from unibuild.xlcfg import parser

__all__ = ["await_ready", "check"]


def check(wanted: Ready, config: parser.Config) -> None:
    """Check, before anything is booted, that the domain can be probed as ``[boot.ready]`` requires.

    Args:
        wanted: the table ``[boot.ready]``.
        config: the domain's ``.xl``.

    Raises:
        SettingsError: it lacks a network device.
    """
    if (wanted.tcp or wanted.http) and not wanted.address and not config.get("vif"):
        key = "tcp" if wanted.tcp else "http"
        raise SettingsError(
            f"[boot.ready] {key} is set, but {config.get('name')} lacks a network device",
            hint='add one: [xl.vif.0] bridge = "xenbr0"',
        )


def await_ready(
    wanted: Ready, rules: Sequence[str], host: Host, domain: Domain, config: parser.Config, reader: Reader
) -> Readiness | None:
    """Wait until a domain that was unpaused is ready, has stopped, or the time is up.

    Its console is read meanwhile. In the lab, ports are forwarded for that time.

    Args:
        wanted: the table ``[boot.ready]``.
        rules: ``[lab] forward``.
        host: the domain's host.
        domain: the domain.
        config: its ``.xl`` on the host.
        reader: its console, from its first line on.

    Returns:
        The result; None if ``[boot.ready]`` is not set.

    Raises:
        HostError: the host went out of reach.
        DomainError: the console cannot be read.
    """
    if not wanted.is_set:
        return None
    checks = [XenStoreProbe(host, domain.domid, wanted.xenstore)] if wanted.xenstore else []
    is_asked = bool(wanted.tcp or wanted.http)
    address = reach.set_address(config, wanted.address)

    @contextlib.contextmanager
    def network(address: str) -> Iterator[list[Probe]]:
        with contextlib.ExitStack() as stack:
            yield _network(wanted, rules, host, address, stack)

    return readiness.wait(
        reader,
        readiness.Criteria(
            console=wanted.console,
            checks=checks,
            network=network if is_asked else None,
            address=address,
            likely=reach.find_leased_address(host, config) if is_asked and not address else None,
            timeout=wanted.timeout,
        ),
    )


def _network(wanted: Ready, rules: Sequence[str], host: Host, address: str, ways: contextlib.ExitStack) -> list[Probe]:
    """Return the probes of a domain at an address; ``ways`` holds the forwarded ports."""

    def port(number: int) -> Probe:
        return TcpProbeFromHost(host, address, number) if host.address == "lab" else TcpProbe(address, number)

    checks: list[Probe] = [port(wanted.tcp)] if wanted.tcp else []
    if wanted.http:
        way = ways.enter_context(reach.forward_port(host, address, wanted.http.port, rules))
        checks.append(HttpProbe(wanted.http, address, way, first=port(wanted.http.port)))
    return checks
