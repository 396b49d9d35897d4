"""The command `unibuild test`: boot the unikernel and check what the `[test]` tables ask for."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.errors import InputError
from unibuild.settings.loader import load
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from unibuild.settings.model import Case
    from unibuild.testing.runner import CaseResult

__all__ = ["choose", "main"]


def main(argv: list[str]) -> int:
    """Run ``unibuild test`` with these arguments.

    Returns:
        0: all tests passed; 1: one failed; else the exit code of the first error.

    Raises:
        UnibuildError: the project cannot be built, or the host cannot be reached.
    """
    asked = _parser().parse_intermixed_args(argv)
    words = dict(word.split("=", 1) for word in asked.words if "=" in word)
    names = [word for word in asked.words if "=" not in word]
    words["host"] = asked.host or words.get("host") or os.environ.get("UNIBUILD_HOST") or "lab"
    if words["host"] == "all":
        raise InputError("a test boots on one host at a time", hint="run `unibuild test --host NAME` for each of them")
    cases = choose(load(Path.cwd(), words).settings.test, names)
    with _stdout_for_json(is_wanted=asked.json == "-") as out:
        code, name, host, results = _run(words, cases)
        if code:
            return code
        _write_reports(asked, out, name, host, results)
    errors = [result.exit_code for result in results if result.outcome == "error"]
    return errors[0] if errors else int(any(result.outcome != "passed" for result in results))


def choose(tables: Mapping[str, Case], names: Sequence[str]) -> dict[str, Case]:
    """Return the tests with these names, or all tests if no name is given.

    Args:
        tables: the ``[test]`` tables; a project without any has the test ``boots``.
        names: the names of the tests to run.

    Raises:
        InputError: no test has one of the names.
    """
    from unibuild.testing.runner import DEFAULT

    known = tables or DEFAULT
    for name in names:
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean `{close[0]}`?" if close else f"there are: {', '.join(known)}"
            raise InputError(f"there is no test `{name}`", hint=hint)
    return {name: case for name, case in known.items() if not names or name in names}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="unibuild test",
        description="Boot the unikernel once for each [test] table of unibuild.toml and check what it asks for. "
        "Each test boots a separate domain, by default in the lab; the running domain is not touched.",
        epilog="Exit code: 0 all passed, 1 a test failed, others as for all commands.",
    )
    parser.add_argument("words", nargs="*", metavar="NAME | KEY=VALUE", help="tests to run, and settings for this run")
    parser.add_argument(
        "--host", metavar="HOST", help="where to boot: lab (the default), local, ssh://..., or a host's name"
    )
    parser.add_argument("--junit", type=Path, metavar="FILE", help="write the results as JUnit XML")
    parser.add_argument("--json", metavar="FILE", help="write the results as JSON; - is standard output")
    return parser


def _run(words: Mapping[str, str], cases: Mapping[str, Case]) -> tuple[int, str, str, list[CaseResult]]:
    """Build, and run the tests; return the build's exit code, the names of domain and host, and the results."""
    from unibuild.doit_plugin.loader import Main
    from unibuild.doit_plugin.usage import GoalOptions
    from unibuild.graph import xl_file
    from unibuild.graph.graph import graph
    from unibuild.testing import runner, scratch_domain

    settings = [f"{key}={value}" for key, value in words.items() if key != "host"]
    code = int(Main(GoalOptions(host=words["host"])).run(["xl", *settings]))
    if code:
        return code, "", "", []
    found = graph(load(Path.cwd(), words))
    host = scratch_domain.open_host(found.project.settings)
    name = xl_file.domain_name(found.project, found.start)
    print(f"test: {name} on {host.name}", flush=True)
    return 0, name, host.name, runner.run(found, host, scratch_domain.fresh_name(name), cases, _print_result)


def _print_result(result: CaseResult) -> None:
    word = {"passed": "ok"}.get(result.outcome, result.outcome)
    why = f": {result.message}" if result.message else ""
    print(f"  {word:<7} {result.name}, {result.seconds:.1f} s{why}")
    for line in result.details:
        print(_printable(f"          {line}"))
    if result.outcome == "failed":
        print(f"          the whole console: {result.log}")
    sys.stdout.flush()


def _printable(line: str) -> str:
    """Return a line of a domain's output, with unprintable characters replaced to protect the terminal."""
    return "".join(char if char.isprintable() or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line)


def _write_reports(asked: argparse.Namespace, out: int, name: str, host: str, results: list[CaseResult]) -> None:
    from unibuild.testing import results as junit

    if asked.junit:
        files.write_atomic(asked.junit.absolute(), junit.junit_xml(name, results), mode=files.PUBLIC)
    if asked.json == "-":
        sys.stdout.flush()
        with os.fdopen(out, "w", closefd=False) as file:
            file.write(junit.results_json(name, host, results))
    elif asked.json:
        files.write_atomic(
            Path(asked.json).absolute(), junit.results_json(name, host, results).encode(), mode=files.PUBLIC
        )
    passed = sum(result.outcome == "passed" for result in results)
    print(f"test: {passed} of {len(results)} passed")


@contextlib.contextmanager
def _stdout_for_json(*, is_wanted: bool) -> Iterator[int]:
    """If JSON goes to standard output, redirect all other output, also that of children, to standard error."""
    if not is_wanted:
        yield 1
        return
    sys.stdout.flush()
    out = os.dup(1)
    os.dup2(2, 1)
    try:
        yield out
    finally:
        sys.stdout.flush()
        os.dup2(out, 1)
        os.close(out)
