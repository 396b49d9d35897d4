"""Booting: a domain is made from what was built, its console read, and the older one of ours replaced."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from typing import TYPE_CHECKING

from unibuild import files
from unibuild.domain import record, terminal, xl
from unibuild.domain.console import End, Left, Reader
from unibuild.domain.log import Log, log_path, rotate
from unibuild.errors import DomainError, InputError, UnibuildError
from unibuild.settings.sources import state_dir
from unibuild.tasks import arguments, deploy, hosts
from unibuild.tasks.current import is_current, mark, running
from unibuild.tasks.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from unibuild.host.base import Host
    from unibuild.settings.sources import Project

__all__ = ["boot", "console", "destroy", "is_current"]

_CODES = {  # Mirage's functoria_runtime.ml
    63: "63 is how MirageOS ends after --help",
    64: "64 means that MirageOS did not understand an argument: see [boot] args",
}
_DOWN = "the lab is down"


def boot(project: Project, xl_file: Path, kernel: Path) -> None:
    """Make the domain and follow its console as ``[boot]`` says; where it runs unchanged, say so.

    The kernel, the ``.xl`` and the disks are on the host, and the host was looked at, before an older domain of ours
    is ended.

    Args:
        project: the project.
        xl_file: the ``.xl`` of the domain, as ``xlfile.render`` made it.
        kernel: the kernel that it names.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: the domain could not be made; a foreign one has its name; or it ended badly.
        SettingsError: the unikernel does not know an argument.
        FileError: a file cannot be read.
    """
    screen, attached = _screen(project)
    state = state_dir(project.root)
    host = hosts.open_host(project.settings)
    with contextlib.ExitStack() as reading:
        with files.lock(state / "domain.lock", f"the domain of {project.root}"):
            old = record.load(state, host.name)
            new = record.Record(host.name, "", str(uuid.uuid4()), mark(kernel), mark(xl_file))
            if old and old.kernel.sha256 == new.kernel.sha256 and old.xl.sha256 == new.xl.sha256:
                domain = running(host, old)
                if domain:
                    record.save(state, dataclasses.replace(old, kernel=new.kernel, xl=new.xl))
                    screen.say(f"{domain.name} runs on {host.name} already, unchanged (domain {domain.domid})")
                    return
            arguments.check(project, host, xl_file, kernel)
            deployed = deploy.bring(host, xl_file, project.root, state)
            before = _look(host, deployed, old)
            asked = deployed.config.get("uuid")
            made = dataclasses.replace(new, name=deployed.name, uuid=asked if isinstance(asked, str) else new.uuid)
            with _owning_up(screen, host, before):
                if before:
                    xl.destroy(host, before)
                record.save(state, made)  # first: it is ours even if we are killed before xl comes back
                if old and old.name != made.name:
                    host.discard(deploy.folder(project.root, old.name))
                domain, reader = _start(project, host, deployed, made, screen, reading)
        if reader:
            _follow(project, host, domain, reader, screen, attached)
        else:
            screen.say(_runs(host, domain))


def console(project: Project) -> None:
    """Follow the console of the domain that we made last, as ``[boot]`` says.

    One that has ended meanwhile still tells its last lines.

    Raises:
        HostError: the host cannot be reached, or refused.
        DomainError: there is none; its console is being read already; or it ended badly.
    """
    screen, attached = _screen(project)
    state = state_dir(project.root)
    place = hosts.place(project.settings)
    made = record.load(state, place)
    host = hosts.open_running(project.settings, any_lab=True) if made else None
    domain = xl.find(host, uuid=made.uuid) if host and made else None
    if host is None or domain is None:
        down = f": {_DOWN}" if made and not host else ""
        raise DomainError(f"no domain of this project is on {place}{down}", hint="`unibuild boot` makes one")
    reader = Reader(host, domain, Log(log_path(state, domain.name)), screen.show)
    _follow(project, host, domain, reader, screen, attached)


def destroy(project: Project) -> None:
    """End the domain that we made last, at once; where there is none, say so.

    Raises:
        HostError: the host cannot be reached, or refused.
    """
    screen = Screen(raw=False)
    state = state_dir(project.root)
    place = hosts.place(project.settings)
    made = record.load(state, place)
    if made is None:
        screen.say(f"no domain of this project is on {place}")
        return
    host = hosts.open_running(project.settings, any_lab=True)
    domain: xl.Domain | None = None
    disks: tuple[str, ...] = ()
    with files.lock(state / "domain.lock", f"the domain of {project.root}"):
        if host:
            domain = xl.find(host, uuid=made.uuid)
            if domain:
                xl.destroy(host, domain)
            disks = host.discard(deploy.folder(project.root, made.name))
        record.forget(state, place)
    if domain:
        screen.say(f"{made.name} is gone from {place}")
    else:
        screen.say(f"{made.name} was not on {place} any more" + ("" if host else f": {_DOWN}"))
    for disk in disks:
        screen.say(f"what it wrote stays on {place} for the next boot: {disk}")


def _look(host: Host, deployed: deploy.Deployed, old: record.Record | None) -> xl.Domain | None:
    """See that the host can take the domain; return our older one, which has to go first.

    Raises:
        DomainError: the host cannot take it.
    """
    domains = xl.domains(host)
    before = deploy.check_name(host, deployed.name, old.uuid if old else None, domains)
    deploy.check_bridges(host, deployed.config)
    deploy.check_disks(host, deployed)
    deploy.check_memory(host, deployed.config, domains, before)
    return before


@contextlib.contextmanager
def _owning_up(screen: Screen, host: Host, before: xl.Domain | None) -> Iterator[None]:
    """Where the block fails and our older domain, which ran, does not run any more, say so."""
    try:
        yield
    except BaseException as error:
        if before is None or before.has_ended or before.is_paused or _is_there(host, before.uuid):
            raise
        sentence = f"the older {before.name} was ended, and none runs on {host.name} now"
        if isinstance(error, UnibuildError):
            error.hint = "\n".join(filter(None, (error.hint, sentence)))
        else:
            screen.say(sentence)
        raise


def _is_there(host: Host, asked: str) -> bool:
    try:
        return xl.find(host, uuid=asked, background=True) is not None
    except UnibuildError:
        return False


def _start(
    project: Project,
    host: Host,
    deployed: deploy.Deployed,
    made: record.Record,
    screen: Screen,
    reading: contextlib.ExitStack,
) -> tuple[xl.Domain, Reader | None]:
    """Make the domain, read its console, and let it run; where anything fails it is removed."""
    reader = None
    with contextlib.ExitStack() as undo:
        undo.callback(_remove, host, made.uuid)
        xl.create_paused(host, deployed.xl, name=made.name, uuid=made.uuid)
        domain = xl.find(host, uuid=made.uuid)
        if domain is None:
            raise DomainError(f"{made.name} was gone from {host.name} as soon as it was made")
        host.discard(deploy.folder(project.root, made.name), deployed.files)
        if project.settings.boot.console != "none":
            path = log_path(state_dir(project.root), domain.name)
            rotate(path)
            reader = reading.enter_context(Reader(host, domain, Log(path), screen.show))
        xl.unpause(host, domain)
        undo.pop_all()
    return domain, reader


def _remove(host: Host, asked: str) -> None:
    domain = xl.find(host, uuid=asked, background=True)
    if domain:
        xl.destroy(host, domain)


def _follow(project: Project, host: Host, domain: xl.Domain, reader: Reader, screen: Screen, attached: bool) -> None:
    """Read the console until its end or ours, and tell how it ended."""
    runs_on = _runs(host, domain)
    try:
        with reader:
            if attached:
                screen.say(f"this is the console of {domain.name} on {host.name}; Ctrl-] leaves it")
                with terminal.Keyboard() as keys:
                    outcome = reader.follow(keys)
            else:
                outcome = reader.follow(wait=project.settings.boot.wait)
    except (KeyboardInterrupt, BrokenPipeError):
        screen.say(runs_on)
        raise
    if reader.log.failure:
        screen.say(f"the console's log is not whole: {reader.log.failure}")
    if isinstance(outcome, Left):
        screen.say(runs_on)
        return
    xl.destroy(host, domain)
    _tell_end(domain.name, outcome, screen, reader.log.path)


def _runs(host: Host, domain: xl.Domain) -> str:
    return f"{domain.name} runs as domain {domain.domid} of {host.name}; `unibuild console` shows its console"


def _tell_end(name: str, end: End, screen: Screen, log: Path) -> None:
    """Say how the domain ended.

    Raises:
        DomainError: it ended badly.
    """
    how = f"{name} {end.why}" + ("" if end.code is None else f" with exit code {end.code}")
    if end.is_good:
        screen.say(how)
        return
    more = _CODES.get(end.code or 0)
    raise DomainError(how, hint=(f"{more}\n" if more else "") + f"what it said: {log}")


def _screen(project: Project) -> tuple[Screen, bool]:
    """Return the screen, and whether the keyboard goes to the console."""
    asked = project.settings.boot.console
    if asked == "attach" and not terminal.is_ours():
        raise InputError(
            'boot.console = "attach" wants a terminal, and there is none here',
            hint='"print" shows the lines without one',
        )
    attached = asked == "attach" or (asked == "auto" and terminal.is_ours())
    return Screen(raw=attached), attached
