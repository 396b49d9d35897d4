"""A project that make builds, with what lies around it, and the same project built from nothing in a copy."""

from __future__ import annotations

import contextlib
import fnmatch
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

SERVER = Path(__file__).with_name("server.py")
REAL_MAKE = shutil.which("make") or "/usr/bin/make"
TIMEOUT = 60.0  # seconds
NAME = "hello"

MAKE = """\
#!/bin/sh
# Notes each call, one a line.
echo "$PWD: $*" >> "{top}/calls"
exec {make} "$@"
"""
SEE = """\
#!/bin/sh
# Prints files as a compiler reads them: first all input, then the output. FAIL in one of them is an error.
# Where the test left a file `pause.WHEN` it waits at this point until the test removes `paused`.
at() {{
  if mv "{top}/pause.$1" "{top}/paused" 2> /dev/null; then
    while [ -e "{top}/paused" ]; do sleep 0.01; done
  fi
}}
at before
if grep -qs FAIL "$@"; then echo "see: $*: FAIL" >&2; exit 1; fi
cat "$@" > "{top}/read.$$" || exit 1
at between
cat "{top}/read.$$"
rm "{top}/read.$$"
at after
"""
COMPILER = """\
#!/bin/sh
# A compiler that puts its own version into what it makes.
echo "TOKEN"
cat "$@"
"""


def stub() -> bytes:
    """Return the smallest ELF file that Xen would take for a PVH kernel: a header, a segment and Xen's note."""
    import struct

    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", 0x100000)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 2, 64, 0, 0)
    end = 64 + 2 * 56
    load = struct.pack("<IIQQQQQQ", 1, 5, 0, 0x100000, 0x100000, end + len(note), 4096, 4096)
    notes = struct.pack("<IIQQQQQQ", 4, 4, end, 0x100000 + end, 0x100000 + end, len(note), len(note), 4)
    return header + load + notes + note


class BrokenRuleError(AssertionError):
    """unibuild did what it never must; what, and its output."""


class Server:
    """Runs unibuild in forks of one process; see server.py. ``front`` is the program that starts that one."""

    def __init__(self, folder: Path, front: Sequence[str] = (), **environment: str) -> None:
        self.folder = folder
        self.environment = environment
        self.process = subprocess.Popen(
            [*front, sys.executable, str(SERVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that select sees whether there is a line to read
            env={**os.environ, **environment},
        )

    def start(self, folder: Path, words: tuple[str, ...], environment: dict[str, str]) -> Running:
        request = {
            "folder": str(folder),
            "words": words,
            "environment": environment | self.environment,
            "output": str(self.folder / "output"),
            "modules": str(self.folder / "modules"),
        }
        self.process.stdin.write(f"{json.dumps(request)}\n".encode())
        return Running(self, int(self.process.stdout.readline()))

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait(TIMEOUT)
        self.process.stdout.close()


class Running(NamedTuple):
    """A unibuild that runs."""

    server: Server
    pid: int

    def has_ended(self) -> bool:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def kill_all(self) -> None:
        """Kill it with all that it started; the server made it lead a session."""
        for pid in [pid for pid in _processes() if _session(pid) == self.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def wait(self) -> tuple[int, str]:
        """Return its exit code and its output.

        Raises:
            BrokenRuleError: it does not end.
        """
        ready, _, _ = select.select([self.server.process.stdout], [], [], TIMEOUT)
        if not ready:
            self.kill_all()
        code = int(self.server.process.stdout.readline())
        output = (self.server.folder / "output").read_text(errors="replace")
        if not ready:
            raise BrokenRuleError("unibuild did not end", output)
        return code, output


class Ran(NamedTuple):
    """What a run of unibuild did.

    Attributes:
        code: its exit code.
        output: what it printed.
        built: how often it called make to build.
        asked: how often it called make to ask (`make -q`).
        wrote_xl: whether it wrote the domain's .xl again.
        changed_xl: whether the .xl says something else, apart from where the project is; then a domain is booted.
    """

    code: int
    output: str
    built: int
    asked: int
    wrote_xl: bool
    changed_xl: bool


class World:
    """A project in ``top/w/hello``, what it shares with others in ``top/w``, and tools of its own in ``top/bin``.

    ``make`` is a wrapper that counts calls; ``see`` is the compiler of most rules. Outputs are what ``outputs``
    names, in patterns relative to ``top/w/hello``: a fresh build starts without them.
    """

    def __init__(self, top: Path, server: Server) -> None:
        self.top = top
        self.server = server
        self.around = top / "w"
        self.root = self.around / NAME
        self.bin = top / "bin"
        self.outputs = ["*.part", f"{NAME}.xen", ".unibuild", "calls.log"]
        self.environment: dict[str, str] = {}
        self.roots = [self.root]  # where the project has been
        self.commands = [[REAL_MAKE]]  # a build from nothing
        self.said = ""  # the output of the last build from nothing
        for folder in (self.root, self.bin, top / "home", top / "tmp"):
            folder.mkdir(parents=True)
        self.tool("make", MAKE.format(top=top, make=REAL_MAKE))
        self.tool("see", SEE.format(top=top))
        self.write("unibuild.toml", f'name = "{NAME}"\n\n[build]\nkernel = "{NAME}.xen"\n')
        (self.root / "head.bin").write_bytes(stub())
        (top / "calls").touch()

    def tool(self, name: str, text: str) -> None:
        beside = self.bin / f".{name}"
        beside.write_text(text)
        beside.chmod(0o755)
        beside.replace(self.bin / name)

    def write(self, name: str, text: str) -> Path:
        """Write a file in place, as ``echo > FILE`` does."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            path.rmdir()
        path.write_text(text)
        return path

    def path(self, name: str) -> Path:
        return self.root / name

    @property
    def variables(self) -> dict[str, str]:
        """The whole environment of every command."""
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.top / "home"),
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.top / "tmp"),
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.environment,
        }

    def dates(self) -> dict[str, int]:
        """Return the date of each file that no build writes."""
        found = {}
        for folder, folders, names in os.walk(self.around):
            left_out = {*self._outputs(folder, [*folders, *names]), ".git"}
            folders[:] = [name for name in folders if name not in left_out]
            for name in names:
                if name not in left_out:
                    path = os.path.join(folder, name)  # noqa: PTH118
                    found[path] = os.lstat(path).st_mtime_ns
        return found

    def calls(self) -> list[str]:
        return (self.top / "calls").read_text().splitlines()

    # what a user does

    def start(self, *words: str) -> Running:
        return self.server.start(self.root, words or ("xl",), self.variables | {"PWD": str(self.root)})

    def unibuild(self, *words: str) -> Ran:
        """Run ``unibuild xl`` (or other words) to its end."""
        before, xl, said, dates = len(self.calls()), self._xl(), self._said_by_xl(), self.dates()
        code, output = self.start(*words).wait()
        if "Traceback" in output:
            raise BrokenRuleError("a traceback", output)
        changed = {path for path, date in self.dates().items() if dates.get(path, date) != date}
        if changed:
            raise BrokenRuleError(f"unibuild, or what it runs, set the dates of {', '.join(changed)}", output)
        calls = self.calls()[before:]
        asked = sum(is_question(call) for call in calls)
        return Ran(code, output, len(calls) - asked, asked, self._xl() != xl, self._said_by_xl() != said)

    def _xl(self) -> object:
        try:
            status = (self.root / ".unibuild" / f"{NAME}.xl").stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_ino

    def _said_by_xl(self) -> str | None:
        path = self.root / ".unibuild" / f"{NAME}.xl"
        text = path.read_text() if path.exists() else None
        for root in self.roots:
            text = text and text.replace(f"{root}/", "")
        return text

    def run(self, *argv: str, cwd: Path | None = None, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        """Run a command in the tree, as a user does next to unibuild."""
        folder = cwd or self.root
        done = subprocess.run(argv, cwd=folder, env=self.variables | {"PWD": str(folder)}, capture_output=True)
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done

    def git(self, *words: str) -> None:
        name = ("-c", "user.name=Ann", "-c", "user.email=ann@example.org", "-c", "commit.gpgsign=false")
        self.run("git", *name, *words)

    # edits while the build runs

    def pause(self, when: str) -> None:
        """Let the next ``see`` wait before it reads, between reading and writing, or after it wrote."""
        (self.top / f"pause.{when}").touch()

    def paused(self, running: Running) -> bool:
        """Wait until a ``see`` waits; False: unibuild ended and none did."""
        deadline = time.monotonic() + TIMEOUT
        while not (self.top / "paused").exists():
            if running.has_ended():
                break
            assert time.monotonic() < deadline
            time.sleep(0.002)
        return (self.top / "paused").exists()

    def resume(self) -> None:
        for name in ("paused", "pause.before", "pause.between", "pause.after"):
            (self.top / name).unlink(missing_ok=True)

    def rest(self) -> None:
        """Wait until no make of this project runs, for one goes on after unibuild was killed."""
        deadline = time.monotonic() + TIMEOUT
        while _processes_in(self.root):
            assert time.monotonic() < deadline
            time.sleep(0.005)

    def move(self, copy: list[str] | None = None) -> None:
        """Move the project and what is around it to another place; or copy it there, and go on in the copy."""
        place = self.top / f"w{len(self.roots)}"
        if copy:
            subprocess.run([*copy, str(self.around), str(place)], check=True)
        else:
            self.around.rename(place)
        self.around, self.root = place, place / NAME
        self.roots.append(self.root)

    # the oracle

    @property
    def kernel(self) -> bytes | None:
        """What unibuild would boot: its copy of the kernel."""
        path = self.root / ".unibuild" / f"{NAME}.xen"
        return path.read_bytes() if path.exists() else None

    def fresh(self) -> bytes | None:
        """Return the kernel that a build from nothing makes of what is there now; None: it fails."""
        copy = self.top / "fresh"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(self.around, copy, symlinks=True, ignore=self._outputs, copy_function=_copy)
        folder = copy / NAME
        environment = self.variables | {"PWD": str(folder)}
        self.said = ""
        for argv in self.commands:
            done = subprocess.run(argv, cwd=folder, env=environment, capture_output=True, timeout=TIMEOUT)
            self.said += (done.stdout + done.stderr).decode(errors="replace")
            if done.returncode:
                return None
        path = folder / f"{NAME}.xen"
        return path.read_bytes() if path.exists() else None

    def _outputs(self, folder: str, names: list[str]) -> list[str]:
        below = os.path.relpath(folder, self.root)
        prefix = "" if below == "." else f"{below}/"
        return [
            name for name in names if any(fnmatch.fnmatchcase(f"{prefix}{name}", pattern) for pattern in self.outputs)
        ]


def is_question(call: str) -> bool:
    """Whether make was called to ask only: -q, -n, or for its version or database."""
    words = arguments(call)
    short = "".join(word[1:] for word in words if word.startswith("-") and word[1:2] not in "-WCfIojlO")
    return bool(set("qnpv") & set(short)) or any(
        word in ("--question", "--dry-run", "--just-print", "--version", "--print-data-base") for word in words
    )


def arguments(call: str) -> list[str]:
    """Return the arguments of a call of make."""
    return call.partition(": ")[2].split()


def _processes() -> list[int]:
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()]


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _processes_in(folder: Path) -> list[int]:
    """Return the processes that work in a folder."""
    found = []
    for pid in _processes():
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd") == str(folder):  # noqa: PTH115
                found.append(pid)
    return found


def _copy(source: str, target: str) -> None:
    if not os.path.isfile(source):  # noqa: PTH113 (a named pipe)
        return
    shutil.copy(source, target)
