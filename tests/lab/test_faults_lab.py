"""What goes wrong on the real Xen of the lab: afterwards one good domain runs or is named as lost, and boot works.

tests/deploy/test_faults.py has the whole table, on the stand-ins.
"""

import os
import re
import signal
import subprocess
import sys

import pytest

from unibuild.deploy import boot
from unibuild.errors import DomainError, NotReadyError
from unibuild.graph import xl_file
from unibuild.host import toolstack
from unibuild.settings.loader import load

pytestmark = pytest.mark.lab

FAULTY = """
import os, re, signal, sys
from pathlib import Path
from unibuild.util import process
from unibuild.errors import UnibuildError
from unibuild.host.base import Host
from unibuild.host.ssh import Ssh
from unibuild.settings.loader import load
from unibuild.deploy import boot; from unibuild.deploy import hosts

root, xl, kernel, accel, fault, verb, count = sys.argv[1:]
left = int(count)


def is_the_one(argv):
    global left
    left -= list(argv[:2]) == ["xl", verb]
    return not left and list(argv[:2]) == ["xl", verb]


class Faulty(Ssh):
    cuts = False

    def run(self, argv, **how):
        if is_the_one(argv) and fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(argv, **how)

    def run_all(self, steps, **how):
        if fault == "kill":  # each command of the batch is a step
            return Host.run_all(self, steps, **how)
        self.cuts = any([is_the_one(step.argv) for step in steps])
        return super().run_all(steps, **how)

    def _start(self, call, stdin, stdout):
        child = super()._start(call, stdin, stdout)
        if fault == "cut" and self.cuts:
            self.cuts = False
            said = process.run(["ssh", "-F", str(self.config), "-O", "check", self.destination]).stderr.decode()
            os.kill(int(re.search(r"pid=(\\d+)", said)[1]), signal.SIGKILL)
        return child


hosts.ssh.Ssh = Faulty
try:
    boot.boot(load(Path(root), {"boot.console": "none", "lab.accel": accel}, {}), Path(xl), Path(kernel))
except UnibuildError as error:
    sys.exit(f"{error}\\n[{error.exit_code}]")
"""
ACCEL = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")


class Tree:
    """A project with a kernel that is built already; each boot has other arguments, so that it is a new one."""

    def __init__(self, root, kernels, dom0) -> None:
        root.mkdir()
        self.root, self.kernel, self.dom0 = root, kernels.pv, dom0
        (root / "unibuild.toml").write_text('name = "hello"\nhost = "lab"\n[xl]\nmemory = 32\n')
        self.words = {"boot.wait": "1", "boot.console": "none", "lab.accel": ACCEL}
        self.count = 0

    def prepare(self, **words: str):
        """Return what `boot` takes; the words are settings (`__` is a dot)."""
        self.count += 1
        told = {"xl.cmdline": f"boot={self.count}", **{key.replace("__", "."): value for key, value in words.items()}}
        project = load(self.root, {**self.words, **told}, {})
        path = self.root / "hello.xl"
        path.write_text(xl_file.render(project, self.kernel, None))
        return project, path, self.kernel

    def boot(self, **words: str) -> None:
        boot.boot(*self.prepare(**words))

    def start(self, fault: str = "", verb: str = "", count: int = 1) -> subprocess.Popen:
        """Boot in a process of its own, which meets a fault at a command of xl's."""
        _, path, kernel = self.prepare()
        argv = [sys.executable, "-c", FAULTY, *map(str, (self.root, path, kernel)), ACCEL, fault, verb, str(count)]
        return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)

    def hurt(self, *fault: object) -> tuple[int, str]:
        """Boot so to the end; return the exit code and what was said."""
        with self.start(*fault) as program:
            _, said = program.communicate(timeout=250)
        return program.returncode, said

    @property
    def running(self) -> list[toolstack.Domain]:
        return [domain for domain in self.dom0.toolstack.list_domains() if domain.domid]

    def boots_again(self) -> None:
        """See that the next boot works, and leaves one domain and nothing besides."""
        self.boot()
        (domain,) = self.running
        assert (domain.name, domain.has_ended, domain.is_paused) == ("hello", False, False)
        found = self.dom0.run(["xenstore-ls", "-f", "/unibuild"]).text
        assert re.findall(rf'/domains/(\S+) = "\S+:{self.root}"', found) == [domain.uuid]
        assert not re.findall(r"/lock/\S+/", found)


@pytest.fixture
def tree(tmp_path, dom0, hello_kernels):
    return Tree(tmp_path / "tree", hello_kernels, dom0)


def test_a_run_that_is_killed_in_a_swap_and_one_that_loses_its_connection_there(tree, capfd):
    tree.boot()
    for step, sentence in {
        ("rename", 2): "which runs on",
        ("unpause", 1): "after it stopped the old hello; no domain runs on lab now",
        ("destroy", 1): "while it waited for hello to be ready",
    }.items():
        assert tree.hurt("kill", *step)[0] == -signal.SIGKILL
        capfd.readouterr()
        tree.boots_again()
        assert sentence in capfd.readouterr().err, step
    code, said = tree.hurt("cut", "shutdown")
    assert (code, "replaced hello; downtime" in said) == (0, True), said
    tree.boots_again()


def test_memory_for_one_only(tree, dom0, capfd):
    free = int(dom0.toolstack.info()["free_memory"])
    tree.boot(xl__memory=str(free * 2 // 3))
    tree.boot(xl__memory=str(free * 2 // 3))
    assert re.search(r"the old hello is stopped first: lab has \d+ MiB of memory left", capfd.readouterr().err)
    before = tree.running
    with pytest.raises(DomainError, match=rf"hello needs {free * 2} MiB of memory"):
        tree.boot(xl__memory=str(free * 2))
    assert [domain.uuid for domain in tree.running] == [domain.uuid for domain in before]
    tree.boots_again()


def test_domain_that_dies_and_domain_that_is_never_ready(tree):
    tree.boot()
    for cmdline, timeout, sentence in (
        ("crash=1", "120", "hello crashed before it was ready"),
        ("quiet", "2", "not ready within 2 s"),
    ):
        with pytest.raises(NotReadyError, match=sentence) as error:
            tree.boot(xl__cmdline=cmdline, boot__ready__console="^tick", boot__ready__timeout=timeout)
        assert "generation 1 runs again as domain" in error.value.hint
        assert [domain.name for domain in tree.running] == ["hello"]
    tree.boots_again()


def test_a_megabyte_of_console_before_the_end(tree, capfd):
    with pytest.raises(DomainError, match="hello crashed"):
        tree.boot(xl__cmdline="lines=52000 crash=1", boot__console="print", boot__wait="240")
    lines = capfd.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("line ")] == [f"line {n} of 52000" for n in range(1, 52001)]
    assert sum(len(line) + len("\r\n") for line in lines) > 1 << 20
    assert tree.running == []


def test_two_boots_at_the_same_moment(tree, dom0, tmp_path, hello_kernels):
    other = Tree(tmp_path / "other", hello_kernels, dom0)
    programs = [one.start() for one in (tree, tree, other)]
    said = [program.communicate(timeout=250)[1] for program in programs]
    codes = [program.returncode for program in programs]
    assert 0 in codes, "".join(said)
    assert [domain.name for domain in tree.running] == ["hello"]
    for code, words in zip(codes, said, strict=True):
        assert code == 0 or re.search("is in use by process|is being changed by|belongs to", words), words
    winner = tree if 0 in codes[:2] else other
    winner.boots_again()
