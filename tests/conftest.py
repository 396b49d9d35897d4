from __future__ import annotations

import contextlib
import gc
import json
import marshal
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings

from unibuild.util import process

sys.path.insert(0, str(Path(__file__).parent))
from network_block import NetworkBlock
from warm_cli import WARM, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pexpect
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

EXAMPLES = Path(__file__).parents[1] / "examples"
STANDINS = Path(__file__).parent / "standins" / "xen.py"


LAB_TIMEOUT = 900.0  # seconds; on a busy machine the emulated processor is slow
SECOND_LAB = "tests/lab/test_e"  # the tests from here on take about as long as those before
ROOM = 4 << 30  # bytes; the files of a whole run are a quarter of it

GUARD = NetworkBlock()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-step", action="store_true", help="tests of faults try every step, not a random sample")


def pytest_configure(config: pytest.Config) -> None:
    GUARD.install()
    _cache_bytecode(config)
    _use_memory_for_files()
    # A parent that starts pytest in the background, as CI may, ignores them, and children would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    settings.register_profile("patient", deadline=None)  # an example may pause for as long as the machine does
    settings.load_profile("patient")


def _cache_bytecode(config: pytest.Config) -> None:
    """Let the thousands of Python processes of a test run compile each module once, also in a read-only tree.

    Without a cache `unibuild plan` takes twice as long. The cache is in pytest's cache, not in the tree.
    """
    folder = config.rootpath / ".pytest_cache" / "d" / "bytecode"
    if sys.dont_write_bytecode and os.access(config.rootpath, os.W_OK):
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = str(folder)
        sys.dont_write_bytecode = False


def _use_memory_for_files() -> None:
    """Put pytest's temporary folders in memory, where thousands of small files take a third less time."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.R_OK | os.W_OK | os.X_OK):
        return
    found = os.statvfs(shared)
    if found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(shared))


def pytest_unconfigure() -> None:
    WARM.end()
    GUARD.end()


@pytest.fixture(autouse=True)
def network_block() -> Iterator[NetworkBlock]:
    """Fail a test if something tried to reach another machine while it ran."""
    yield GUARD
    assert GUARD.take() == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start long tests first, so that no worker has one left at the end; those of the lab run last."""
    items.sort(key=lambda item: (item.get_closest_marker("lab") is not None, item.get_closest_marker("long") is None))
    for item in items:
        if item.get_closest_marker("lab") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(LAB_TIMEOUT))


def pytest_collection_finish() -> None:
    """Exempt the thousands of collected tests from garbage collections, here and in forks of this process."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Report the results and costs of the random edits in tests/staleness, and of the saves in tests/watch."""
    reports = [one for state in ("passed", "failed", "error") for one in terminalreporter.getreports(state)]
    stories = [one for one in reports if "::test_no_story_leaves_a_stale_kernel" in one.nodeid]
    if stories:
        sys.path.insert(0, str(Path(__file__).parent / "staleness"))
        from stories import summarize

        cut_off = {"edits": 0, "builds": 0, "needless": 0, "questions": 0, "end": "was cut off"}
        terminalreporter.section("staleness")
        for line in summarize([dict(one.user_properties).get("staleness", cut_off) for one in stories]):
            terminalreporter.line(line)
    for one in reports:
        if line := dict(getattr(one, "user_properties", ())).get("saves"):  # no collection has any
            terminalreporter.section("saves")
            terminalreporter.line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """Give each half of the tests that use the lab to one worker, and each other test to any free worker.

    A worker has one lab; its QEMU keeps one processor busy.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            is_of_the_lab = nodeid.startswith("tests/lab/") and not nodeid.startswith("tests/lab/test_unit_")
            return f"tests/lab {nodeid < SECOND_LAB}" if is_of_the_lab else nodeid

    return Scheduling(config, log)


@dataclass(frozen=True)
class Kernels:
    """The kernels that examples/hello builds."""

    pv: Path
    pvh: Path


@pytest.fixture(scope="session")
def hello_kernels(tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    folder = tmp_path_factory.mktemp("kernels") / "hello"
    shutil.copytree(EXAMPLES / "hello", folder, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild"))
    process.run(["make", "-s"], cwd=folder)
    return Kernels(pv=folder / "hello-pv.xen", pvh=folder / "hello-pvh.xen")


def _build_kernel(folder: Path, name: str, **files: str) -> Path:
    """Build the PVH kernel of tests/standins/NAME_kernel, with more files next to main.c ("page.h" is ``page``)."""
    shutil.copytree(EXAMPLES / "hello" / "lib", folder / "lib")
    shutil.copy(STANDINS.with_name(f"{name}_kernel") / "main.c", folder)
    for stem, text in files.items():
        (folder / f"{stem}.h").write_text(text)
    (folder / "Makefile").write_text(f"NAME := {name}\ninclude lib/kernel.mk\n")
    process.run(["make", "-s", f"{name}-pvh.xen"], cwd=folder)
    return folder / f"{name}-pvh.xen"


@pytest.fixture(scope="session")
def help_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PVH kernel with Solo5's note, which prints a Mirage unikernel's manual page for `--help=plain`."""
    page = (Path(__file__).parent / "domain" / "manual_page.txt").read_text().encode("ascii", "replace").decode()
    text = f"static const char page[] = {json.dumps(page)};\n"
    return _build_kernel(tmp_path_factory.mktemp("help"), "help", page=text)


@pytest.fixture(scope="session")
def float_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PVH kernel that keeps numbers in floating point registers, and reports when one has changed."""
    return _build_kernel(tmp_path_factory.mktemp("float"), "float")


OCAML = ("mirage", "opam", "dune", "ocamlbuild", "ocamlc", "ocamlfind")


@pytest.fixture(scope="session")
def path_without_ocaml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return PATH without the machine's own mirage, opam and OCaml.

    Links to the other programs replace a folder that has one of them.
    """
    folders = []
    for number, folder in enumerate(map(Path, os.environ["PATH"].split(os.pathsep))):
        if any(os.access(folder / program, os.X_OK) for program in OCAML):
            links = tmp_path_factory.mktemp(f"programs{number}")
            for program in folder.iterdir():
                if program.name not in OCAML:
                    (links / program.name).symlink_to(program)
            folder = links
        folders.append(str(folder))
    return os.pathsep.join(folders)


@pytest.fixture(scope="session")
def probe_kernel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PVH web server that sends a UDP datagram to its client's port PORT for `GET /PORT`."""
    folder = tmp_path_factory.mktemp("probe")
    for name in ("net.h", "netfront.c", "ip.c", "dhcp.c", "tcp.c"):
        shutil.copy(EXAMPLES / "http" / name, folder)
    return _build_kernel(folder, "probe")


def wait_in_shell(path: Path | str) -> str:
    """Return a shell command that waits until a file exists, or until the tests have ended."""
    return f"while test -d /proc/{os.getpid()} && ! test -e {shlex.quote(str(path))}; do sleep 0.05; done"


@pytest.fixture(name="wait_in_shell")
def _wait_in_shell() -> Callable[[Path | str], str]:
    """Return ``wait_in_shell``."""
    return wait_in_shell


@dataclass(frozen=True)
class Standins:
    """A Xen host simulated by tests/standins/xen.py; its state is a folder."""

    world: Path

    def kernel(self, *script: str, name: str = "k.xen") -> Path:
        """Write a kernel that executes the lines of the script."""
        path = self.world / name
        path.write_text("\n".join(("#!kernel", *script)) + "\n")
        return path

    def xl_file(self, kernel: Path, *lines: str, name: str = "hello", keep: bool = True) -> Path:
        path = self.world / f"{name}.xl"
        kept = [f"{key} = 'preserve'" for key in ("on_poweroff", "on_crash", "on_reboot")] if keep else []
        path.write_text("\n".join((f"name = '{name}'", f"kernel = '{kernel}'", "memory = 32", *kept, *lines)) + "\n")
        return path

    def refuse(self, program: str, said: str) -> None:
        """Make ssh, sudo, xenctx or a verb of xl ("xl-shutdown") fail with this message."""
        (self.world / program).write_text(said)

    def answer(self, program: str, said: str) -> None:
        """Make xenctx or a verb of xl ("xl-dmesg") print this and nothing else."""
        (self.world / f"{program}.says").write_text(said)

    def info(self, **facts: object) -> None:
        """Make `xl info` print these values instead of its own."""
        (self.world / "xl-info.lines").write_text("".join(f"{key}: {value}\n" for key, value in facts.items()))

    def domains(self) -> dict[str, dict[str, object]]:
        return self._state["domains"]

    def store(self, under: str) -> dict[str, str]:
        """Return the nodes in XenStore below a path."""
        return {key: value for key, value in self._state["store"].items() if key.startswith(f"{under}/")}

    @property
    def _state(self) -> dict[str, dict[str, object]]:
        path = self.world / "xen.state"
        return marshal.loads(path.read_bytes()) if path.exists() else {"domains": {}, "store": {}}

    def calls(self, program: str) -> list[list[str]]:
        """Return the argument lists of the calls of xl, sudo or ssh."""
        path = self.world / f"{program}.log"
        return [shlex.split(line) for line in path.read_text().splitlines()] if path.exists() else []

    def remote(self) -> list[str]:
        """Return the commands sent over ssh, as the remote side reads them, without their frames."""
        programs = [call[-1] for call in self.calls("ssh") if "-G" not in call and "-O" not in call]
        return [self.command_of(program) for program in programs]

    @staticmethod
    def command_of(text: str) -> str:
        """Return the command inside the frame that ``unibuild.host.frame`` passes to a login shell."""
        program = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
        found = re.search(r"; (?:printf '[^']*<'(?: >&2)?; )+(.*); s=\$\?; ", program, re.DOTALL)
        assert found, program
        return found[1]


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Standins]:
    """Put the stand-ins first on PATH."""
    world = tmp_path / "world"
    (world / "bin").mkdir(parents=True)
    (world / "test").write_text(str(os.getpid()))
    store = [f"xenstore-{verb}" for verb in ("read", "write", "ls", "list", "rm", "exists", "watch")]
    for name in ("xl", "xenctx", *store, "sudo", "ssh"):
        program = world / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -S {STANDINS} {name} "$@"\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{world / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("STANDIN", str(world))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    yield Standins(world)
    (world / "over").touch()  # makes its domains exit


@pytest.fixture
def on_terminals() -> Iterator[list[pexpect.spawn[Any]]]:
    """Collect programs that run on pseudo-terminals, and end them after the test.

    pexpect's ``close(force=True)`` raises if a killed program takes longer than a tenth of a second to end.
    """
    programs: list[pexpect.spawn[Any]] = []
    yield programs
    for program in programs:
        for number in (signal.SIGHUP, signal.SIGCONT, signal.SIGKILL):
            deadline = time.monotonic() + (2.0 if number is signal.SIGCONT else 0.0)
            if program.isalive():
                program.kill(number)
            while program.isalive() and time.monotonic() < deadline:
                time.sleep(0.02)
        if program.isalive():
            program.wait()
        program.close()


BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Tree:
    """A small project that make builds, and the user's actions in it.

    Its Makefile copies ``main.c`` to the kernel ``hello.xen``, and adds a word to ``log`` each time.
    """

    root: Path
    bin: Path = BIN

    def write(self, name: str, text: str) -> None:
        """Write a file atomically, so that no reader on a busy machine sees it half written."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        neighbor = self.root.with_name(f"{self.root.name}.neighbor")
        neighbor.write_text(text)
        neighbor.replace(path)

    def read(self, name: str) -> str:
        return (self.root / name).read_text()

    @property
    def log(self) -> list[str]:
        """The words that the steps have written to ``log``."""
        path = self.root / "log"
        return path.read_text().split() if path.exists() else []

    def start(self, *argv: str, cwd: Path | None = None, **env: str) -> subprocess.Popen[str]:
        """Start a program in the tree, in a session of its own without a terminal."""
        program = BIN / argv[0]
        return subprocess.Popen(
            [str(program) if program.exists() else argv[0], *argv[1:]],
            cwd=cwd or self.root,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *argv: str, code: int = 0, cwd: Path | None = None, **env: str) -> str:
        """Run a program to its end; check its exit code and return its output."""
        status, said = run(*argv, cwd=cwd or self.root, timeout=60, **env)
        assert status == code, said
        assert "Traceback" not in said, said
        return said

    def wait_for(self, name: str) -> None:
        """Wait until a file exists and has a complete line."""
        deadline = time.monotonic() + 60
        while not ((self.root / name).exists() and self.read(name).endswith("\n")):
            assert time.monotonic() < deadline, f"there never was {name}"
            time.sleep(0.01)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    tree = Tree(tmp_path / "hello")
    tree.write("unibuild.toml", '[build]\nkernel = "hello.xen"\n')
    tree.write("dodo.py", "from unibuild import DOIT_CONFIG, unikernel\n\napp = unikernel()\n")
    tree.write("Makefile", "hello.xen: main.c\n\tcp main.c $@\n\techo built >> log\n")
    tree.write("main.c", "one")
    tree.write("log", "")
    return tree


@pytest.fixture
def fails():
    """Assert an error by its class and fields; tests/snapshots/messages.txt holds the wording."""

    @contextlib.contextmanager
    def fails(kind, *values, **fields):
        """Expect exactly the class ``kind``, these values (names, paths, numbers) in its text, and these fields."""
        with pytest.raises(kind) as caught:
            yield caught
        error = caught.value
        assert type(error) is kind
        assert {key: getattr(error, key) for key in fields} == fields
        missing = [value for value in map(str, values) if value not in str(error)]
        assert not missing, f"not in the message or its hint: {missing}\n{error}"

    return fails
