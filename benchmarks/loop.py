"""From a save to the first line of the new kernel: by hand, with `unibuild boot` and with `unibuild watch`.

Run: python benchmarks/loop.py [--quick | [--lab] [ROUNDS]]

"By hand" is make, a copy, `xl destroy` and `xl create -c`, each over one kept ssh connection. The three take turns with
the same edits, so that a busy machine slows them alike: read the ratios rather than the seconds. "exchanges" is the
number of commands on the host that have ended before that line; the commands that read consoles do not count.

The host is the stand-in for Xen behind a real OpenSSH server on this machine, through a ProxyCommand that delays both
directions: 0, 20 and 100 ms there and back. The stand-in's xl is a Python program, which is slower than the real one.
With --lab the host is the lab VM instead, without a delay.

Kernels: examples/hello as a PV kernel, and as a PVH kernel with 5 MB of data.

With --quick: one round of the small kernel without a delay.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import queue
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

HERE = Path(__file__).parent.parent
sys.path.insert(0, str(HERE / "tests" / "host"))

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

UNIBUILD = str(Path(sys.executable).with_name("unibuild"))
TIMEOUT = 120.0
MEGABYTES = 5
NO_TERMINALS = "sshd cannot give terminals to an ordinary user of this machine: run as root"
DELAYS = (0, 20, 100)  # milliseconds there and back
KERNELS = {"hello": "hello-pv.xen", "5 MB": "hello-pvh.xen"}


def relay(port: int, milliseconds: float) -> None:
    """Connect standard input and output to a port of this machine, each way late by half of the milliseconds."""
    import socket

    with socket.create_connection(("127.0.0.1", port)) as server:
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def pump(source: int, target: int) -> None:
            late: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()

            def deliver() -> None:
                while True:
                    due, data = late.get()
                    time.sleep(max(0.0, due - time.monotonic()))
                    if not data:
                        os._exit(0)
                    rest = memoryview(data)
                    while rest:
                        rest = rest[os.write(target, rest) :]

            threading.Thread(target=deliver).start()
            with contextlib.suppress(OSError):
                while data := os.read(source, 65536):
                    late.put((time.monotonic() + milliseconds / 2000, data))
            late.put((time.monotonic() + milliseconds / 2000, b""))

        threading.Thread(target=pump, args=(0, server.fileno())).start()
        pump(server.fileno(), 1)
        threading.Event().wait()


@dataclass(frozen=True)
class Target:
    """A host for domains.

    Attributes:
        name: for the table.
        env: for unibuild and ssh.
        host: the settings of unibuild, as words of its command line.
        ssh: the ssh command that reaches it.
        script: the file with what the stand-in's domains do; None: they are real.
    """

    name: str
    env: Mapping[str, str]
    host: tuple[str, ...]
    ssh: tuple[str, ...]
    script: Path | None


class Program:
    """A running program; its lines are read as they come."""

    def __init__(self, argv: list[str], cwd: Path, env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._news = threading.Condition()
        self.process = subprocess.Popen(
            argv, cwd=cwd, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.decode(errors="replace").strip())
                self._news.notify_all()

    def wait_for(self, text: str, since: int = 0) -> float:
        """Wait for a line with a text after the first ``since`` lines; return the time (``time.monotonic``)."""
        deadline = time.monotonic() + TIMEOUT
        with self._news:
            while not any(text in line for line in self.lines[since:]):
                if not self._news.wait(0.5) and (time.monotonic() > deadline or self.process.poll() is not None):
                    raise SystemExit(f"no line with {text!r} from {self.process.args}:\n" + "\n".join(self.lines[-40:]))
            return time.monotonic()

    def exchanges(self, text: str, since: int = 0) -> int:
        """Return how many commands had ended on the host before a line with a text; ``--debug`` prints each."""
        before = itertools.takewhile(lambda line: text not in line, self.lines[since:])
        return sum(1 for line in before if re.search(r'(?:^|"message":")\d+ ms on ', line))

    def wait(self) -> None:
        """Wait for its end."""
        self.process.wait()
        self._reader.join()

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._reader.join()


class Way(ABC):
    """A way from a save to the first line, with a tree of its own."""

    def __init__(self, root: Path, kernel: str, target: Target) -> None:
        self.root, self.kernel, self.target = root, kernel, target
        self.exchanges: list[int] = []
        shutil.copytree(
            HERE / "examples" / "hello", root, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild", "dodo.py")
        )
        self.name = f"{root.name}-{os.getpid()}"
        self.source = (root / "main.c").read_text()
        if "pvh" in kernel:
            self.source += f'\n__asm__(".section .rodata\\n.fill {MEGABYTES << 18}, 4, 0x12345678\\n.previous");\n'
        settings = f'name = "{self.name}"\n[build]\nkernel = "{kernel}"\n[xl]\nmemory = 32\n[boot]\nconsole = "print"\n'
        (root / "unibuild.toml").write_text(settings)
        self.edit(0)
        self.run("make", "-s", kernel)

    def run(self, *argv: str, stdin: Path | None = None) -> None:
        with (stdin or Path(os.devnull)).open("rb") as file:
            done = subprocess.run(
                argv, cwd=self.root, env=self.target.env, stdin=file, capture_output=True, text=True, check=False
            )
        if done.returncode:
            raise SystemExit(f"{shlex.join(argv)}: {done.stdout}{done.stderr}")

    def edit(self, number: int) -> str:
        """Save the source; return the first line of the kernel made from it."""
        line = f"{self.name} edit {number}"
        if self.target.script:
            self.target.script.write_text(f"say {line}\nobey bye\n")
        text = self.source.replace("{\n    char name[64];", f'{{\n    char name[64];\n    print("{line}\\n");')
        (self.root / "main.c").write_text(text)
        return line

    @abstractmethod
    def start(self) -> None:
        """Boot the first kernel."""

    @abstractmethod
    def save(self, number: int) -> float:
        """Save; return the seconds to the first line."""

    @abstractmethod
    def close(self) -> None:
        """Remove the domain."""


class ByHand(Way):
    """make, copy, xl destroy and xl create -c."""

    seen: Program | None = None

    def start(self) -> None:
        text = f'name = "{self.name}"\nkernel = "/tmp/{self.name}.xen"\nmemory = 32\n'
        text += 'type = "pvh"\n' if "pvh" in self.kernel else ""
        (self.root / "by-hand.xl").write_text(text)
        self.run(*self.target.ssh, f"cat > /tmp/{self.name}.xl", stdin=self.root / "by-hand.xl")
        self.save(1)

    def save(self, number: int) -> float:
        line = self.edit(number)
        began = time.monotonic()
        self.run("make", "-s", self.kernel)
        return self._boot(line) - began

    def _boot(self, line: str) -> float:
        self.run(*self.target.ssh, f"cat > /tmp/{self.name}.xen", stdin=self.root / self.kernel)
        if self.seen:
            self.run(*self.target.ssh, f"xl destroy {self.name}")
            self.seen.end()
        create = f"xl create /tmp/{self.name}.xl && xl console {self.name}"  # the stand-in's create lacks -c
        command = create if self.target.script else f"xl create -c /tmp/{self.name}.xl"
        self.seen = Program([*self.target.ssh, command], self.root, self.target.env)
        self.exchanges.append(3)
        return self.seen.wait_for(line)

    def close(self) -> None:
        self.run(*self.target.ssh, f"xl destroy {self.name}; rm -f /tmp/{self.name}.xl /tmp/{self.name}.xen")
        if self.seen:
            self.seen.end()


class Boot(Way):
    """`unibuild boot`."""

    def start(self) -> None:
        self.save(1)
        self.exchanges.clear()

    def save(self, number: int) -> float:
        line = self.edit(number)
        began = time.monotonic()
        seen = Program([UNIBUILD, "--debug", "boot", "boot.wait=0.5", *self.target.host], self.root, self.target.env)
        took = seen.wait_for(line) - began
        seen.wait()
        self.exchanges.append(seen.exchanges(line))
        return took

    def close(self) -> None:
        self.run(UNIBUILD, "destroy", *self.target.host)


class Watch(Way):
    """`unibuild watch`."""

    def start(self) -> None:
        line = self.edit(1)
        self.seen = Program([UNIBUILD, "--debug", "watch", "--json", *self.target.host], self.root, self.target.env)
        self.seen.wait_for(line)
        self.seen.wait_for('"event":"cycle"')

    def save(self, number: int) -> float:
        since = len(self.seen.lines)
        line = self.edit(number)
        began = time.monotonic()
        took = self.seen.wait_for(line, since) - began
        self.seen.wait_for('"event":"cycle"', since)
        self.exchanges.append(self.seen.exchanges(line, since))
        return took

    def close(self) -> None:
        self.seen.end()
        self.run(UNIBUILD, "destroy", *self.target.host)


WAYS = {"by hand": ByHand, "boot": Boot, "watch": Watch}


def measure(folder: Path, target: Target, kernel: str, rounds: int) -> None:
    """Print a table of the ways to the first line of a kernel on a host."""
    with contextlib.ExitStack() as stack:
        ways: dict[str, Way] = {}
        for name, way in WAYS.items():
            ways[name] = way(folder / name.replace(" ", "-"), KERNELS[kernel], target)
            stack.callback(ways[name].close)
            ways[name].start()
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for number in range(2, rounds + 2):
            for name, way in ways.items():
                seconds[name].append(way.save(number))
    unit = statistics.median(seconds["by hand"])
    for name, took in seconds.items():
        median, many = statistics.median(took), max(ways[name].exchanges)
        print(
            f"{target.name:12} {kernel:6} {name:8} {median:7.2f} s {min(took):7.2f} {max(took):7.2f} "
            f"{median / unit:7.2f} {many:6}",
            flush=True,
        )


@contextlib.contextmanager
def standin(folder: Path, delays: tuple[int, ...]) -> Iterator[tuple[Target, ...]]:
    """Yield the stand-in behind links with these delays in milliseconds."""
    from sshd import Server

    if not shutil.which("/usr/sbin/sshd"):
        raise SystemExit("not installed: openssh-server")
    with Server(shells=["sh"]) as server:
        if not server.has_ttys:
            raise SystemExit(NO_TERMINALS)
        found = []
        for delay in delays:
            there = folder / f"client-{delay}"
            there.mkdir()
            argv = [sys.executable, "-S", str(Path(__file__).absolute()), "--relay", str(server.ports[0]), str(delay)]
            lines = [f"ProxyCommand {shlex.join(argv)}"] if delay else []
            (there / "config").write_text(server.configuration("sh", *lines))
            ssh = there / "ssh"
            ssh.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {there}/config "$@"\n')
            ssh.chmod(0o755)
            env = {
                **{key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"},
                "PATH": f"{there}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "XDG_CACHE_HOME": str(there / "cache"),
            }
            shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={there}/s", "-o", "ControlPersist=60")
            words = ("host=xen1", "hosts.xen1.address=ssh://xen1", "hosts.xen1.sudo=never")
            script = server.world / "script"
            found.append(Target(f"ssh {delay:3} ms", env, words, (str(ssh), *shared, "xen1"), script))
        yield tuple(found)
        for target in found:
            subprocess.run([*target.ssh[:-1], "-O", "exit", "xen1"], check=False, capture_output=True)


@contextlib.contextmanager
def lab(folder: Path) -> Iterator[tuple[Target, ...]]:
    """Yield the lab VM."""
    from unibuild.lab import vm
    from unibuild.settings.model import Lab

    os.environ["XDG_CACHE_HOME"] = cache = os.environ.get("LAB_BENCH_CACHE", f"{folder}/cache")
    Path(cache).mkdir(parents=True, exist_ok=True)
    there = vm.up(Lab(), lambda *_: None)
    shared = ("-o", "ControlMaster=auto", "-o", f"ControlPath={folder}/s", "-o", "ControlPersist=60")
    try:
        yield (
            Target("lab", os.environ, ("host=lab",), ("ssh", "-F", str(there.ssh_config), *shared, there.alias), None),
        )
    finally:
        if "LAB_BENCH_CACHE" not in os.environ:
            vm.down()


def main() -> None:
    quick = "--quick" in sys.argv
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    rounds = 1 if quick else (numbers or [6])[0]
    kernels = ["hello"] if quick else list(KERNELS)
    with tempfile.TemporaryDirectory(prefix="unibuild-loop-", dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        hosts = lab(folder) if "--lab" in sys.argv else standin(folder, DELAYS[:1] if quick else DELAYS)
        with hosts as targets:
            print(f"{'host':12} {'kernel':6} {'way':8} {'median':>9} {'least':>7} {'most':>7} {'ratio':>7} exchanges")
            for target in targets:
                for kernel in kernels:
                    place = folder / f"{target.name.replace(' ', '')}-{kernels.index(kernel)}"
                    place.mkdir()
                    measure(place, target, kernel, rounds)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--relay"]:
        relay(int(sys.argv[2]), float(sys.argv[3]))
    else:
        main()
