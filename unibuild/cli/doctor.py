"""The command `unibuild doctor`: check this machine and the hosts, and suggest fixes."""

from __future__ import annotations

import argparse
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.cli import doctor_checks
from unibuild.cli.doctor_checks import Finding
from unibuild.errors import HostError, MissingError, UnibuildError
from unibuild.host import resolve
from unibuild.settings.hosts import ALL, at
from unibuild.settings.loader import Project, load
from unibuild.settings.model import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["VERSION", "main"]

VERSION = 2
"""The version of the object that ``--json`` prints; it changes when a field is removed or changes its meaning."""

Section = tuple[str, list[Finding]]


def main(argv: list[str]) -> int:
    """Run ``unibuild doctor`` with these arguments; return its exit status.

    Raises:
        SettingsError: a setting on the command line is wrong, or the host does not exist.
    """
    parser = argparse.ArgumentParser(
        prog="unibuild doctor", description="Check this machine and the hosts, and suggest fixes. Nothing is changed."
    )
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings for this run")
    parser.add_argument(
        "--host", metavar="NAME", help="the host to check, or `all` named hosts; default: the one in the settings"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_intermixed_args(argv)
    words = dict(word.partition("=")[::2] for word in asked.settings)
    if asked.host:
        words["host"] = asked.host
    found = list(_sections(words))
    code = _code(found)
    if asked.json:
        sections = [{"name": name, "findings": [asdict(one) for one in findings]} for name, findings in found]
        print(json.dumps({"version": VERSION, "exit_code": code, "sections": sections}, indent=2))
    else:
        print("\n".join(_lines(found)))
    return code


def _sections(words: dict[str, str]) -> Iterator[Section]:
    """Yield the checks by section, in the order in which they are printed."""
    project, problem = _project(words)
    settings = project.settings
    names = _hosts(settings, problem)
    places = [at(project, name).settings for name in names]
    addresses = [resolve.address(one) for one in places]
    checked, needed = ([problem] if problem else [], set[str]())
    if project.file and not problem:
        checked, needed = doctor_checks.project(project)
    if any(address != "local" for address in addresses):
        needed |= {"ssh"}
    if "lab" in addresses:
        needed |= {"qemu-system-x86_64"}
    yield f"this machine: {doctor_checks.system()}", doctor_checks.machine(needed)
    if checked:
        yield f"project {project.root}", checked
    yield "lab", doctor_checks.lab(settings.lab, project.root, is_needed="lab" in addresses)
    with ThreadPoolExecutor(max_workers=max(len(places), 1)) as pool:
        for name, place, findings in zip(names, addresses, pool.map(doctor_checks.look, places), strict=True):
            yield f"host {name}" + (f" ({place})" if place != name else ""), findings


def _project(words: dict[str, str]) -> tuple[Project, Finding | None]:
    """Return the project, or one with default settings and the error in the project's own settings.

    Raises:
        SettingsError: the error is on the command line.
    """
    try:
        return load(Path.cwd(), words, required=False), None
    except UnibuildError as error:
        problem = doctor_checks.finding_from_error("settings", error)
        if _is_loadable():
            raise
    return Project(Path.cwd(), None, Settings(host=words.get("host", "auto"))), problem


def _is_loadable() -> bool:
    """Return whether the settings are valid without those of the command line."""
    with contextlib.suppress(UnibuildError):
        load(Path.cwd(), required=False)
        return True
    return False


def _hosts(settings: Settings, problem: Finding | None) -> tuple[str, ...]:
    """Return the names of the hosts to check; there may be none if the settings cannot be read.

    Raises:
        InputError: the host does not exist.
    """
    try:
        return resolve.all_names(settings) if settings.host == ALL else (resolve.host_name(settings),)
    except UnibuildError:
        if problem is None:
            raise
        return ()


def _code(found: Sequence[Section]) -> int:
    states = {one.state for _, findings in found for one in findings}
    if "silent" in states:
        return HostError.exit_code
    return MissingError.exit_code if "missing" in states else 0


def _lines(found: Sequence[Section]) -> Iterator[str]:
    width = max(len(one.what) for _, findings in found for one in findings)
    for name, findings in found:
        yield name
        for one in findings:
            yield f"  {'no answer' if one.state == 'silent' else one.state:<9}  {one.what:<{width}}  {one.text}"
            for line in (one.fix or "").splitlines():
                yield f"  {'':<9}  {'':<{width}}    {line}"
