"""Whether a unikernel knows the arguments that it shall get: it is asked once, in the lab, before anything is ended.

A Solo5 kernel gets a domain of its own there, without devices, and the command line ``--help=plain``. What it answers
is kept by the kernel's hash. Where nothing can be learned nothing is refused: the unikernel will say it itself.
"""

from __future__ import annotations

import contextlib
import json
import re
import uuid
from typing import TYPE_CHECKING

from unibuild import kernel
from unibuild.deploy import host_files
from unibuild.domain.console import Reader
from unibuild.domain.console_log import Log, log_path
from unibuild.domain.exit_status import DomainExit
from unibuild.errors import KernelError, UnibuildError
from unibuild.graph import xl_file as xlfile
from unibuild.settings.loader import state_dir
from unibuild.util import files
from unibuild.xlcfg import cmdline, edit, parser

if TYPE_CHECKING:
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.settings.model import Boot

__all__ = ["HELP", "check", "parse_help"]

_LABEL = re.compile(r"^ {7}(?:\(Deprecated\) )?(-\S.*)$", re.MULTILINE)
_NAME = re.compile(r"(?:^|, )(--[^\s=,\[]+|-[^\s=,\[-])(?=[\s=,\[]|$)")


def parse_help(said: bytes) -> frozenset[str] | None:
    """Return the names of the arguments, with their dashes.

    Args:
        said: what the console said.

    Returns:
        The names; None where there is no such page in it.
    """
    text = said.decode(errors="replace").replace("\r", "")
    # In a label of one letter the explanation follows on the same line, after two blanks.
    labels = [re.split(r" \(|  ", label)[0] for label in _LABEL.findall(text)]
    names = frozenset(name for label in labels for name in _NAME.findall(label))
    return names if "--help" in names else None


HELP = 63  # how MirageOS ends after --help (its functoria_runtime.ml)
PATIENCE = 15.0  # seconds for a kernel that does something else
_FILE = "arguments.json"
_KEEP = 20  # kernels
_VERSION = 1


def check(boot: Boot, root: Path, host: Host, xl_file: Path, kernel_file: Path) -> None:
    """See that the unikernel knows the arguments of ``[boot] args``, where it can be asked at no great cost.

    Args:
        boot: the table ``[boot]``.
        root: the project's folder.
        host: where the domain shall run.
        xl_file: its ``.xl``.
        kernel_file: its kernel.

    Raises:
        SettingsError: it does not know one.
    """
    words = cmdline.words(boot.args)
    if boot.check_args == "never" or not any(word.startswith("-") for word in words) or not _is_solo5(kernel_file):
        return
    known = _known(root, host, xl_file, kernel_file)
    if known:
        cmdline.check_names(words, known)


def _is_solo5(path: Path) -> bool:
    try:
        about = kernel.inspect(path)
    except KernelError:
        return False
    return about.pvh and (about.solo5_abi or "").startswith("xen ")


def _known(root: Path, host: Host, xl_file: Path, kernel_file: Path) -> list[str] | None:
    """Return the names of the arguments that the kernel knows, asked now or before; None: it cannot be said."""
    cache = state_dir(root) / _FILE
    found = _read(cache)
    sha256 = files.sha256(kernel_file)
    if sha256 not in found:
        try:
            lab = host if host.address == "lab" else _lab()
            if lab is None:
                return None
            known = _ask(lab, root, xl_file, kernel_file, stays=lab is host)
        except UnibuildError:  # the boot itself will meet it, or does not need the lab
            return None
        found[sha256] = sorted(known) if known else None
        newest = dict([*found.items()][-_KEEP:])
        files.write_atomic(cache, (json.dumps({"version": _VERSION, "kernels": newest}, indent=1) + "\n").encode())
    return found[sha256]


def _read(cache: Path) -> dict[str, list[str] | None]:
    try:
        tree = json.loads(cache.read_bytes())
        return dict(tree["kernels"]) if tree["version"] == _VERSION else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _lab() -> Host | None:
    """Return the lab where it is up."""
    from unibuild.host.ssh import Ssh
    from unibuild.lab import vm

    lab = vm.running()
    return Ssh(lab.alias, config=lab.ssh_config, address="lab") if lab else None


def _ask(lab: Host, root: Path, xl_file: Path, kernel_file: Path, *, stays: bool) -> frozenset[str] | None:
    """Let the kernel print its manual page in the lab; return the arguments in it.

    Args:
        lab: the lab.
        root: the project's folder.
        xl_file: the domain's ``.xl``.
        kernel_file: the domain's kernel.
        stays: the domain will be booted there too: what was copied is left to it.

    Raises:
        HostError: the lab is out of reach.
        DomainError: it has no room for another domain.
    """
    state = state_dir(root)
    config = parser.parse(xlfile.read(xl_file), str(xl_file))
    name = f"{config.get('name')}.unibuild-help"
    folder = host_files.host_folder(root, str(config.get("name")) if stays else name)
    settings: dict[str, edit.Setting] = {
        "name": name,
        "type": "pvh",
        "kernel": lab.put(kernel_file, folder=folder),
        "memory": config.number("memory") or 64,
        "cmdline": "--help=plain",
        **dict.fromkeys(xlfile.ENDS, "preserve"),
    }
    beside = state / "help.xl"
    files.write_atomic(beside, edit.apply("", edit.Changes(settings)).encode(errors="surrogateescape"))
    left_over = lab.toolstack.find(name=name)
    if left_over:  # by one of us that was killed
        lab.toolstack.destroy(left_over)
    path = lab.put(beside, folder=folder)
    said = bytearray()
    log = log_path(state, name)
    log.unlink(missing_ok=True)
    asked = str(uuid.uuid4())
    with contextlib.ExitStack() as undo:
        if not stays:
            undo.callback(lab.discard, folder)
        undo.callback(_destroy, lab, asked)
        lab.toolstack.create_paused(path, name=name, uuid=asked)
        domain = lab.toolstack.find(uuid=asked)
        if domain is None:
            return None
        with Reader(lab, domain, Log(log), said.extend) as reader:
            lab.toolstack.unpause(domain)
            end = reader.follow(wait=PATIENCE)
    is_help = isinstance(end, DomainExit) and end.code == HELP
    return parse_help(bytes(said)) if is_help else None


def _destroy(lab: Host, asked: str) -> None:
    domain = lab.toolstack.find(uuid=asked)
    if domain:
        lab.toolstack.destroy(domain)
