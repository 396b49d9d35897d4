"""Booting against stand-ins of xl, xenstore, sudo and ssh."""

import dataclasses
import fcntl
import json
import re
import signal
import sys
import time
from pathlib import Path

import pexpect
import pytest

from unibuild.deploy import boot
from unibuild.deploy.console_session import console
from unibuild.deploy.destroy import destroy
from unibuild.deploy.up_to_date import is_current
from unibuild.domain import ownership
from unibuild.errors import DomainError, HostError, InputError
from unibuild.host import local
from unibuild.host.xl import XlToolstack
from unibuild.settings.loader import load


class Tree:
    """A project, its kernel and its .xl."""

    def __init__(self, root, xen) -> None:
        self.root, self.xen = root, xen
        self.words = {"host": "local"}
        (root / "unibuild.toml").write_text("")
        self.write("say up", "stay")

    def write(self, *script: str, xl: tuple[str, ...] = ()) -> None:
        self.stays = script[-1] == "stay"
        self.kernel = self.xen.kernel(*script)
        self.xl = self.xen.xl_file(self.kernel, *xl)

    @property
    def project(self):
        """Its settings: the console is read to the end, where there will be one."""
        return load(self.root, {"boot.wait": "0.1", **self.words} if self.stays else self.words, {})

    def boot(self) -> None:
        boot.boot(self.project, self.xl, self.kernel)

    def is_current(self) -> bool:
        return is_current(self.project, self.xl, self.kernel)

    def forget(self, owner: str | None = None) -> None:
        """Make the running domain one without a known owner, or with the given one."""
        (self.root / ".unibuild/domain.json").unlink()
        host = local.Local()
        for uuid in self.running():
            ownership.clear_owner(host, uuid)
            if owner:
                ownership.set_owner(host, uuid, owner)

    def running(self) -> list[str]:
        return [domain["uuid"] for domain in self.xen.domains().values()]


@pytest.fixture
def tree(tmp_path, xen):
    (tmp_path / "tree").mkdir()
    return Tree(tmp_path / "tree", xen)


@pytest.fixture(params=["local", "ssh://there"])
def tree_anywhere(tree, request):
    tree.words["host"] = request.param
    return tree


def test_the_lines_are_printed_and_kept(tree_anywhere, capfd):
    tree_anywhere.write("say one\\xff", "say two", "poweroff")
    tree_anywhere.boot()
    out, err = capfd.readouterr()
    assert out == "one\N{REPLACEMENT CHARACTER}\ntwo\n"
    assert err.endswith("unibuild: hello powered off\n")
    log = (tree_anywhere.root / ".unibuild/console/hello.log").read_bytes()
    assert re.fullmatch(rb"(?:\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z [^\n]*\n){2}", log)
    assert b"one\xff\n" in log
    assert tree_anywhere.running() == []


def test_second_boot_without_changes_does_nothing(tree_anywhere, capfd):
    tree_anywhere.boot()
    before = tree_anywhere.running()
    assert tree_anywhere.is_current()
    tree_anywhere.boot()
    assert capfd.readouterr().err.endswith("already, unchanged (domain 1)\n")
    assert tree_anywhere.running() == before


def test_is_current_queries_xl_at_most_once(tree):
    tree.boot()
    before = len(tree.xen.calls("xl"))
    assert tree.is_current()
    assert [call[0] for call in tree.xen.calls("xl")[before:]] == ["list"]
    tree.write("say new", "stay")
    assert not tree.is_current()
    assert len(tree.xen.calls("xl")) == before + 1


def test_a_touched_kernel_is_still_current(tree):
    tree.boot()
    tree.kernel.write_bytes(tree.kernel.read_bytes())
    assert tree.is_current()


def test_a_changed_ramdisk_replaces_the_domain(tree_anywhere):
    ramdisk = tree_anywhere.root / "initrd.img"
    ramdisk.write_bytes(b"one")
    tree_anywhere.write("say up", "stay", xl=(f"ramdisk = '{ramdisk}'",))
    tree_anywhere.boot()
    before = tree_anywhere.running()
    ramdisk.write_bytes(b"one")
    assert tree_anywhere.is_current()
    ramdisk.write_bytes(b"two")
    assert not tree_anywhere.is_current()
    tree_anywhere.boot()
    assert len(tree_anywhere.running()) == 1
    assert tree_anywhere.running() != before


def test_a_changed_kernel_replaces_the_domain(tree_anywhere):
    tree_anywhere.boot()
    before = tree_anywhere.running()
    tree_anywhere.write("say new", "stay")
    tree_anywhere.boot()
    assert len(tree_anywhere.running()) == 1
    assert tree_anywhere.running() != before


def test_stopped_domain_of_the_project_is_removed(tree):
    tree.write("until told", "crash")
    tree.words["boot.wait"] = "0.1"
    tree.boot()
    del tree.words["boot.wait"]
    (tree.xen.world / "told").touch()
    while [domain["reason"] for domain in tree.xen.domains().values()] == [None]:
        time.sleep(0.02)
    tree.write("say new", "stay")
    tree.boot()
    assert [domain["reason"] for domain in tree.xen.domains().values()] == [None]


def test_a_foreign_domain_of_that_name_is_left_alone(tree, capfd, fails):
    tree.boot()
    foreign = tree.running()
    tree.forget()
    with fails(DomainError, "hello", "local"):
        tree.boot()
    assert tree.running() == foreign


def test_foreign_domain_is_replaced_only_with_take_over(tree, fails):
    tree.boot()
    theirs = tree.running()
    tree.forget("bob@there:/src/hello")
    with fails(DomainError, "bob@there:/src/hello"):
        tree.boot()
    assert tree.running() == theirs
    boot.boot(dataclasses.replace(tree.project, take_over=True), tree.xl, tree.kernel)
    assert len(tree.running()) == 1
    assert tree.running() != theirs


def test_owner_recognizes_a_domain_without_records(tree):
    tree.boot()
    (tree.root / ".unibuild/domain.json").unlink()
    tree.boot()
    assert len(tree.running()) == 1


def test_missing_bridge_is_reported_before_the_old_domain_is_removed(tree_anywhere, fails):
    tree_anywhere.boot()
    before = tree_anywhere.running()
    tree_anywhere.write("stay", xl=("vif = ['bridge=nosuch0']",))
    with fails(DomainError, "nosuch0", "hello"):
        tree_anywhere.boot()
    assert tree_anywhere.running() == before


def test_too_little_memory_is_reported_before_the_old_domain_is_removed(tree, fails):
    tree.boot()
    before = tree.running()
    tree.write("stay", xl=("memory = 4096",))
    with fails(DomainError, 4096, 1024, "local"):
        tree.boot()
    assert tree.running() == before


def test_memory_that_dom0_can_release_is_left_to_xl(tree, fails):
    (tree.xen.world / "xen-commandline").write_text("")
    tree.write("stay", xl=("memory = 600",))
    with fails(DomainError, "local", "hello"):
        tree.boot()


@pytest.mark.parametrize(
    ("kernel", "xl", "sentence"),
    [
        ("#!kernel\nstay\n", "memory = 4096", "hello needs 4096 MiB of memory, and local has 1024 MiB in all"),
        ("no kernel\n", "", "Xen refused the kernel of hello"),
    ],
)
def test_refusal_of_xl_is_a_readable_error(tree, kernel, xl, sentence):
    tree.kernel.write_text(kernel)
    tree.xl = tree.xen.xl_file(tree.kernel, xl)
    with pytest.raises(DomainError, match=sentence):
        tree.boot()
    assert tree.running() == []


@pytest.mark.parametrize(
    ("script", "sentence"),
    [
        (["say Solo5: solo5_exit(2) called", "poweroff"], "hello powered off with exit code 2"),
        (["say oops", "crash"], "hello crashed"),
    ],
)
def test_failed_domain_is_an_error(tree, script, sentence):
    tree.write(*script)
    with pytest.raises(DomainError, match=f"^{sentence}") as error:
        tree.boot()
    told = re.search("console output: (.*)", error.value.hint)[1]
    assert script[0].removeprefix("say ") in Path(told).read_text()
    assert tree.running() == []


def test_a_host_has_its_own_record(tree):
    tree.boot()
    tree.words["host"] = "ssh://there"  # in the stand-ins' world both hosts are one
    destroy(tree.project)
    assert len(tree.running()) == 1
    destroy(load(tree.root, {"host": "local"}, {}))
    tree.boot()
    assert set(json.loads((tree.root / ".unibuild/domain.json").read_text())["hosts"]) == {"ssh://there"}


def test_host_with_two_names_has_one_domain(tree):
    tree.boot()
    tree.words["host"] = "ssh://there"
    tree.boot()
    assert len(tree.running()) == 1


def test_a_domain_is_found_by_another_name_of_its_host(tree, capfd):
    tree.words["host"] = "ssh://there"
    tree.boot()
    named = {"host": "xen1", "hosts.xen1.address": "ssh://there", "boot.wait": "0.1"}
    console(load(tree.root, named, {}))
    destroy(load(tree.root, named, {}))
    assert capfd.readouterr().err.endswith("unibuild: destroyed hello on ssh://there\n")
    assert tree.running() == []


def test_console_shows_output_since_detaching(tree_anywhere, capfd):
    tree_anywhere.write("say one", "until told", "say two", "poweroff")
    tree_anywhere.words["boot.wait"] = "0.1"
    tree_anywhere.boot()
    (tree_anywhere.xen.world / "told").touch()
    console(load(tree_anywhere.root, {"host": tree_anywhere.words["host"]}, {}))
    assert capfd.readouterr().out == "one\ntwo\n"
    assert len((tree_anywhere.root / ".unibuild/console/hello.log").read_text().splitlines()) == 2


def test_console_without_a_domain(tree):
    with pytest.raises(DomainError, match="no domain of this project is on local"):
        console(tree.project)


def test_destroy(tree_anywhere, capfd):
    tree_anywhere.boot()
    destroy(tree_anywhere.project)
    destroy(tree_anywhere.project)
    assert tree_anywhere.running() == []
    told = capfd.readouterr().err.splitlines()[-2:]
    where = tree_anywhere.words["host"]
    assert told == [f"unibuild: destroyed hello on {where}", f"unibuild: no domain of this project is on {where}"]


def test_console_none_only_starts_it(tree, capfd):
    tree.words["boot.console"] = "none"
    tree.boot()
    assert "`unibuild console` shows its console" in capfd.readouterr().err
    assert len(tree.running()) == 1


@pytest.mark.parametrize("shown", ["none", "print"])
def test_log_that_cannot_be_written_is_reported(tree, capfd, shown):
    tree.words |= {"boot.console": shown, "boot.ready.console": "up"}
    folder = tree.root / ".unibuild/console"
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file where a folder should be")
    tree.boot()
    assert str(folder) in capfd.readouterr().err
    assert len(tree.running()) == 1


def test_attach_needs_a_terminal(tree):
    tree.words["boot.console"] = "attach"
    with pytest.raises(InputError, match="needs a terminal"):
        tree.boot()


def test_a_remote_kernel_is_copied_once(tree):
    tree.words["host"] = "ssh://there"
    tree.boot()
    tree.xl = tree.xen.xl_file(tree.kernel, "vcpus = 1")
    tree.boot()
    copied = [name for command in tree.xen.remote() for name in re.findall(r"/([0-9a-f]{64}) \1 ", command)]
    assert len(copied) == len(set(copied)) == 3  # the kernel and two .xl


def test_a_failure_between_create_and_unpause_leaves_no_domain(tree, monkeypatch):
    monkeypatch.setattr(XlToolstack, "unpause", lambda *_: (_ for _ in ()).throw(HostError("gone")))
    with pytest.raises(HostError):
        tree.boot()
    assert tree.running() == []


def test_ctrl_c_while_xl_creates_leaves_no_domain(tree, monkeypatch):
    create = XlToolstack.create_paused

    def interrupted(*args: object, **words: object) -> None:
        create(*args, **words)
        raise KeyboardInterrupt

    monkeypatch.setattr(XlToolstack, "create_paused", interrupted)
    with pytest.raises(KeyboardInterrupt):
        tree.boot()
    assert tree.running() == []


def start_fails(patch: pytest.MonkeyPatch, failure: BaseException) -> None:
    """Let no paused domain be started, whether alone or together with something else."""
    clean_up = XlToolstack.clean_up

    def without_start(self, *what, start=None):
        if start:
            raise failure
        return clean_up(self, *what)

    patch.setattr(XlToolstack, "unpause", lambda *_: fail(failure))
    patch.setattr(XlToolstack, "clean_up", without_start)


@pytest.mark.parametrize("failure", [HostError("gone", hint="look"), KeyboardInterrupt()])
def test_failed_swap_reports_that_no_domain_runs(tree_anywhere, monkeypatch, capfd, failure):
    tree_anywhere.boot()
    tree_anywhere.write("say new", "stay")
    with monkeypatch.context() as patch, pytest.raises(type(failure)) as caught:
        start_fails(patch, failure)
        tree_anywhere.boot()
    told = getattr(caught.value, "hint", "") + capfd.readouterr().err
    assert re.search("old hello was stopped; no domain runs on|generation 1 could not be booted again; no domain", told)
    assert tree_anywhere.running() == []
    assert not tree_anywhere.is_current()


def test_failed_swap_boots_the_old_generation_again(tree_anywhere, monkeypatch):
    tree_anywhere.boot()
    tree_anywhere.write("say new", "stay")
    unpause = XlToolstack.unpause
    failures = [HostError("gone")]
    monkeypatch.setattr(XlToolstack, "unpause", lambda *what: fail(failures.pop()) if failures else unpause(*what))
    with pytest.raises(HostError, match="generation 1 runs again as domain 3"):
        tree_anywhere.boot()
    assert [domain["script"] for domain in tree_anywhere.xen.domains().values()] == [["say up", "stay"]]


def fail(error: BaseException) -> None:
    raise error


def test_failure_without_an_old_domain_mentions_none(tree, monkeypatch):
    monkeypatch.setattr(XlToolstack, "unpause", lambda *_: (_ for _ in ()).throw(HostError("gone")))
    with pytest.raises(HostError) as caught:
        tree.boot()
    assert caught.value.hint is None


def test_an_interrupt_as_soon_as_xl_has_created_leaves_no_domain(tree, monkeypatch):
    find = XlToolstack.find
    monkeypatch.setattr(
        XlToolstack, "find", lambda *args, **how: find(*args, **how) if how.get("background") else stop()
    )
    with pytest.raises(KeyboardInterrupt):
        tree.boot()
    assert tree.running() == []


def stop() -> None:
    raise KeyboardInterrupt


def test_copies_of_another_name_are_removed(tree):
    tree.words["host"] = "ssh://there"
    tree.boot()
    tree.xl = tree.xen.xl_file(tree.kernel, name="other")
    tree.boot()
    (cache,) = tree.xen.world.glob("home/.cache/unibuild")
    assert [(folder.name.split("-")[0], len([*folder.iterdir()])) for folder in sorted(cache.iterdir())] == [
        ("hello", 0),
        ("other", 2),
    ]


@pytest.fixture
def lab(tree, monkeypatch):
    """A lab that is down, and must not be started."""
    tree.boot()
    path = tree.root / ".unibuild/domain.json"
    path.write_text(path.read_text().replace('"local"', '"lab"'))
    tree.words["host"] = "lab"
    monkeypatch.setattr("unibuild.lab.vm.up", lambda *_: pytest.fail("it was started"))
    return tree


def test_a_lab_that_is_down_is_not_started_to_look_for_a_domain(lab, capfd):
    assert not lab.is_current()
    with pytest.raises(DomainError, match="no domain of this project is on lab: the lab is down"):
        console(lab.project)
    destroy(lab.project)
    destroy(lab.project)
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "unibuild: hello no longer existed on lab: the lab is down",
        "unibuild: no domain of this project is on lab",
    ]


ON_A_TERMINAL = """
import signal, sys
from pathlib import Path
from unibuild.settings.loader import load
from unibuild.deploy import boot
from unibuild.util.interrupts import exit_on_termination
exit_on_termination()
root, xl, kernel, console, host = sys.argv[1:]
boot.boot(load(Path(root), {"boot.console": console, "host": host}, {}), Path(xl), Path(kernel))
"""


@pytest.fixture
def terminal(tree_anywhere, on_terminals):
    """Boot on a terminal, as a user does."""

    def spawn(console: str, *script: str) -> pexpect.spawn:
        tree_anywhere.write(*script)
        where = [str(tree_anywhere.root), str(tree_anywhere.xl), str(tree_anywhere.kernel)]
        argv = ["-c", ON_A_TERMINAL, *where, console, tree_anywhere.words["host"]]
        on_terminals.append(pexpect.spawn(sys.executable, argv, encoding="utf-8", timeout=60))
        return on_terminals[-1]

    return spawn


def is_read(xen) -> bool:
    """Say whether a reader holds the console of the first domain."""
    with (xen.world / "1.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_on_a_terminal_the_console_is_attached(terminal, xen):
    spawned = terminal("auto", "say up", "echo", "stay")
    spawned.expect("Ctrl-\\] leaves it\r\n")
    spawned.expect("up\r\n")
    spawned.send("\x03")
    spawned.expect("key 3\r\n")
    spawned.send("\x1d")
    spawned.expect("hello runs as domain 1 of .*; `unibuild console` shows its console\r\n")
    spawned.expect(pexpect.EOF)
    assert not is_read(xen)
    assert len(xen.domains()) == 1


def test_ctrl_c_leaves_the_printed_console_and_the_domain_runs_on(terminal, xen):
    spawned = terminal("print", "say up", "stay")
    spawned.expect("up\r\n")
    spawned.sendintr()
    spawned.expect("hello runs as domain")
    spawned.expect("KeyboardInterrupt")
    spawned.expect(pexpect.EOF)
    assert not is_read(xen)
    assert len(xen.domains()) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_attached_restores_the_terminal_and_ends_the_reader(terminal, xen, number):
    spawned = terminal("attach", "say up", "stay")
    spawned.expect("up\r\n")
    assert not spawned.getecho()
    spawned.kill(number)
    spawned.expect(pexpect.EOF)  # an end with output that nobody has read is none
    assert spawned.getecho()
    assert not is_read(xen)
