"""Whatever becomes of a run of boot, at whichever step: the next one understands what it left, and works.

The host is that of the stand-ins, played in this process. A step is a command that changes the host, or the moment at
which a file of unibuild is replaced. A run killed before a step is one killed after the step before it.
"""

import contextlib
import io
import os
import random
import shlex
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from unibuild import _fast_path
from unibuild.deploy import boot, hosts, replacement
from unibuild.domain import console, records
from unibuild.domain.generations import GenerationStore
from unibuild.errors import CommandError, LostError, NotReadyError, UnibuildError
from unibuild.host import base, local, ssh
from unibuild.host.exchange import HostChild
from unibuild.settings.loader import load
from unibuild.util import process

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))
import xen as standins

OLD, NEW = ("say old", "obey"), ("say new", "obey")
PLAYED = threading.Lock()


@dataclass
class Fuse:
    """Counts the steps, and blows at one of them, or at all that begin with a text."""

    at: int | str = -1
    blow: Callable[[str], None] = print
    steps: list[str] = field(default_factory=list)

    commands_only: bool = False
    kill_at: int = -1

    log: Path = Path(os.devnull)

    def step(self, what: str) -> None:
        if self.commands_only and what.startswith("write "):
            return
        self.steps.append(what)
        with self.log.open("a") as file:
            file.write(f"{what}\n")
        if what.startswith(self.at) if isinstance(self.at, str) else len(self.steps) == self.at + 1:
            self.blow(what)
        if len(self.steps) == self.kill_at + 1:
            os.kill(os.getpid(), signal.SIGKILL)


class Played:
    """The part of a host that runs commands: a stand-in here and now, anything else as it is."""

    fuse = Fuse()
    is_lost = False
    is_back = False

    def run(self, argv, *, check=True, **how):
        if self.is_lost:
            raise LostError("the connection broke")
        if not base.is_question(argv):
            self.fuse.step(shlex.join(argv))
        if argv[0] == "xl" or argv[0].startswith("xenstore-"):
            done = play(argv)
        else:
            done = process.run(argv, cwd=Path(os.environ["STANDIN"]), input=how.get("input"), check=False)
        if self.is_lost:
            self.is_lost = not self.is_back
            raise LostError("the connection broke")
        if check and done.returncode:
            raise CommandError(argv, done.returncode, done.stderr.decode())
        return done

    def run_all(self, steps, **how):
        """Run the commands of a batch one by one: each is a step."""
        return base.Host.run_all(self, steps, **how)

    def start(self, argv, **how):
        if self.is_lost:
            raise LostError("the connection broke")
        if argv[:2] != ["xl", "shutdown"]:
            return super().start(argv, **how)
        self.fuse.step(shlex.join(argv))
        child = super().start(argv, **how)
        if self.is_lost:
            child.wait()
            self.is_lost = not self.is_back
            return HostChild(child.popen, child.call, self.break_off)
        return child

    def break_off(self, child):
        raise LostError("the connection broke")


class Here(Played, local.Local):
    pass


class There(Played, ssh.Ssh):
    pass


def play(argv) -> process.Completed:
    if argv[:2] == ["xl", "unpause"]:  # starts a domain, and a fork of a worker costs more than a new process
        return process.run([sys.executable, "-S", standins.__file__, *argv], check=False)
    out, err, status = io.StringIO(), io.StringIO(), 0
    with PLAYED, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            standins.play(*argv)
        except SystemExit as end:
            status = int(end.code or 0)
    return process.Completed(tuple(argv), status, out.getvalue().encode(), err.getvalue().encode())


def redirect(output: str, said: Path) -> Callable[[], object]:
    """Let standard output and error lead elsewhere; return what makes them go away.

    Args:
        output: ``kept`` in a file, ``closed``, ``full`` as a full disk is, or ``gone`` at the moment of the call.
        said: the file.
    """
    if output == "closed":
        for fd in (0, 1, 2):
            os.close(fd)
        sys.stdin = sys.stdout = sys.stderr = None
        _fast_path._open_standard_files()
    reader, writer = os.pipe()
    target = {"kept": said, "full": Path("/dev/full")}.get(output)
    fd = writer if target is None else os.open(target, os.O_WRONLY | os.O_CREAT)
    if output != "closed":
        os.dup2(fd, 1)
        os.dup2(fd, 2)
    return lambda: os.close(reader) if output == "gone" else None


class Case:
    """A world and a project of its own."""

    def __init__(self, folder: Path, xen, patch: pytest.MonkeyPatch, kind: type[Played], free: int) -> None:
        self.xen = type(xen)(folder / "world")
        self.root = folder / "tree"
        for path in (self.xen.world, self.root):
            path.mkdir(parents=True)
        (self.xen.world / "free").write_text(str(free))
        (self.xen.world / "test").write_text(str(os.getpid()))
        patch.setenv("STANDIN", str(self.xen.world))
        self.host = kind() if kind is Here else kind("there", sudo=False)
        self.host.fuse = Fuse()
        patch.setattr(hosts, "open_host", lambda _: self.host)
        patch.setattr(hosts, "open_running", lambda *_, **__: self.host)
        (self.root / "unibuild.toml").write_text("")
        self.is_first = True
        self.words = {"host": self.host.name, "boot.wait": "0.01", "boot.grace": "5", "boot.console": "none"}

    def write(self, *script: str, content: str | None = None) -> None:
        self.kernel = self.xen.kernel(*script)
        if content:
            self.kernel.write_text(content)
        self.xl = self.xen.xl_file(self.kernel)

    def boot(self) -> None:
        boot.boot(load(self.root, self.words, {}), self.xl, self.kernel)

    def _nodes(self) -> set[tuple[str, str]]:
        """Return what the domains say of themselves in XenStore."""
        return {(path.split("/", 4)[-1], value) for path, value in self.xen.store("/local/domain").items()}

    def wait_until_it_obeys(self) -> None:
        """Wait until the domain has told Xen that it can be asked to shut down."""
        deadline = time.monotonic() + 60
        while ("control/feature-poweroff", "1") not in self._nodes():
            assert time.monotonic() < deadline, "it never said that it can be asked to shut down"
            time.sleep(0.01)

    def killed(self, at: int) -> str | None:
        """Boot in a process that is killed at a step; return what that is, None where there is no such step."""
        return self._forked(at, lambda _: os.kill(os.getpid(), signal.SIGKILL))

    def cut(self, at: int | str, how: str, output: str = "kept") -> str | None:
        """Boot in a process that loses the host at a command, or at all that begin with a text; return what that is.

        It is lost before or after the command is done, for good or for a moment.
        """

        def cut(what: str) -> None:
            self.host.is_lost = how != "before, for a moment"
            if how.startswith("before"):
                raise LostError("the connection broke")
            self.host.is_back = how == "after, for a moment"

        return self._forked(at, cut, output=output, commands_only=True)

    def unread(self, output: str, at: int, kill_at: int = -1) -> int:
        """Boot in a process with output that cannot be written, or vanishes at a step; return the number of steps."""
        self._forked(at, lambda _: None, output=output, kill_at=kill_at)
        return len((self.root / "steps").read_text().splitlines())

    def _forked(
        self,
        at: int | str,
        blow: Callable[[str], None],
        *,
        output: str = "kept",
        kill_at: int = -1,
        commands_only: bool = False,
    ) -> str | None:
        told, steps = self.root / "cut-off", self.root / "steps"

        lose = contextlib.nullcontext

        def show(what: str) -> None:
            told.write_text(what)
            lose()
            blow(what)

        self.words["boot.console"] = "print"
        pid = os.fork()
        if pid == 0:
            try:
                lose = redirect(output, self.root / "said")
                self.host.fuse = Fuse(at, show, commands_only=commands_only, kill_at=kill_at, log=steps)
                self.boot()
            except UnibuildError as error:
                print(error, flush=True)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        self.words["boot.console"] = "none"
        return told.read_text() if told.exists() else None

    @property
    def running(self) -> list[str]:
        """The names of the domains that run."""
        return [one["name"] for one in self.xen.domains().values() if one["reason"] is None and not one["paused"]]

    def check(self) -> None:
        """See that there is one domain, the one that is written down, and nothing besides."""
        (domain,) = self.xen.domains().values()
        assert domain["script"][0] == "say next"
        assert (domain["name"], domain["reason"], domain["paused"]) == ("hello", None, 0)
        known = records.load(self.root / ".unibuild", self.host.name)
        assert (known.good.uuid, known.pending) == (domain["uuid"], None)
        marks = self.xen.store("/unibuild/domains")
        assert [path.rpartition("/")[2] for path in marks] == [domain["uuid"]]
        assert [path for path in self.xen.store("/unibuild/lock") if path.count("/") > 3] == []
        copies = [path.name for path in self.xen.world.glob(".cache/unibuild/*/*")]
        assert len(copies) in (0, 2), copies
        assert [path.name for path in (self.root / ".unibuild").rglob("*.tmp") if "generations" not in path.parts] == []


@pytest.fixture
def case(tmp_path, xen, monkeypatch) -> Iterator[Callable[..., Case]]:
    """Make a world after the other; a replaced file of unibuild is a step."""
    for module in (console, replacement):
        monkeypatch.setattr(module, "QUIET", 0.02)
        monkeypatch.setattr(module, "SILENT", 0.3)
    monkeypatch.setenv("STANDIN_ATTACH", "0")
    made: list[Case] = []

    def make(kind: type[Played] = Here, free: int = 512) -> Case:
        for case in made[-1:]:
            (case.xen.world / "over").touch()
        made.append(Case(tmp_path / f"case{len(made)}", xen, monkeypatch, kind, free))
        return made[-1]

    replace = Path.replace

    def counted(path: Path, target: Path) -> Path:
        if ".unibuild" in path.parts:
            made[-1].host.fuse.step(f"write {Path(target).name}")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", counted)
    yield make
    for case in made[-1:]:
        (case.xen.world / "over").touch()


@pytest.fixture
def steps_of(request) -> Callable[[int, int], list[int]]:
    """Choose steps at random, the same ones for the same test; all of them with ``--every-step``."""

    def choose(steps: int, sample: int) -> list[int]:
        if request.config.getoption("every_step"):
            return list(range(steps))
        return sorted(random.Random(request.node.name).sample(range(steps), min(sample, steps)))

    return choose


def first_boot(case: Case) -> None:
    case.write(*NEW)


def alongside(case: Case) -> None:
    case.write(*OLD)
    case.boot()
    case.wait_until_it_obeys()  # else it is not asked to shut down, and that step is none
    case.is_first = False
    case.write(*NEW)


def stop_first(case: Case) -> None:
    (case.xen.world / "free").write_text("40")
    alongside(case)


def rollback(case: Case) -> None:
    """The old one goes first, and Xen refuses the new one."""
    stop_first(case)
    case.write(content="no kernel")


def not_ready(case: Case) -> None:
    """The new domain replaces the old one, and is not good."""
    alongside(case)
    case.words |= {"boot.ready.console": "never said", "boot.ready.timeout": "0.2"}


def then_all_is_well(case: Case, capfd: pytest.CaptureFixture[str]) -> None:
    """Check that the next run reports a lost domain, succeeds, and leaves nothing behind."""
    running = case.running
    assert len(running) <= 1
    case.words = {key: word for key, word in case.words.items() if "ready" not in key} | {"boot.grace": "0"}
    case.write("say next", "obey")
    capfd.readouterr()
    case.boot()
    err = capfd.readouterr().err
    assert running or case.is_first or "no domain runs" in err, err
    case.check()


def all_is_put_right(case: Case) -> None:
    """See that a run that failed has left no domain but the one that runs, or has said that it is lost."""
    said = (case.root / "said").read_text()
    names = [one["name"] for one in case.xen.domains().values() if one["reason"] is None]
    assert names == case.running, said
    assert names == ["hello"] or "no domain runs" in said, said
    scripts = [one["script"] for one in case.xen.domains().values() if one["reason"] is None]
    if "the old hello runs on" in said or "generation 1 runs again" in said:
        assert scripts == [[*OLD]], said
    elif "replaced hello; downtime" in said:
        assert scripts == [[*NEW]], said


@contextlib.contextmanager
def telling(step: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        error.add_note(f"after the run that was cut off at: {step}")
        raise


SCENES = [(first_boot, 16), (alongside, 20), (stop_first, 18), (rollback, 24), (not_ready, 30)]


FAILING_DOMAIN = """
import os, sys
sys.path.insert(0, sys.argv[1])
import xen
try:
    for call in (["create", "-p", sys.argv[2]], ["unpause", "hello"]):
        xen.play("xl", *call)
finally:
    with open(sys.argv[3], "a") as processes:
        print(os.getpid(), file=processes)
    os.wait()
"""


def test_domain_that_fails_ends_its_process(xen, tmp_path):
    xl = xen.xl_file(xen.kernel("unknown word"))
    argv = [sys.executable, "-c", FAILING_DOMAIN, str(Path(standins.__file__).parent), str(xl), str(tmp_path / "pids")]
    process.run(argv, cwd=tmp_path)
    assert len((tmp_path / "pids").read_text().split()) == 1


@pytest.mark.long
@pytest.mark.parametrize(("scene", "steps"), SCENES)
def test_a_run_that_is_killed_at_any_step(case, capfd, scene, steps):
    for step in range(100):
        one = case()
        scene(one)
        what = one.killed(step)
        if what is None:
            break
        with telling(what):
            then_all_is_well(one, capfd)
    assert step >= steps


@pytest.mark.long
@pytest.mark.parametrize(
    ("kind", "how"),
    [(Here, "before"), (There, "after"), (Here, "before, for a moment"), (Here, "after, for a moment")],
)
def test_a_host_that_is_lost_at_any_step(case, capfd, kind, how):
    verbs = set()
    for step in range(100):
        one = case(kind)
        alongside(one)
        what = one.cut(step, how)
        if what is None:
            break
        verbs.add(" ".join(what.split()[:2]))
        with telling(what):
            if how.endswith("for a moment"):
                all_is_put_right(one)
            then_all_is_well(one, capfd)
    said = (one.root / "said").read_text()
    assert verbs >= {"xl create", "xl rename", "xl shutdown", "xl unpause", "xl destroy"}, said


@pytest.mark.parametrize("scene", [first_boot, alongside, stop_first])
def test_a_domain_that_was_started_runs_on_after_the_host_was_lost(case, capfd, scene):
    one = case()
    scene(one)
    assert one.cut("xl unpause", "after, for a moment") is not None
    assert [found["script"] for found in one.xen.domains().values() if found["reason"] is None] == [[*NEW]]
    assert one.running == ["hello"]
    then_all_is_well(one, capfd)


def is_complete(case: Case, scene: Callable[[Case], None]) -> None:
    """See that a run did all that it does when its output is read: the new domain is good, or the old one is back."""
    (one,) = case.xen.domains().values()
    failed = scene in (rollback, not_ready)
    assert (one["script"], one["name"], one["reason"], one["paused"]) == ([*(OLD if failed else NEW)], "hello", None, 0)
    known = records.load(case.root / ".unibuild", case.host.name)
    assert (known.good.uuid, known.pending) == (one["uuid"], None)


@pytest.mark.parametrize("output", ["closed", "full", "gone"])
@pytest.mark.parametrize("scene", [scene for scene, _ in SCENES])
def test_unwritable_output_stops_nothing(case, capfd, steps_of, scene, output):
    for step in steps_of(30 if output == "gone" else 1, 2):
        one = case()
        scene(one)
        one.unread(output, step)
        with telling(f"step {step}"):
            is_complete(one, scene)
            then_all_is_well(one, capfd)


@pytest.mark.parametrize("output", ["closed", "full", "gone"])
@pytest.mark.parametrize("scene", [scene for scene, _ in SCENES])
def test_a_run_that_is_killed_while_nobody_reads_its_output(case, capfd, steps_of, scene, output):
    for step in steps_of(30, 1):
        one = case()
        scene(one)
        one.unread(output, step // 2, kill_at=step)
        with telling(f"step {step}"):
            then_all_is_well(one, capfd)


@pytest.mark.parametrize("output", ["closed", "full", "gone"])
@pytest.mark.parametrize("how", ["before", "after", "before, for a moment", "after, for a moment"])
def test_a_host_that_is_lost_while_nobody_reads_the_output(case, capfd, steps_of, how, output):
    for step in steps_of(10, 1):
        one = case()
        alongside(one)
        assert one.cut(step, how, output) is not None
        with telling(f"step {step}"):
            then_all_is_well(one, capfd)


@pytest.mark.parametrize("scene", [alongside, not_ready])
def test_last_good_generation_returns_after_a_killed_run(case, steps_of, scene):
    for step in steps_of(34, 5):
        one = case()
        scene(one)
        what = one.killed(step) or "its end"
        proven = {
            boot.uuid for kept in GenerationStore(one.root / ".unibuild").all() for boot in kept.boots if boot.good
        }
        was_new = NEW in {tuple(found["script"]) for found in one.xen.domains().values() if found["uuid"] in proven}
        one.words |= {"boot.ready.console": "never said", "boot.ready.timeout": "0.2"}
        one.write("say next", "obey")
        with telling(what), pytest.raises(NotReadyError):
            one.boot()
        with telling(what):
            assert [found["script"] for found in one.xen.domains().values()] == [[*(NEW if was_new else OLD)]]
