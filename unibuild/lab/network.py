"""Configure the lab's network: QEMU's options, dom0's packet filter rules, forwarded ports; read its DHCP leases.

``dom0/etc/xen/scripts/vif-bridge`` configures the DHCP server and starts it in the lab VM.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from unibuild.host.base import Host

__all__ = ["FIRST_ADDRESS", "NETDEV", "find_lease", "has_address", "local_networks", "parse_forward", "rules"]

FIRST_ADDRESS = "10.0.2.50"
"""The first address that the lab VM leases."""

_NETWORK = "10.0.2.0/24"
_LEASES = "/run/udhcpd.conf"  # dom0/etc/xen/scripts/vif-bridge writes lines "static_lease MAC IP"


def find_lease(host: Host, macs: Sequence[str]) -> str | None:
    """Return the IP address that the lab's DHCP server gives to one of these MAC addresses, or None.

    Raises:
        HostError: the lab is out of reach.
    """
    leases = host.run(["cat", _LEASES], check=False, background=True).text
    found = (re.search(rf"(?mi)^static_lease {re.escape(mac)} (\S+)", leases) for mac in macs)
    return next((lease[1] for lease in found if lease), None)


def has_address(address: str) -> bool:
    """Return whether an IP address is in the lab's network; a name is not."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address) in ipaddress.ip_network(_NETWORK)
    return False


def parse_forward(rule: str) -> tuple[int, str]:
    """Split "8080:80" or "8080:10.0.2.51:80" into the local port and the domain's address, (8080, "10.0.2.50:80").

    Raises:
        SettingsError: it is not such a rule.
    """
    found = re.fullmatch(r"(\d{1,5}):(?:(10\.0\.2\.\d{1,3}):)?(\d{1,5})", rule)
    if not found or not all(0 < int(port) < 65536 for port in (found[1], found[3])):
        raise SettingsError(
            f'lab.forward: "{rule}" is not a port forwarding rule',
            hint='write "8080:80", or "8080:10.0.2.51:80" for a domain with another address than the first',
        )
    return int(found[1]), f"{found[2] or FIRST_ADDRESS}:{int(found[3])}"


NETDEV = {
    # QEMU makes a guest's connections from this machine. restrict=on drops all except answers to forwarded ones.
    # IPv6 would open the same paths, and the lab's network does not use it.
    "closed": "ipv6=off,restrict=on",
    "internet": "ipv6=off",
    "open": "ipv6=off",
}
"""Options of ``-netdev user`` for each setting."""

PRIVATE = (
    *("0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"),
    *("100.64.0.0/10", "168.63.129.16/32", "169.254.0.0/16"),  # each of these three has a cloud's metadata service
    *("192.0.0.0/24", "198.18.0.0/15", "224.0.0.0/3"),
)
"""Networks that are not the internet: this machine, its LAN, link-local and reserved ones (RFC 6890), multicast."""

# 10.0.2.2 is this machine's loopback, and the source of forwarded connections: only packets of existing connections may
# go there. QEMU joins fragments, and a filter sees no flags in them. 10.0.2.3 is the name server.
_RULES = """\
table ip lab
delete table ip lab
table ip lab {{
  chain leave {{
    ip daddr 10.0.2.2 ip frag-off & 0x3fff == 0 tcp flags & (ack | rst) != 0 accept
    ip daddr 10.0.2.3 ip frag-off & 0x3fff == 0 udp dport 53 accept
    ip daddr 10.0.2.3 ip frag-off & 0x3fff == 0 tcp dport 53 accept
    ip daddr {{ {refused} }} reject with icmp type admin-prohibited
  }}
  chain output {{
    type filter hook output priority 0; policy accept;
    oifname "eth0" jump leave
  }}
  chain forward {{
    type filter hook forward priority 0; policy accept;
    oifname "eth0" jump leave
  }}
}}
"""


def rules(local: Iterable[str]) -> str:
    """Return the rules for ``nft -f`` that let dom0 and the domains reach the internet but no private network.

    Args:
        local: networks that are refused too, as "203.0.113.0/24".
    """
    networks = [ipaddress.IPv4Network(network, strict=False) for network in (*PRIVATE, *local)]
    return _RULES.format(refused=", ".join(map(str, ipaddress.collapse_addresses(networks))))


def local_networks(proc: Path = Path("/proc/net")) -> list[str]:
    """Return this machine's IPv4 addresses, and the networks of its interfaces; empty if none is known.

    Formats: ``fib_trie`` ("|-- ADDRESS", then "/32 host LOCAL") and ``route`` (proc(5): columns of hexadecimal numbers
    in the machine's byte order; a route without a gateway is to a network of an interface).
    """
    found = []
    try:
        found += re.findall(r"\|-- (\S+)\n\s+/32 host LOCAL", (proc / "fib_trie").read_text())
        for line in (proc / "route").read_text().splitlines()[1:]:
            _, to, gateway, _, _, _, _, mask, *_ = line.split()
            network, netmask = (ipaddress.IPv4Address(int(field, 16).to_bytes(4, "little")) for field in (to, mask))
            if int(gateway, 16) == 0 and int(netmask):
                found.append(f"{network}/{netmask}")
    except (OSError, ValueError):
        pass
    return found
