"""Check in the lab, before a boot stops anything, that a unikernel knows its arguments.

A Solo5 kernel is booted there once in a domain without devices, with the command line ``--help=plain``. Its answer is
cached by the kernel's hash. If nothing can be learned, nothing is refused: the unikernel itself will report it.
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
    """Return the names of the arguments in a unikernel's manual page, with their dashes.

    Args:
        said: the console's output.

    Returns:
        The names; None if the output has no such page.
    """
    text = said.decode(errors="replace").replace("\r", "")
    # After a label of one letter the explanation follows on the same line, after two spaces.
    labels = [re.split(r" \(|  ", label)[0] for label in _LABEL.findall(text)]
    names = frozenset(name for label in labels for name in _NAME.findall(label))
    return names if "--help" in names else None


HELP = 63  # MirageOS's exit code after --help (its functoria_runtime.ml)
TIMEOUT = 15.0  # seconds for a kernel that does something else
_FILE = "arguments.json"
_KEEP = 20  # kernels
_VERSION = 1


def check(boot: Boot, root: Path, host: Host, xl_file: Path, kernel_file: Path) -> None:
    """Check that the unikernel knows the arguments of ``[boot] args``, if it can be queried cheaply.

    Args:
        boot: the table ``[boot]``.
        root: the project's folder.
        host: the host that will run the domain.
        xl_file: the domain's ``.xl``.
        kernel_file: the domain's kernel.

    Raises:
        SettingsError: it does not know an argument.
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
    """Return the names of the arguments that the kernel knows, from the cache or the lab; None: they are not known."""
    cache = state_dir(root) / _FILE
    found = _read(cache)
    sha256 = files.sha256(kernel_file)
    if sha256 not in found:
        try:
            lab = host if host.address == "lab" else _lab()
            if lab is None:
                return None
            known = _ask(lab, root, xl_file, kernel_file, stays=lab is host)
        except UnibuildError:  # the boot itself reports it, or does not need the lab
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
    """Return the lab if it is up."""
    from unibuild.host.ssh import Ssh
    from unibuild.lab import vm

    lab = vm.running()
    return Ssh(lab.alias, config=lab.ssh_config, address="lab") if lab else None


def _ask(lab: Host, root: Path, xl_file: Path, kernel_file: Path, *, stays: bool) -> frozenset[str] | None:
    """Boot the kernel in the lab to print its manual page; return the arguments in it.

    Args:
        lab: the lab.
        root: the project's folder.
        xl_file: the domain's ``.xl``.
        kernel_file: the domain's kernel.
        stays: whether the domain will be booted there too, so that the copied files stay.

    Raises:
        HostError: the lab is out of reach.
        DomainError: the lab has no memory left for another domain.
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
    help_xl = state / "help.xl"
    files.write_atomic(help_xl, edit.apply("", edit.Changes(settings)).encode(errors="surrogateescape"))
    left_over = lab.toolstack.find(name=name)
    if left_over:  # by a unibuild that was killed
        lab.toolstack.destroy(left_over)
    path = lab.put(help_xl, folder=folder)
    output = bytearray()
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
        with Reader(lab, domain, Log(log), output.extend) as reader:
            lab.toolstack.unpause(domain)
            end = reader.follow(wait=TIMEOUT)
    is_help = isinstance(end, DomainExit) and end.code == HELP
    return parse_help(bytes(output)) if is_help else None


def _destroy(lab: Host, asked: str) -> None:
    domain = lab.toolstack.find(uuid=asked)
    if domain:
        lab.toolstack.destroy(domain)
