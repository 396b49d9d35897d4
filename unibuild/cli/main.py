"""The ``unibuild`` command after the fast path: run one of its own commands, or pass the command line to doit."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import unibuild
from unibuild.doit_plugin import usage
from unibuild.doit_plugin.usage import GoalOptions, split_options
from unibuild.errors import FileError, InputError, UnibuildError
from unibuild.util import run_result, standard_streams
from unibuild.util.output import enable_debug, handle_broken_pipe, lost_output, print_error

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {
    "init": "write an unibuild.toml, and with options a dodo.py and files for make",
    "lab": "manage the lab, a real Xen in QEMU: up, down, status, ssh, reset, pack",
    "plan": "print what a goal would run, and why",
    "doctor": "check this machine and the hosts, and suggest fixes",
    "test": "boot the unikernel in the lab and check what [test] asks for",
    "ami": "manage this project's AMIs in AWS: list, show, diff, gc, rm, rollback, terminate",
    "iam-policy": "print the smallest IAM policy that the configuration needs",
}
DOIT = {
    "list": "list the goals of this project; -s shows which are up to date",
    "info": "show what a goal depends on and produces, and why it is out of date",
    "clean": "remove the kernel, the .xl and the image, but no source",
    "forget": "run a goal the next time, even if it is up to date",
    "ignore": "skip a goal until it is forgotten",
    "reset-dep": "record the current files as up to date, without building",
    "run": "run goals, as without this word",
    "tabcompletion": "write a completion script for bash or zsh",
    "help": "show doit's help for a command or a goal",
}

USAGE = """\
usage: unibuild [-C DIR] [--debug] GOAL... [key=value...]
       unibuild [-C DIR] [--debug] GOAL KERNEL [-- ARGUMENT...]
       unibuild [-C DIR] [--debug] COMMAND [...]
"""
ABOUT = """Build a unikernel and boot it on Xen. Only out-of-date steps run. The project is the nearest folder with an
unibuild.toml, from here upward; KERNEL, a path, needs none."""
AFTER = (
    "key=value overrides a setting: `unibuild boot host=lab xl.memory=64`. `unibuild help settings` lists them.",
    "Exit code: 0 done, 1 a step failed, 2 wrong input, 3 something is missing, 4 the host, 5 the domain, 6 not ready, "
    "7 AWS, 130 Ctrl-C.",
)


def main(argv: Sequence[str]) -> int:
    """Run a command line; return the exit code.

    Raises:
        KeyboardInterrupt: after Ctrl-C; ``unibuild._fast_path`` handles it.
    """
    run_result.begin()
    try:
        return _run(argv)
    finally:
        run_result.send()


def _run(argv: Sequence[str]) -> int:
    try:
        code = _main(list(argv))
        sys.stdout.flush()  # imported here, where errors can still be reported
        return code or lost_output()
    except UnibuildError as error:
        return print_error(error)
    except BrokenPipeError:
        return handle_broken_pipe()
    except OSError as error:
        standard_streams.hang_up(error)
        return print_error(FileError.of(error))


def _main(argv: list[str]) -> int:
    dry = False
    while argv and argv[0].startswith("-"):
        match argv[0]:
            case "-h" | "--help":
                print(_usage(), end="")
                return 0
            case "--version":
                print(f"unibuild {unibuild.__version__}")
                return 0
            case "--debug":
                enable_debug()
            case "--dry-run":
                dry = True
            case "-C":
                if len(argv) < 2:
                    raise InputError("-C needs a folder")
                _enter(argv.pop(1))
            case _:
                break
        argv.pop(0)
    argv = _enter_project_of_kernel(argv, keep=dry)
    asked = GoalOptions()
    if argv and argv[0] not in COMMANDS:
        asked, argv = split_options(argv)
    if not argv:
        print(_usage(), end="")
        return 0
    if argv[0] == "help" or (argv[0] not in COMMANDS and not {"-h", "--help"}.isdisjoint(argv)):
        page = _help(argv)
        if page is None:
            return 0
        argv = page
    if dry or ("--dry-run" in argv and argv[0] not in DOIT):
        argv = ["plan", *(word for word in argv if word != "--dry-run")]
    if "--force" in argv and argv[0] not in (*COMMANDS, *DOIT):
        argv = ["run", "--always-execute", "--single", *(word for word in argv if word != "--force")]
    if argv[0] in COMMANDS:
        command = importlib.import_module(f"unibuild.cli.{argv[0].replace('-', '_')}")
        return int(command.main([*argv[1:], *(["--host", asked.host] if asked.host else [])]))
    return _doit([word for word in argv if word], asked)


def _usage() -> str:
    from unibuild.graph.graph import GOALS

    commands = {**COMMANDS, **{name: DOIT[name] for name in ("list", "info", "clean", "forget")}}
    width = max(map(len, (*GOALS, *commands, *usage.PROGRAM_OPTIONS)))
    parts = [USAGE.splitlines(), usage.wrapped(ABOUT)]
    for head, table in (("goals", GOALS), ("commands", commands), ("options", usage.PROGRAM_OPTIONS)):
        parts.append([f"{head}:", *usage.rows({f"{name:<{width}}": what for name, what in table.items()})])
    parts.append([line for text in AFTER for line in usage.wrapped(text)])
    return "\n\n".join("\n".join(lines) for lines in parts) + "\n"


def _help(words: list[str]) -> list[str] | None:
    """Print the help page that a command line asks for and return None, or return the command line that prints it."""
    from unibuild.graph.graph import GOALS

    about = [word for word in words if not word.startswith("-") and "=" not in word and word != "help"]
    if not about:
        print(_usage(), end="")
    elif about == ["settings"]:
        from unibuild.settings.reference import markdown

        print(markdown())
    elif about[0] in GOALS:
        print("\n".join(usage.goal_page(goal) for goal in about if goal in GOALS), end="")
    elif about[0] in COMMANDS:
        return [about[0], "--help"]
    else:
        return ["help", about[0]]  # a doit command, or a task of the project's dodo.py
    return None


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise InputError(f"cannot enter the folder {folder}: {error.strerror}") from None


def _enter_project_of_kernel(argv: list[str], *, keep: bool) -> list[str]:
    """Change to the project of the kernel that the words name by its path, if they do; return the other words."""
    from unibuild.graph.graph import GOALS

    goals = {*GOALS, "plan", "test"}
    if not argv or argv[0] in COMMANDS.keys() - goals or goals.isdisjoint(argv):
        return argv
    from unibuild.cli import kernel_path

    return kernel_path.enter_project(argv, goals, keep=keep)


def _doit(argv: list[str], asked: GoalOptions) -> int:
    """Pass a command line to doit, with unibuild's tasks."""
    from unibuild.doit_plugin.loader import Main

    code = int(Main(asked).run(argv))
    if code == 0 and len(argv) == 1 and asked.host is None:
        from unibuild._fast_path_file import GOALS

        if argv[0] in GOALS:
            from unibuild.cli import fast_path_cache

            fast_path_cache.write(Path.cwd())
    return code
