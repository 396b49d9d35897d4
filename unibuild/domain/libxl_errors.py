"""What ``xl`` says when it fails, as sentences.

Sources: Xen 4.17's tools/xl, tools/libs/light, tools/libs/guest (xg_dom_*.c), tools/hotplug/Linux and its real output.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from unibuild.errors import DomainError, HostError, UnibuildError

__all__ = ["explain"]


@dataclass(frozen=True)
class _Case:
    """A pattern of xl's output, the error's class, its sentence and its hint; ``{0}`` is the pattern's first group."""

    pattern: str
    kind: type[UnibuildError]
    sentence: str
    hint: str | None = None


_CASES = (
    _Case(
        r"privileged command interface: Permission denied|must be run as root",
        HostError,
        "xl may not talk to Xen on {host}: it wants root's rights",
        "run unibuild as root, or as a user that may use sudo",
    ),
    _Case(
        r"privileged command interface|cannot open libxc handle|cannot init xl context|Is xenstore daemon running",
        HostError,
        "Xen is not running on {host}, or this is not its dom0",
        'boot the machine with Xen, or use the lab: host = "lab"',
    ),
    _Case(
        r'Domain with name "([^"]+)" already exists',
        DomainError,
        "a domain called {0} is on {host} already",
        "end it (`xl destroy {0}` there), or give ours another name (name = ...)",
    ),
    _Case(
        r":(\d+: config parsing error .*)",
        DomainError,
        "xl on {host} cannot read the .xl of {name}, line {0}",
    ),
    _Case(
        r"Could not find bridge device (\S+)|(Could not find bridge), and none was specified",
        DomainError,
        "{host} has no such bridge for a network device of {name}: {0}",
        'make it there, or name another one: [xl.vif.0] bridge = "..."',
    ),
    _Case(
        r"cannot execute (\S+): No such file",
        DomainError,
        "{host} has no script {0} for a device of {name}",
        "name one that is there (`script` of the device), or install it",
    ),
    _Case(
        r"failed to stat: (\S+): No such file",
        DomainError,
        "{host} has no file {0} for a disk of {name}",
        'make it, or name another one: [xl.disk.xvda] target = "..."',
    ),
    _Case(
        r"unable to add (\w+) devices",
        DomainError,
        "{host} could not connect a device of {name} ({0})",
    ),
    _Case(
        r"not enough memory for (?:initial mapping|magic pages)",
        DomainError,
        "the memory of {name} is too small for its kernel",
        "give it more: [xl] memory = ...",
    ),
    _Case(
        r"xc_dom_build_image failed: Device or resource busy",  # Xen's own pages for a PVH domain have no room in it
        DomainError,
        "the memory of {name} is too small for a PVH domain",
        "give it more: [xl] memory = ...",
    ),
    _Case(
        r"failed to free memory for the domain|can't allocate|Out of memory|Cannot allocate memory",
        DomainError,
        "there is too little free memory on {host} for {name}",
        "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)",
    ),
    _Case(
        r"image not capable of booting inside a HVM container",
        DomainError,
        "Xen refused the kernel of {name}: it cannot start in a domain of type pvh",
        'set type = "pv" under [xl] in unibuild.toml, or build the kernel for PVH',
    ),
    _Case(
        r"no loader found|xc_dom_parse_image failed",
        DomainError,
        "Xen refused the kernel of {name}: it cannot start in a domain of this type",
        "set [xl] type to what the kernel was built for; `file` and `readelf -n` tell what it is",
    ),
    _Case(
        r"failed to open file '([^']+)': (?:No such file|Permission denied)",
        DomainError,
        "{host} cannot open {0} for {name}",
    ),
    _Case(
        r"neither hap nor shadow paging available|domain creation fail: (?:Operation|Function) not",
        DomainError,
        "{host} cannot run a PVH domain: its processor or firmware has no hardware virtualization",
        "a PV kernel needs none",
    ),
    _Case(r"(\S+) is an invalid domain identifier", DomainError, "there is no domain {0} on {host}"),
)
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
    for case in _CASES:
        found = re.search(case.pattern, said)
        if found:
            words = {"host": host, "name": name}
            first = next((group for group in found.groups() if group), "")
            hint = case.hint.format(first, **words) if case.hint else f"xl said: {_last_errors(said)}"
            return case.kind(case.sentence.format(first, **words), hint=hint)
    return DomainError(f"xl failed for {name} on {host}", hint=f"xl said: {_last_errors(said)}")


def _last_errors(said: str) -> str:
    """Return the first two of its lines that name an error, else its last one."""
    lines = [line for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.search("error|fail|panic", line, re.IGNORECASE)]
    return "\n".join((errors or lines[-1:])[:2]) or "nothing"
