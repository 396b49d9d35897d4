"""Check this machine, the project and the lab for ``unibuild doctor``, without changing or starting anything."""

from __future__ import annotations

import os
import platform
import posixpath
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Literal

from unibuild.deploy import hosts
from unibuild.errors import FileError, HostError, UnibuildError
from unibuild.host import sudoers
from unibuild.settings.loader import STATE
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.settings.loader import Project
    from unibuild.settings.model import Lab, Settings

__all__ = ["Finding", "State", "finding_from_error", "lab", "look", "machine", "project", "system"]

_ROOM = 64 << 20  # bytes of free space that a few kernels and their copies need


def look(settings: Settings) -> list[Finding]:
    """Return the findings about the host in the settings; a lab that is down is not started."""
    try:
        host = hosts.open_running(settings, any_lab=True)
        if host is None:
            return [
                Finding("reach", "note", "the lab is down", "`unibuild lab up` starts it; `unibuild boot` does too")
            ]
        host.run(["true"], root=False, background=True)
    except HostError as error:
        return [finding_from_error("reach", error, "silent")]
    except UnibuildError as error:
        return [finding_from_error("reach", error)]
    found = [Finding("reach", "ok", f"{host.address} as {host.user}")]
    try:
        found += _look(host)
    except HostError as error:  # the connection was lost meanwhile
        found.append(finding_from_error("reach", error, "silent"))
    except UnibuildError as error:
        found.append(finding_from_error("reach", error))
    return found


def _look(host: Host) -> Iterator[Finding]:
    paths = sudoers.find(host)
    facts: Mapping[str, str] | None = None
    problem: Finding | None = None
    try:
        facts = host.toolstack.info(background=True)
    except UnibuildError as error:
        problem = finding_from_error(host.toolstack.name, error)
    own = _rights(host, paths, is_toolstack_refused=problem is not None)
    yield own
    if problem and own.state == "ok":
        yield problem
    if facts is not None:
        yield from _xen(host, facts)
    _, *others = host.toolstack.programs
    lacking = [name for name in others if name not in paths]
    if lacking:
        packages = " ".join(dict.fromkeys(host.toolstack.programs[name] for name in lacking))
        yield Finding("XenStore", "missing", f"no {', '.join(lacking)}", f"install there: apt install {packages}")
    elif others:
        yield Finding("XenStore", "ok", "its tools are there")
    yield _bridges(host)
    yield _check_space(host)


def _rights(host: Host, paths: Mapping[str, str], *, is_toolstack_refused: bool) -> Finding:
    """Check whether unibuild has the rights that it needs on the host; with sudo, find the sudoers lines for them."""
    main, package = next(iter(host.toolstack.programs.items()))
    if not host.needs_sudo:
        who = "root" if host.user == "root" else f"{host.user}, without sudo"
        if host.user == "root" or not is_toolstack_refused:
            return Finding("rights", "ok", who)
        fix = f'let this account use {main}, or set sudo = "auto" for this host'
        return Finding("rights", "missing", f"{who}: {main} does not work", fix)
    if main not in paths:
        return Finding("rights", "missing", f"there is no {main}", f"install Xen there: apt install {package}")
    programs = sudoers.root_programs(host.toolstack)
    lines = "\n".join(
        (
            "the lines for /etc/sudoers.d/unibuild there (visudo -f /etc/sudoers.d/unibuild):",
            *(f"  {line}" for line in sudoers.sudoers(host.user, paths, programs)),
            f"whoever may run {main} is as good as root there: a domain can be given any disk of the host",
        )
    )
    refused = sudoers.refused(host, paths)
    if not refused:
        return Finding("rights", "ok", f"sudo lets {host.user} run all that is needed without a password", lines)
    if host.address == "local" and set(refused) == programs.keys() & paths.keys():
        text = f"sudo asks {host.user} for a password, which unibuild passes on where there is a terminal"
        return Finding("rights", "note", text, f"to see more here, run `sudo -v` first; to boot without one, {lines}")
    return Finding("rights", "missing", f"sudo does not let {host.user} run {', '.join(refused)}", lines)


def _xen(host: Host, facts: Mapping[str, str]) -> Iterator[Finding]:
    able = facts.get("virt_caps", "").split()
    kinds = [kind for kind, word in (("PV", "pv"), ("PVH", "hvm")) if word in able]
    version = f"Xen {facts.get('xen_version', '?')}"
    if not kinds:
        yield Finding(
            "Xen", "missing", f"{version} runs neither PV nor PVH domains", "see virt_caps in the facts of that host"
        )
    elif len(kinds) == 1:
        fix = {
            "PV": "PVH needs the processor's virtualization (VT-x, AMD-V), switched on in its firmware",
            "PVH": "this Xen was built without PV; kernels that are PVH, or both, run",
        }[kinds[0]]
        yield Finding("Xen", "note", f"{version}, runs {kinds[0]} domains only", fix)
    else:
        yield Finding("Xen", "ok", f"{version}, runs {' and '.join(kinds)} domains")
    free = host.toolstack.free_memory(facts, host.toolstack.list_domains(background=True))
    yield Finding(
        "memory",
        "ok" if free >= 32 else "missing",
        f"{free} MiB for a new domain",
        None if free >= 32 else "destroy a domain there, or give dom0 less memory",
    )


def _bridges(host: Host) -> Finding:
    names = host.run(["ls", "/sys/class/net"], root=False, check=False, background=True).text.split()
    asked = [f"/sys/class/net/{name}/bridge" for name in names]
    output = host.run(["ls", "-d", *asked], root=False, check=False, background=True).text.split() if asked else []
    bridges = [posixpath.basename(posixpath.dirname(path)) for path in output]
    if bridges:
        return Finding("bridges", "ok", ", ".join(bridges))
    return Finding(
        "bridges",
        "note",
        "none; a domain with a network device needs one",
        "https://wiki.xenproject.org/wiki/Network_Configuration_Examples_(Xen_4.1%2B)",
    )


def _check_space(host: Host) -> Finding:
    """Check the free space for copies of kernels; on a host without copies, that of the root folder."""
    wanted = PurePosixPath("/" + getattr(host, "folder", "/").strip("/"))
    folders = [str(folder) for folder in (wanted, *wanted.parents)]
    output = host.run(["stat", "-f", "-c", "%a %S %n", *folders], root=False, check=False, background=True)
    found = [line.split(" ", 2) for line in output.text.splitlines()]
    room = {row[2]: row[:2] for row in found if len(row) == 3 and row[0].isdecimal() and row[1].isdecimal()}
    folder = next((one for one in folders if one in room), None)
    if folder is None:
        return Finding("room", "note", "stat does not report it")
    numbers = room[folder]
    free = int(numbers[0]) * int(numbers[1])
    if free < _ROOM:
        return Finding("room", "missing", f"{free >> 20} MiB in {folder}", "free some there: kernels are copied to it")
    return Finding("room", "ok", f"{free >> 20} MiB in {folder}")


State = Literal["ok", "note", "missing", "silent"]


@dataclass(frozen=True)
class Finding:
    """The result of one check.

    Attributes:
        what: the checked thing, in a word or two.
        state: ``ok``; ``note``: worth knowing, and nothing is missing; ``missing``; ``silent``: a host does not answer.
        text: what was found.
        fix: what to do, or further information; may have several lines.
    """

    what: str
    state: State
    text: str
    fix: str | None = None


def finding_from_error(what: str, error: UnibuildError, state: State = "missing") -> Finding:
    """Return an error as a finding."""
    return Finding(what, state, error.message, error.hint)


_PROGRAMS = {  # the purpose of each program that the project does not need
    "make": "builds kernels",
    "gcc": "compiles C",
    "opam": "fetches what Mirage unikernels are made of",
    "mirage": "configures Mirage unikernels",
    "git": "finds a kernel's source revision",
    "addr2line": "finds the lines of a crash",
    "qemu-system-x86_64": "runs the lab",
    "ssh": "reaches the lab and other hosts",
}
_FIXES = {"mirage": "with opam: opam install mirage && eval $(opam env)", "git": "apt install git"}
_VERSION_OF = {"ssh": ("-V",), "mirage": None}  # Debian has another program called mirage, an image viewer
_LOCK_TIMEOUT = 10.0  # seconds for a program to print its version


def machine(needed: Collection[str]) -> list[Finding]:
    """Check for the programs that unibuild calls.

    Args:
        needed: the programs that building and booting the project requires.
    """
    names = [*_PROGRAMS, *(name for name in needed if name not in _PROGRAMS)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda name: _program(name, is_needed=name in needed), names))


def _program(name: str, *, is_needed: bool) -> Finding:
    path = shutil.which(name)
    if path is None:
        package = process.PACKAGES.get(name)
        fix = _FIXES.get(name) or (f"apt install {package}" if package else None)
        text = "not on PATH" + ("" if is_needed else f"; it {_PROGRAMS[name]}, and is not needed now")
        return Finding(name, "missing" if is_needed else "note", text, fix)
    asks = _VERSION_OF.get(name, ("--version",))
    output = ""
    if asks is not None:
        try:
            done = process.run([path, *asks], timeout=_LOCK_TIMEOUT, check=False)
            output = (done.stdout or done.stderr).decode(errors="replace")
        except UnibuildError:  # it exists, and its version does not matter
            pass
    version = re.search(r"\d+\.\d[\w.]*", output.partition("\n")[0])
    return Finding(name, "ok", f"{version[0]}, {path}" if version else path)


def project(project: Project) -> tuple[list[Finding], set[str]]:
    """Check whether the project can be built; return the findings and the programs that the build needs."""
    from unibuild.toolchain.registry import choose

    found = [Finding("settings", "ok", str(project.file))]
    needed: set[str] = set()
    try:
        toolchain = choose(project)
        needed = {program for step in toolchain.steps() for program in step.needs}
        found.append(Finding("toolchain", "ok", toolchain.name))
    except UnibuildError as error:
        found.append(finding_from_error("toolchain", error))
    folder = project.root / STATE
    if os.access(folder if folder.exists() else project.root, os.W_OK | os.X_OK):
        found.append(Finding("state", "ok", f"{folder} can be written"))
    else:
        found.append(Finding("state", "missing", f"{folder} cannot be written", "make the project's folder yours"))
    return found, needed


def lab(settings: Lab, root: Path, *, is_needed: bool) -> list[Finding]:
    """Check whether the lab can run on this machine, and whether it is running.

    Args:
        settings: its settings.
        root: the folder that ``[lab] image`` is relative to.
        is_needed: whether the project boots in the lab.
    """
    from unibuild.lab import vm

    lacking: State = "missing" if is_needed else "note"
    try:
        status = vm.status()
    except FileError as error:  # the user has no home folder
        return [finding_from_error("lab", error, lacking)]
    facts = ", ".join(status.facts[key] for key in ("box", "machine", "by") if key in status.facts)
    state: State = "note" if status.state in ("busy", "broken") else "ok"
    fix = "run `unibuild lab up`" if status.state == "broken" else None
    return [
        _image(settings, root, lacking),
        _accel(settings, lacking),
        Finding("lab", state, status.state + (f": {facts}" if facts else ""), fix),
    ]


def _image(settings: Lab, root: Path, lacking: State) -> Finding:
    from unibuild.lab import image, packages
    from unibuild.lab.paths import LabPaths

    if settings.image:
        file = root / files.expand_user(settings.image)
        if file.is_file():
            return Finding("image", "ok", f"image file {file}")
        return Finding("image", lacking, f"the image file is missing: {file}", packages.ELSEWHERE)
    if image.find(LabPaths.of().image):
        return Finding("image", "ok", "made of this machine's packages")
    try:
        here = packages.this_machines()
        for program in ("apt-get", "dpkg-deb"):
            process.need(program)
    except UnibuildError as error:
        return finding_from_error("image", error, lacking)
    return Finding("image", "ok", f"will be made of packages of {here}, at the first boot (100 MB)")


def _accel(settings: Lab, lacking: State) -> Finding:
    emulated = "emulated (TCG)"
    if settings.accel == "tcg":
        return Finding("KVM", "ok", f'not used: [lab] accel = "tcg"; the lab is {emulated}')
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("KVM", "ok", "/dev/kvm can be opened; whether the lab runs on it, it tries itself")
    there = os.path.exists("/dev/kvm")  # noqa: PTH110 (pathlib asks stat, which may be forbidden)
    why = "is not yours to open" if there else "is not there"
    fix = (
        "join the group kvm: adduser $USER kvm" if there else "it needs the processor's virtualization (nested in a VM)"
    )
    if settings.accel == "kvm":
        return Finding("KVM", lacking, f'/dev/kvm {why}, and [lab] accel = "kvm" wants it', fix)
    return Finding("KVM", "note", f"/dev/kvm {why}: the lab is {emulated}, and slower", fix)


def system() -> str:
    """Return a short description of this machine."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    return f"{name}, {platform.machine()}, Python {platform.python_version()}"
