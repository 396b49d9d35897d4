"""A toolstack in memory: the smallest one that passes the contract and boots a project."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from pathlib import Path

from unibuild.errors import DomainError, UnibuildError
from unibuild.host.toolstack import Console, Diagnostic, Domain, Listing, RootProgram, Store, Toolstack
from unibuild.xlcfg import parser

REASONS = {"poweroff": 0, "reboot": 1, "crash": 3}


class Guest:
    """A domain, and its output that no console has taken yet."""

    def __init__(self, domain: Domain, script: list[str]) -> None:
        self.domain = domain
        self.script = script
        self.output = b""
        self.console: ToyConsole | None = None
        self.last_words = ""


class World:
    """What a host would hold; all toolstacks of a process see the same."""

    def __init__(self) -> None:
        self.guests: dict[str, Guest] = {}
        self.store: dict[str, str] = {}
        self.numbers = itertools.count(1)
        self.consoles: list[ToyConsole] = []

    def say(self, guest: Guest, text: str) -> None:
        guest.output += text.encode() + b"\r\n"
        if guest.console:
            guest.console.flush()

    def end(self, guest: Guest, how: str) -> None:
        guest.domain = dataclasses.replace(guest.domain, has_ended=True, reason=REASONS[how])
        for console in self.consoles:
            os.write(console.bell, b"!")

    def run(self, guest: Guest) -> None:
        part = f"/local/domain/{guest.domain.domid}"
        for line in guest.script:
            word, _, rest = line.partition(" ")
            if word == "say":
                self.say(guest, rest)
            elif word == "store":
                key, _, value = rest.partition(" ")
                self.store[f"{part}/{key}"] = value
            elif word == "obey":
                self.store[f"{part}/control/feature-poweroff"] = "1"
                guest.last_words = rest
            elif word in REASONS:
                self.end(guest, word)


WORLD = World()


class ToyStore(Store):
    def read(self, path, *, timeout=None):
        return WORLD.store.get(path)

    def write(self, path, value):
        WORLD.store[path] = value

    def remove(self, path):
        for key in [key for key in WORLD.store if key == path or key.startswith(f"{path}/")]:
            del WORLD.store[key]

    def list(self, path):
        return Listing(time.time(), {key: value for key, value in WORLD.store.items() if key.startswith(f"{path}/")})

    def write_lease(self, path, before, seconds, after, *, root):
        self.write(path, f"{before} {time.time() + seconds:.0f} {after}")
        return self.list(root)


class ToyConsole(Console):
    def __init__(self, guest: Guest, on_close) -> None:
        self.guest, self.on_close = guest, on_close
        self._fd, self.into = os.pipe()
        self._watch_fd, self.bell = os.pipe()
        guest.console = self
        WORLD.consoles.append(self)
        self.flush()

    @property
    def fd(self):
        return self._fd

    @property
    def watch_fd(self):
        return self._watch_fd

    def flush(self):
        os.write(self.into, self.guest.output)
        self.guest.output = b""

    def read(self):
        return os.read(self._fd, 65536), True

    def read_watch(self):
        return bool(os.read(self._watch_fd, 65536)), True

    def send(self, data):
        pass

    def stop(self):
        self.guest.console = None

    def check(self):
        pass

    @property
    def is_refused(self):
        return False

    def readers(self):
        return ()

    def end_reader(self, reader):
        pass

    def close(self):
        if self in WORLD.consoles:
            self.on_close(self)
            self.stop()
            WORLD.consoles.remove(self)
            for fd in (self._fd, self.into, self._watch_fd, self.bell):
                os.close(fd)


class ToyToolstack(Toolstack):
    name = "toy"
    programs = {"toy": "toy-utils"}  # noqa: RUF012
    root_programs = {"toy": RootProgram(arguments=(" destroy *",))}  # noqa: RUF012

    def __init__(self, host) -> None:
        self.host = host
        self.store = ToyStore()

    def list_domains(self, *, background=False):
        dom0 = Domain("Domain-0", 0, 256, 1, 1.0, "00000000-0000-0000-0000-000000000000")
        return (dom0, *(guest.domain for guest in WORLD.guests.values()))

    def create_paused(self, config, *, name, uuid):
        if self.find(name=name):
            raise DomainError(f"a domain called {name} exists")
        parsed = parser.parse(Path(config).read_text(), config)
        lines = Path(str(parsed.get("kernel"))).read_bytes().splitlines()
        script = [line.decode() for line in lines[1:]] if lines[0] == b"#!kernel" else ["say it is a toy", "poweroff"]
        domain = Domain(name, next(WORLD.numbers), int(str(parsed.get("memory") or 32)), 1, 0.0, uuid, is_paused=True)
        WORLD.guests[uuid] = Guest(domain, script)

    def unpause(self, domain):
        guest = WORLD.guests[domain.uuid]
        guest.domain = dataclasses.replace(guest.domain, is_paused=False)
        WORLD.run(guest)

    def rename(self, domain, name):
        if self.find(name=name):
            raise DomainError(f"a domain called {name} exists")
        guest = WORLD.guests[domain.uuid]
        guest.domain = dataclasses.replace(guest.domain, name=name)

    def request_shutdown(self, domain):
        self.shut_down(domain, 0.0)

    def shut_down(self, domain, timeout):
        guest = WORLD.guests[domain.uuid]
        if self.store.read(f"/local/domain/{domain.domid}/control/feature-poweroff") != "1":
            return False
        if guest.last_words:
            WORLD.say(guest, guest.last_words)
        WORLD.end(guest, "poweroff")
        return True

    def destroy(self, domain):
        if domain.domid == 0:
            raise DomainError("it is the control domain")
        if WORLD.guests.pop(domain.uuid, None):
            self.store.remove(f"/local/domain/{domain.domid}")

    def destroy_hint(self, domain):
        return f"toy destroy {domain.name}"

    def open_console(self, domain, *, kind=None, on_close):
        return ToyConsole(WORLD.guests[domain.uuid], on_close)

    def info(self, *, background=False):
        return {"xen_caps": "xen-3.0-x86_64 hvm-3.0-x86_64", "total_memory": "1024", "free_memory": "512"}

    def free_memory(self, info, domains):
        return int(info["free_memory"])

    def list_devices(self):
        return ()

    def assignable_pci(self):
        return ()

    def hypervisor_log(self):
        return "nothing happened\n"

    def diagnostics(self):
        return (Diagnostic("toy log", lambda timeout: self.hypervisor_log(), is_log=True),)

    def registers(self, domid, remaining):
        raise UnibuildError("a toy has no registers")

    def put(self, path, *, folder="", own=None):
        return str(path.absolute())

    def discard(self, folder, keep=()):
        return ()
