"""The command `unibuild lab`: manage the lab, a Xen host in QEMU on this machine."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import InputError
from unibuild.util import files, process

if TYPE_CHECKING:
    from unibuild.settings.model import Lab

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """Run ``unibuild lab`` with these arguments; return its exit status.

    Raises:
        UnibuildError: the same errors as the functions of ``unibuild.lab.vm``.
    """
    asked = _parser().parse_args(argv)
    return int(asked.act(asked))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unibuild lab", description="Manage the lab, a real Xen host in QEMU on this machine."
    )
    verbs = parser.add_subparsers(required=True, metavar="up | down | status | ssh | reset | pack")
    up = verbs.add_parser("up", help="start the lab VM, or restore its snapshot")
    up.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings for this run: lab.memory=2048")
    up.set_defaults(act=_up)
    down = verbs.add_parser("down", help="stop the lab VM and all its domains")
    down.set_defaults(act=_down)
    status = verbs.add_parser("status", help="print the lab's state; exit code 0 if it is up, else 1")
    status.set_defaults(act=_status)
    ssh = verbs.add_parser("ssh", help="open a shell in dom0, or run a command there; start the lab VM if needed")
    ssh.add_argument("command", nargs=argparse.REMAINDER, help="the command; as with ssh, a shell in dom0 parses it")
    ssh.set_defaults(act=_ssh)
    reset = verbs.add_parser("reset", help="stop the lab VM and delete its snapshot, keys and log")
    reset.add_argument(
        "--image", action="store_true", help="delete the image too; the next start makes it from today's packages"
    )
    reset.set_defaults(act=_reset)
    pack = verbs.add_parser("pack", help="write a packed image, for machines that run neither Debian nor Ubuntu")
    pack.add_argument("file", type=Path, metavar="FILE")
    pack.set_defaults(act=_pack)
    return parser


def _settings(overrides: list[str]) -> Lab:
    import msgspec

    from unibuild.settings import loader

    pairs = {}
    for override in overrides:
        key, found, value = override.partition("=")
        if not found:
            raise InputError(f'"{override}" is not a setting', hint="write KEY=VALUE, such as lab.memory=2048")
        pairs[key] = value
    project = loader.load(Path.cwd(), pairs, required=False)
    lab = project.settings.lab
    if lab.image is not None:
        lab = msgspec.structs.replace(lab, image=str(project.root / files.expand_user(lab.image)))
    return lab


def _up(asked: argparse.Namespace) -> int:
    from unibuild.lab import vm
    from unibuild.util.progress import shown

    with shown() as progress:
        vm.up(_settings(asked.settings), progress)
    print("The lab is up. `unibuild lab ssh` is its dom0, `unibuild lab down` ends it.")
    return 0


def _down(_: argparse.Namespace) -> int:
    from unibuild.lab import vm

    print("The lab is down." if vm.down() else "The lab was down already.")
    return 0


def _status(_: argparse.Namespace) -> int:
    from unibuild.lab import vm

    status = vm.status()
    print(f"The lab is {status.state}.")
    for name, value in status.facts.items():
        print(f"  {name:<8} {value}")
    return 0 if status.state == "up" else 1


def _ssh(asked: argparse.Namespace) -> int:
    from unibuild.lab import vm
    from unibuild.util.progress import shown

    lab = vm.running()
    if lab is None:
        with shown() as progress:
            lab = vm.up(_settings([]), progress)
    command = asked.command[1:] if asked.command[:1] == ["--"] else asked.command
    terminal = ["-t"] if sys.stdin.isatty() and sys.stdout.isatty() else []
    remote = [" ".join(command)] if command else []  # as ssh(1) does; a shell in dom0 parses the result
    return process.run_interactive(["ssh", "-F", str(lab.ssh_config), *terminal, lab.alias, *remote])


def _reset(asked: argparse.Namespace) -> int:
    from unibuild.lab import vm

    vm.reset(image=asked.image)
    print("The lab is down and boots from its image the next time.")
    return 0


def _pack(asked: argparse.Namespace) -> int:
    from unibuild.lab import vm
    from unibuild.util.progress import shown

    with shown() as progress:
        vm.pack(asked.file.absolute(), progress)
    print(f'Wrote {asked.file}. On the other machine, in unibuild.toml:\n  [lab]\n  image = "{asked.file.name}"')
    return 0
