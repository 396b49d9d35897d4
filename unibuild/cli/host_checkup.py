"""What a Xen host has and lacks, for ``unibuild doctor``; it is only asked, and nothing may ask for a password."""

from __future__ import annotations

import posixpath
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from unibuild.cli.doctor_checks import Finding, trouble
from unibuild.deploy import hosts
from unibuild.errors import HostError, UnibuildError
from unibuild.host import sudoers, xl

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from unibuild.host.base import Host
    from unibuild.settings.model import Settings

__all__ = ["look"]

_ROOM = 64 << 20  # bytes that some kernels and their copies take
_AS_GOOD_AS_ROOT = "whoever may run xl is as good as root there: a domain can be given any disk of the host"


def look(settings: Settings) -> list[Finding]:
    """Return what there is to say of the host that the settings mean; a lab that is down is left so."""
    try:
        host = hosts.open_running(settings, any_lab=True)
        if host is None:
            return [
                Finding("reach", "note", "the lab is down", "`unibuild lab up` starts it; `unibuild boot` does too")
            ]
        host.run(["true"], root=False, background=True)
    except HostError as error:
        return [trouble("reach", error, "silent")]
    except UnibuildError as error:
        return [trouble("reach", error)]
    found = [Finding("reach", "ok", f"{host.address} as {host.user}")]
    try:
        found += _look(host)
    except HostError as error:  # it was lost meanwhile
        found.append(trouble("reach", error, "silent"))
    except UnibuildError as error:
        found.append(trouble("reach", error))
    return found


def _look(host: Host) -> Iterator[Finding]:
    paths = sudoers.find(host)
    facts: Mapping[str, str] | None = None
    problem: Finding | None = None
    try:
        facts = xl.info(host, background=True)
    except UnibuildError as error:
        problem = trouble("xl", error)
    ours = _rights(host, paths, is_xl_refused=problem is not None)
    yield ours
    if problem and ours.state == "ok":
        yield problem
    if facts is not None:
        yield from _xen(host, facts)
    lacking = [name for name in sudoers.PROGRAMS if name.startswith("xenstore-") and name not in paths]
    if lacking:
        yield Finding("XenStore", "missing", f"no {', '.join(lacking)}", "install there: apt install xenstore-utils")
    else:
        yield Finding("XenStore", "ok", "its tools are there")
    yield _bridges(host)
    yield _room(host)


def _rights(host: Host, paths: Mapping[str, str], *, is_xl_refused: bool) -> Finding:
    """Tell whether we may do there what we must; with sudo, which lines allow it."""
    if not host.needs_sudo:
        who = "root" if host.user == "root" else f"{host.user}, without sudo"
        if host.user == "root" or not is_xl_refused:
            return Finding("rights", "ok", who)
        mend = 'let this account use xl, or set sudo = "auto" for this host'
        return Finding("rights", "missing", f"{who}: xl does not work", mend)
    lines = "\n".join(
        (
            "the lines for /etc/sudoers.d/unibuild there (visudo -f /etc/sudoers.d/unibuild):",
            *(f"  {line}" for line in sudoers.sudoers(host.user, paths)),
            _AS_GOOD_AS_ROOT,
        )
    )
    if "xl" not in paths:
        return Finding("rights", "missing", "there is no xl", "install Xen there: apt install xen-system-amd64")
    refused = sudoers.refused(host, paths)
    if not refused:
        return Finding("rights", "ok", f"sudo lets {host.user} run all that is needed without a password", lines)
    if host.address == "local" and refused == tuple(paths):
        text = f"sudo asks {host.user} for a password, which unibuild passes on where there is a terminal"
        return Finding("rights", "note", text, f"to see more here, run `sudo -v` first; to boot without one, {lines}")
    return Finding("rights", "missing", f"sudo does not let {host.user} run {', '.join(refused)}", lines)


def _xen(host: Host, facts: Mapping[str, str]) -> Iterator[Finding]:
    able = facts.get("virt_caps", "").split()
    kinds = [kind for kind, word in (("PV", "pv"), ("PVH", "hvm")) if word in able]
    version = f"Xen {facts.get('xen_version', '?')}"
    if not kinds:
        yield Finding("Xen", "missing", f"{version} runs neither PV nor PVH domains", "see `xl info` there: virt_caps")
    elif len(kinds) == 1:
        mend = {
            "PV": "PVH needs the processor's virtualization (VT-x, AMD-V), switched on in its firmware",
            "PVH": "this Xen was built without PV; kernels that are PVH, or both, run",
        }[kinds[0]]
        yield Finding("Xen", "note", f"{version}, runs {kinds[0]} domains only", mend)
    else:
        yield Finding("Xen", "ok", f"{version}, runs {' and '.join(kinds)} domains")
    free = xl.available_memory(host, facts, xl.domains(host, background=True))
    yield Finding(
        "memory",
        "ok" if free >= 32 else "missing",
        f"{free} MiB for a new domain",
        None if free >= 32 else ("end a domain there, or give dom0 less (xl mem-set 0)"),
    )


def _bridges(host: Host) -> Finding:
    names = host.run(["ls", "/sys/class/net"], root=False, check=False, background=True).text.split()
    asked = [f"/sys/class/net/{name}/bridge" for name in names]
    said = host.run(["ls", "-d", *asked], root=False, check=False, background=True).text.split() if asked else []
    bridges = [posixpath.basename(posixpath.dirname(path)) for path in said]
    if bridges:
        return Finding("bridges", "ok", ", ".join(bridges))
    return Finding(
        "bridges",
        "note",
        "none; a domain with a network device needs one",
        "https://wiki.xenproject.org/wiki/Network_Configuration_Examples_(Xen_4.1%2B)",
    )


def _room(host: Host) -> Finding:
    """Tell how much room there is for copies of kernels; for a host without copies, for the rest."""
    wanted = PurePosixPath("/" + getattr(host, "folder", "/").strip("/"))
    folders = [str(folder) for folder in (wanted, *wanted.parents)]
    said = host.run(["stat", "-f", "-c", "%a %S %n", *folders], root=False, check=False, background=True)
    found = [line.split(" ", 2) for line in said.text.splitlines()]
    room = {row[2]: row[:2] for row in found if len(row) == 3 and row[0].isdecimal() and row[1].isdecimal()}
    folder = next((one for one in folders if one in room), None)
    if folder is None:
        return Finding("room", "note", "stat does not tell it")
    numbers = room[folder]
    free = int(numbers[0]) * int(numbers[1])
    if free < _ROOM:
        return Finding("room", "missing", f"{free >> 20} MiB in {folder}", "free some there: kernels are copied to it")
    return Finding("room", "ok", f"{free >> 20} MiB in {folder}")
