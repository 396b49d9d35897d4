"""The console's reader against stand-ins: no line may be lost."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from unibuild.domain import console
from unibuild.domain.console_log import Log
from unibuild.domain.exit_status import Detached, DomainExit, exit_code
from unibuild.errors import DomainError
from unibuild.host import toolstack, xl_console
from unibuild.host.base import Host
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh

HOSTS = {"local": Local(uid=0), "sudo": Local(uid=1000), "ssh": Ssh("there")}


class Keys:
    """A keyboard that types given keys when it is read."""

    def __init__(self, data: bytes) -> None:
        self.fd, self._into = os.pipe()
        self.press(data)

    def press(self, data: bytes) -> None:
        os.write(self._into, data)

    def read(self) -> bytes:
        return os.read(self.fd, 1)


class Watched:
    """A domain with a reader at its console."""

    def __init__(self, host, path: Path) -> None:
        own = str(uuid.uuid4())  # readers are found by it on the whole machine, where other tests run
        host.toolstack.create_paused(str(path), name="hello", uuid=own)
        self.host = host
        self.domain = host.toolstack.find(uuid=own)
        self.said = b""
        self._answers: dict[bytes, Callable[[], None]] = {}

    def answer(self, line: bytes, act: Callable[[], None]) -> None:
        """Do something once, when the domain has said this."""
        self._answers[line] = act

    def show(self, data: bytes) -> None:
        self.said += data
        for line in [line for line in self._answers if line in self.said]:
            self._answers.pop(line)()

    def follow(self, log: Path, **how):
        with console.Reader(self.host, self.domain, Log(log), self.show) as reader:
            self.host.toolstack.unpause(self.domain)
            return reader.follow(**how)


@pytest.fixture(params=HOSTS)
def watch(request, xen):
    def make(*script: str, keep: bool = True) -> Watched:
        return Watched(HOSTS[request.param], xen.xl_file(xen.kernel(*script), keep=keep))

    return make


@pytest.fixture
def log(tmp_path):
    return tmp_path / "console" / "hello.log"


def test_a_thousand_lines_of_a_domain_that_dies_at_once_all_arrive(watch, log):
    domain = watch("count 1000", "say Solo5: solo5_exit(0) called", "poweroff")
    assert domain.follow(log) == DomainExit("powered off", 0)
    lines = domain.said.decode().splitlines()
    assert lines == [*(f"line {n}" for n in range(1, 1001)), "Solo5: solo5_exit(0) called"]
    assert [line.split(" ", 1)[1] for line in log.read_text().splitlines()] == lines


def test_reader_attached_after_the_end_gets_all_output(watch, log, monkeypatch):
    monkeypatch.setenv("STANDIN_ATTACH", "1.5")
    domain = watch("say early", "poweroff")
    assert domain.follow(log) == DomainExit("powered off", None)
    assert domain.said == b"early\r\n"


@pytest.mark.parametrize(
    ("script", "why", "good"),
    [
        (["say a", "crash"], "crashed", False),
        (["say a", "reboot"], "asked for a reboot", True),
        (["say Solo5: solo5_exit(2) called", "poweroff"], "powered off", False),
        (["say Solo5: solo5_exit(0) called", "poweroff"], "powered off", True),
    ],
)
def test_end_is_reported_with_its_reason(watch, log, script, why, good):
    end = watch(*script).follow(log)
    assert (end.why, end.is_good) == (why, good)


def test_end_of_a_silent_domain_is_noticed(watch, log, monkeypatch):
    monkeypatch.setattr(console, "SILENT", 0.3)
    assert watch("poweroff").follow(log) == DomainExit("powered off", None)


def test_reader_detaches_when_the_time_is_up(watch, log):
    domain = watch("say here", "stay")
    with reading(domain, log) as reader:
        while not domain.said.endswith(b"\n"):
            assert reader.follow(wait=0.3) == Detached()
    assert domain.said == b"here\r\n"
    assert not domain.host.toolstack.find(name="hello").has_ended


def test_keys_reach_the_domain_and_ctrl_bracket_detaches(watch, log):
    domain = watch("say ready", "echo", "stay")
    typed = Keys(b"a")
    domain.answer(b"key 97\r\n", lambda: typed.press(b"b\x1d"))
    assert domain.follow(log, keys=typed, wait=60) == Detached()
    assert domain.said in (b"ready\r\nkey 97\r\n", b"ready\r\nkey 97\r\nkey 98\r\n")


def test_domain_destroyed_by_another_program_ends_the_console(watch, log):
    domain = watch("say here", "stay")
    timer = threading.Timer(0.7, lambda: domain.host.toolstack.destroy(domain.domain))
    timer.start()
    assert domain.follow(log) == DomainExit("was destroyed", None)
    timer.join()


def test_console_with_another_reader_is_refused(watch, log, tmp_path):
    domain = watch("say here", "stay")
    with console.Reader(domain.host, domain.domain, Log(tmp_path / "other"), domain.show) as first:
        domain.host.toolstack.unpause(domain.domain)
        while b"here" not in domain.said:
            first.follow(wait=0.3)
        second = console.Reader(domain.host, domain.domain, Log(log), domain.show)
        with pytest.raises(DomainError, match="is already being read"), second:
            second.follow()
    assert not log.exists() or b"lock" not in log.read_bytes()


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_while_the_reader_attaches_is_passed_on(watch, log, monkeypatch, count):
    domain = watch("stay")
    kind, starts = type(domain.host), []
    start = kind.start

    def interrupted(host, *args, **options):
        starts.append(args)
        if len(starts) == count:
            raise KeyboardInterrupt
        return start(host, *args, **options)

    monkeypatch.setattr(kind, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        console.Reader(domain.host, domain.domain, Log(log), domain.show)
    assert len(starts) == count


def test_without_xenstore_watch_the_domain_is_polled(watch, log, xen, monkeypatch):
    (xen.world / "bin" / "xenstore-watch").write_text("#!/bin/sh\nexit 127\n")
    monkeypatch.setattr(console, "POLL", 0.2)
    assert watch("say a", "sleep 0.5", "poweroff").follow(log).why == "powered off"


@contextlib.contextmanager
def reading(domain: Watched, log: Path, lines: list[bytes] | None = None):
    """A reader at the console of a domain that has been let go; what it says goes to ``lines``."""
    hear = [].append if lines is None else lines.append
    with console.Reader(domain.host, domain.domain, Log(log), domain.show) as reader, reader.listen(hear):
        domain.host.toolstack.unpause(domain.domain)
        yield reader


def test_pump_returns_when_the_time_is_up_and_resumes(watch, log, xen):
    lines = []
    with reading(watch("say a", "until told", "say b", "poweroff"), log, lines) as reader:
        assert reader.pump(time.monotonic() + 0.1) is None
        (xen.world / "told").touch()
        assert reader.pump() == reader.pump() == reader.end == DomainExit("powered off", None)
    assert lines == [b"a", b"b"]


def test_pump_returns_when_it_is_woken(watch, log):
    bell, rope = os.pipe()
    with reading(watch("say a", "stay"), log) as reader:
        timer = threading.Timer(0.3, os.write, [rope, b"!"])
        timer.start()
        assert reader.pump(wake=bell) is None
        assert reader.pump(wake=bell) is None  # it is not read
        timer.join()
    os.close(bell)
    os.close(rope)


def test_reading_in_a_thread_leaves_the_end_and_the_rest_to_pump(watch, log):
    domain = watch("say one", "say two", "poweroff")
    with console.Reader(domain.host, domain.domain, Log(log), domain.show) as reader:
        with reader.reading():
            domain.host.toolstack.unpause(domain.domain)
            wait_until(lambda: b"two" in domain.said)
        assert reader.end is None
        assert reader.pump() == DomainExit("powered off", None)
    assert domain.said == b"one\r\ntwo\r\n"


def test_failure_of_a_reading_thread_is_raised_by_the_next_pump(watch, log):
    domain, failed = watch("say one", "stay"), threading.Event()

    def show(data: bytes) -> None:
        if b"one" in data:
            failed.set()
            raise BrokenPipeError

    with console.Reader(domain.host, domain.domain, Log(log), show) as reader:
        with reader.reading():
            domain.host.toolstack.unpause(domain.domain)
            assert failed.wait(60)
        with pytest.raises(BrokenPipeError):
            reader.pump(time.monotonic() + 60)


def test_failure_of_a_reading_thread_that_no_pump_raised_is_raised_at_the_end(watch, log):
    domain, failed = watch("say one", "stay"), threading.Event()

    def show(data: bytes) -> None:
        if b"one" in data:
            failed.set()
            raise BrokenPipeError

    with (
        pytest.raises(BrokenPipeError),
        console.Reader(domain.host, domain.domain, Log(log), show) as reader,
        reader.reading(),
    ):
        domain.host.toolstack.unpause(domain.domain)
        assert failed.wait(60)


class SignalError(Exception):
    """What a signal's handler raises."""


def test_signal_just_before_the_wait_is_handled(watch, log):
    def interrupt(*_):
        raise SignalError

    def send():  # to this thread: the main thread's wait goes on, as for a signal just before it
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        with reading(watch("stay"), log) as reader:
            timer = threading.Timer(0.5, send)
            timer.start()
            began = time.monotonic()
            with pytest.raises(SignalError):
                reader.follow(wait=60)
            assert time.monotonic() - began < 30
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)


def test_end_of_a_chatty_domain_is_noticed_without_xenstore_watch(watch, log, xen, monkeypatch):
    (xen.world / "bin" / "xenstore-watch").write_text("#!/bin/sh\nexit 127\n")
    monkeypatch.setattr(console, "POLL", 0.2)
    with reading(watch("say a", "sleep 0.5", "poweroff"), log) as reader:
        while reader.pump(time.monotonic() + 0.05) is None:
            pass
    assert reader.end.why == "powered off"


def test_listener_gets_earlier_lines_first(watch, log):
    with reading(watch("say one", "say two", "stay"), log) as reader:
        while reader.said.count(b"\n") < 2:
            reader.pump(time.monotonic() + 0.05)
        lines = []
        with reader.listen(lines.append):
            assert lines == [b"one", b"two"]


def test_last_output_is_kept(watch, log):
    with reading(watch("flood 200000", "poweroff"), log) as reader:
        reader.pump()
    assert len(reader.said) == console.SAID
    assert domain_said(log).endswith(reader.said.split(b"\n", 1)[1].replace(b"\r", b""))


def domain_said(log: Path) -> bytes:
    return b"".join(line.split(b" ", 1)[1] for line in log.read_bytes().splitlines(keepends=True))


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (b"Solo5: solo5_exit(0) called\r\n", 0),
        (b"x\r\nSolo5: solo5_exit(64) called\r\n", 64),
        (b"he says Solo5: solo5_exit(2) called", None),
        (b"", None),
    ],
)
def test_exit_code(said, code):
    assert exit_code(said) == code


def test_detaching_neither_loses_nor_repeats_a_line(watch, log, xen):
    lines = (step for n in range(150) for step in (f"say line {n}", "sleep 0.003"))
    domain = watch(*lines, "until left", "poweroff")
    outcomes = [domain.follow(log, wait=0.2)]
    while isinstance(outcomes[-1], Detached):
        if len(outcomes) == 3:
            (xen.world / "left").touch()
        with console.Reader(domain.host, domain.domain, Log(log), domain.show) as reader:
            outcomes.append(reader.follow(wait=0.1 * len(outcomes)))  # a slow host takes a while to begin
    assert domain.said.decode().splitlines() == [f"line {n}" for n in range(150)]
    assert outcomes[-1].why == "powered off"


READER = """
import sys
from pathlib import Path
from unibuild.domain import console; from unibuild.host import xl_console
from unibuild.domain.console_log import Log
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh

if sys.argv[3] == "unwatched":
    xl_console._WATCHDOG = 'exec cat'
host = Ssh("there") if sys.argv[1] == "ssh" else Local(uid=0)
domain = host.toolstack.find(name="hello")
with console.Reader(host, domain, Log(Path(sys.argv[2])), lambda _: None) as reader:
    reader.follow()
"""


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def environment(place: Path) -> bytes:
    with contextlib.suppress(OSError):
        return place.read_bytes()
    return b""


def in_dom0(xen) -> list[str]:
    """Return what reads a console or watches in the world of the stand-ins."""
    here = f"STANDIN={xen.world}".encode()
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if here in (place / "environ").read_bytes() and "xen.py" in line:
                found += [line] if " xl console" in line or "xenstore-watch" in line else []
    return found


@pytest.fixture(params=["local", "root", "sudo"])
def killed(request, xen, tmp_path):
    """Return what kills the reader of a domain that goes on talking: here, behind ssh as root, or with sudo."""
    where = "local" if request.param == "local" else "ssh"
    (xen.world / "ssh-config").write_text(f"user {'root' if request.param == 'root' else 'ann'}\nhostname there\n")

    def kill(guard: str) -> tuple[Host, toolstack.Domain]:
        host = Local(uid=0) if where == "local" else Ssh("there")
        output = [step for n in range(2000) for step in (f"say line {n}", "sleep 0.05")]
        domain = Watched(host, xen.xl_file(xen.kernel(*output))).domain
        log = tmp_path / "first.log"
        child = subprocess.Popen([sys.executable, "-c", READER, where, str(log), guard])
        host.toolstack.unpause(domain)
        wait_until(lambda: log.exists() and b"line" in log.read_bytes())
        assert in_dom0(xen)
        child.kill()
        child.wait()
        return host, domain

    return kill


def test_nothing_of_a_killed_reader_is_left_on_the_host(killed, xen):
    killed("watched")
    wait_until(lambda: not in_dom0(xen))


def test_watchdog_kills_a_watch_that_has_just_started():
    token = uuid.uuid4().hex
    argv = ["sh", "-c", xl_console._WATCHDOG, "sh", token, token, "sleep", "60"]
    for _ in range(100):
        subprocess.run(argv, input=b"bye\n", capture_output=True, check=False)
    assert not [place for place in Path("/proc").glob("[0-9]*/environ") if token.encode() in environment(place)]


def test_reader_replaces_a_dead_reader(killed, log):
    host, domain = killed("unwatched")
    output = bytearray()
    with console.Reader(host, domain, Log(log), output.extend) as reader:
        while output.count(b"line") < 3:
            assert reader.pump(time.monotonic() + 1) is None
    assert all(line.split(b" ")[1] == b"line" for line in log.read_bytes().splitlines())
