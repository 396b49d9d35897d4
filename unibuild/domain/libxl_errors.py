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
        r"xencall: error: Could not obtain handle on privileged command interface.*(?:Permission denied)"
        r"|must be run as root|ERROR: Must be root",
        HostError,
        "xl may not talk to Xen on {host}: it wants root's rights",
        "run unibuild as root, or with a user that may use sudo",
    ),
    _Case(
        r"Could not obtain handle on privileged command interface|cannot open /proc/xen|Is xenstore daemon running|"
        r"cannot init xl context|Can't find hypervisor information|xc_interface_open.*failed",
        HostError,
        "Xen is not running on {host}, or this is not its dom0",
        'boot the machine with Xen, or boot in the lab: host = "lab"',
    ),
    _Case(
        r'Domain with name "?([^"\s]+)"? already exists',
        DomainError,
        "a domain called {0} is already there on {host}",
        "end it (`xl destroy {0}` there), or give ours another name: name = ...",
    ),
    _Case(
        r"Could not find bridge device (\S+)",
        DomainError,
        "there is no bridge {0} on {host} for a network device of {name}",
        "make it there, or name another one: [xl.vif.0] bridge = ...",
    ),
    _Case(
        r"Could not find bridge, and none was specified",
        DomainError,
        "there is no bridge on {host} for a network device of {name}",
        "make one there, and name it: [xl.vif.0] bridge = ...",
    ),
    _Case(
        r"vif-\w+ (?:online|add)\b.*exited with error|Unable to add (?:nic|vif) devices|unable to add nic",
        DomainError,
        "the host {host} could not connect a network device of {name}",
        "look at the bridge that [xl.vif.0] names, and at /var/log/xen on the host",
    ),
    _Case(
        r"Disk (?:vdev=\S+ )?failed to stat: (\S+): No such file|failed to stat: (\S+): No such file|"
        r"([^\s:]+) does not exist\b",
        DomainError,
        "the disk of {name} is not there on {host}: {0}",
        "make the file, or name another one: [xl.disk.xvda] target = ...",
    ),
    _Case(
        r"(?:scripts/block\S* add\b.*exited with error|unable to add disk|Unable to add disk)",
        DomainError,
        "the host {host} could not connect a disk of {name}",
        "look at the target that [xl.disk] names, and at /var/log/xen on the host",
    ),
    _Case(
        r"failed to free memory for the domain|can't allocate|Out of memory|Cannot allocate memory|"
        r"Insufficient memory|not enough (?:free )?memory|setting domain memory|unable to allocate",
        DomainError,
        "there is too little free memory on {host} for {name}",
        "give it less ([xl] memory = ...), end another domain, or give the lab more ([lab] memory = ...)",
    ),
    _Case(
        r"no loader found|xc_dom_find_loader|image is not|Kernel image .* not|Invalid kernel|"
        r"has no (?:XEN_|shstrtab)|xc_dom_parse_|elf_xen_note_check|not (?:a )?Xen-compatible|xc_dom_compat_check",
        DomainError,
        "Xen refused the kernel of {name}: it is not one for a domain of this type",
        "see its type with `unibuild plan`, and set [xl] type where it is both",
    ),
    _Case(
        r"HVM|hardware virtuali[sz]ation|Domain type .* not supported|PVH guests? .*not supported|"
        r"xc_domain_create.*Operation not supported|domain creation fail.*Operation not supported",
        DomainError,
        "{host} cannot run a domain of this type: its processor or firmware has no hardware virtualization",
        'a PV kernel ([xl] type = "pv") needs none',
    ),
    _Case(
        r"domain creation fail|xc_domain_create|libxl__domain_make",
        DomainError,
        "Xen on {host} refused to make the domain {name}",
    ),
    _Case(
        r"(\S+) is an invalid domain identifier|Domain '?([^'\s]+)'? does not exist",
        DomainError,
        "there is no domain {0} on {host}",
    ),
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
