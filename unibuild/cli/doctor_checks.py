"""What this machine, the project and the lab have and lack, for ``unibuild doctor``; nothing is changed or started."""

from __future__ import annotations

import os
import platform
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unibuild.errors import FileError, UnibuildError
from unibuild.settings.loader import STATE
from unibuild.util import files, process

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from unibuild.settings.loader import Project
    from unibuild.settings.model import Lab

__all__ = ["Finding", "State", "lab", "machine", "project", "system", "trouble"]

State = Literal["ok", "note", "missing", "silent"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        what: the thing, in a word or two.
        state: ``ok``; ``note``: worth knowing, and nothing is missing; ``missing``; ``silent``: a host does not answer.
        text: what was found.
        mend: what to do, or more to know; may hold several lines.
    """

    what: str
    state: State
    text: str
    mend: str | None = None


def trouble(what: str, error: UnibuildError, state: State = "missing") -> Finding:
    """Make a finding of an error."""
    return Finding(what, state, error.message, error.hint)


_PROGRAMS = {  # what each is for, where the project does not need it
    "make": "builds kernels",
    "gcc": "compiles C",
    "opam": "fetches what Mirage unikernels are made of",
    "mirage": "configures Mirage unikernels",
    "git": "tells a kernel's source revision",
    "addr2line": "finds the lines of a crash",
    "qemu-system-x86_64": "runs the lab",
    "ssh": "reaches the lab and other hosts",
}
_MENDS = {"mirage": "with opam: opam install mirage && eval $(opam env)", "git": "apt install git"}
_VERSION_OF = {"ssh": ("-V",), "mirage": None}  # Debian's program of the name mirage shows images
_PATIENCE = 10.0  # seconds for a program to tell its version


def machine(needed: Collection[str]) -> list[Finding]:
    """Look for the programs that unibuild calls.

    Args:
        needed: those without which the project cannot be built or booted.
    """
    names = [*_PROGRAMS, *(name for name in needed if name not in _PROGRAMS)]
    with ThreadPoolExecutor(max_workers=4) as pool:
        return list(pool.map(lambda name: _program(name, is_needed=name in needed), names))


def _program(name: str, *, is_needed: bool) -> Finding:
    path = shutil.which(name)
    if path is None:
        package = process.PACKAGES.get(name)
        mend = _MENDS.get(name) or (f"apt install {package}" if package else None)
        text = "not on PATH" + ("" if is_needed else f"; it {_PROGRAMS[name]}, and is not needed now")
        return Finding(name, "missing" if is_needed else "note", text, mend)
    asks = _VERSION_OF.get(name, ("--version",))
    said = ""
    if asks is not None:
        try:
            done = process.run([path, *asks], timeout=_PATIENCE, check=False)
            said = (done.stdout or done.stderr).decode(errors="replace")
        except UnibuildError:  # that it is there is enough
            pass
    version = re.search(r"\d+\.\d[\w.]*", said.partition("\n")[0])
    return Finding(name, "ok", f"{version[0]}, {path}" if version else path)


def project(project: Project) -> tuple[list[Finding], set[str]]:
    """Look whether the project can be built; return that, and the programs that building it needs."""
    from unibuild.toolchain.registry import choose

    found = [Finding("settings", "ok", str(project.file))]
    needed: set[str] = set()
    try:
        toolchain = choose(project)
        needed = {program for step in toolchain.steps() for program in step.needs}
        found.append(Finding("toolchain", "ok", toolchain.name))
    except UnibuildError as error:
        found.append(trouble("toolchain", error))
    folder = project.root / STATE
    if os.access(folder if folder.exists() else project.root, os.W_OK | os.X_OK):
        found.append(Finding("state", "ok", f"{folder} can be written"))
    else:
        found.append(Finding("state", "missing", f"{folder} cannot be written", "make the project's folder yours"))
    return found, needed


def lab(settings: Lab, root: Path, *, is_needed: bool) -> list[Finding]:
    """Look whether the lab can run here, and whether it does.

    Args:
        settings: its settings.
        root: the folder that ``[lab] box`` starts from.
        is_needed: whether something is to boot in it.
    """
    from unibuild.lab import vm

    lacking: State = "missing" if is_needed else "note"
    try:
        status = vm.status()
    except FileError as error:  # a user without a home
        return [trouble("lab", error, lacking)]
    facts = ", ".join(status.facts[key] for key in ("box", "machine", "by") if key in status.facts)
    state: State = "note" if status.state in ("busy", "broken") else "ok"
    mend = "`unibuild lab up` starts it anew" if status.state == "broken" else None
    return [
        _image(settings, root, lacking),
        _accel(settings, lacking),
        Finding("lab", state, status.state + (f": {facts}" if facts else ""), mend),
    ]


def _image(settings: Lab, root: Path, lacking: State) -> Finding:
    from unibuild.lab import image, packages
    from unibuild.lab.paths import LabPaths

    if settings.box:
        file = root / files.expand_user(settings.box)
        if file.is_file():
            return Finding("image", "ok", f"box file {file}")
        return Finding("image", lacking, f"there is no box file {file}", packages.ELSEWHERE)
    if image.find(LabPaths.of().image):
        return Finding("image", "ok", "made of this machine's packages")
    try:
        here = packages.this_machines()
        for program in ("apt-get", "dpkg-deb"):
            process.need(program)
    except UnibuildError as error:
        return trouble("image", error, lacking)
    return Finding("image", "ok", f"will be made of packages of {here}, at the first boot (100 MB)")


def _accel(settings: Lab, lacking: State) -> Finding:
    emulated = "emulated (TCG)"
    if settings.accel == "tcg":
        return Finding("KVM", "ok", f'not used: [lab] accel = "tcg"; the lab is {emulated}')
    if os.access("/dev/kvm", os.R_OK | os.W_OK):
        return Finding("KVM", "ok", "/dev/kvm can be opened; whether the lab runs on it, it tries itself")
    there = os.path.exists("/dev/kvm")  # noqa: PTH110 (pathlib asks stat, which may be forbidden)
    why = "is not yours to open" if there else "is not there"
    mend = (
        "join the group kvm: adduser $USER kvm" if there else "it needs the processor's virtualization (nested in a VM)"
    )
    if settings.accel == "kvm":
        return Finding("KVM", lacking, f'/dev/kvm {why}, and [lab] accel = "kvm" wants it', mend)
    return Finding("KVM", "note", f"/dev/kvm {why}: the lab is {emulated}, and slower", mend)


def system() -> str:
    """Return what this machine is, in a few words."""
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "Linux")
    except OSError:
        name = "Linux"
    return f"{name}, {platform.machine()}, Python {platform.python_version()}"
