"""A report is made whole, whatever the host and the files are like."""

import json
import shutil
import time
from pathlib import Path

import pytest

from unibuild.domain.crash import host_queries, report, symbols
from unibuild.domain.exit_status import DomainExit
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.host.toolstack import SHUTDOWN_REASONS

HERE = Path(__file__).parent
CRASHED = DomainExit(SHUTDOWN_REASONS[3], None)
BOOM = b"""\
Fatal error: exception Failure("boom")\r
Raised at Stdlib.failwith in file "stdlib.ml", line 29, characters 17-33\r
Called from Unikernel.Main.start in file "unikernel.ml", line 12, characters 4-19\r
Solo5: solo5_exit(2) called\r
"""


class Project:
    """A project with a domain that runs on the stand-ins."""

    def __init__(self, root: Path, xen, kernel: Path) -> None:
        self.root, self.xen, self.kernel = root, xen, kernel
        self.state = root / ".unibuild"
        self.host = Local(uid=0)
        (root / "hello.xl").write_text("name = 'hello'\nmemory = 32\n")
        self.host.toolstack.create_paused(
            str(xen.xl_file(xen.kernel("stay"))), name="hello", uuid="1" * 8 + "-2222" * 3 + "-" + "3" * 12
        )
        self.domain = self.host.toolstack.find(name="hello")

    def collect(self, end=CRASHED, said=b"tick 1\r\n", **changed):
        how = {
            "domain": self.domain,
            "name": "hello",
            "log": self.root / "hello.log",
            "kernel": self.kernel,
            "symbols": None,
            "xl": self.root / "hello.xl",
            "state": self.state,
            "facts": {"revision": "v1-3-gabc"},
        } | changed
        return report.collect(self.host, how.pop("domain"), end, said=said, **how)


@pytest.fixture
def project(tmp_path, xen, hello_kernels):
    root = tmp_path / "tree"
    root.mkdir()
    shutil.copytree(hello_kernels.pv.parent, root, dirs_exist_ok=True)
    return Project(root, xen, root / "hello-pv.xen")


def test_report_folder_contents(project):
    made = project.collect()
    assert made.folder.parent == project.state / "crashes"
    names = {"report.txt", "report.json", "console.log", "kernel", "hello.xl", "host.txt"}
    assert {path.name for path in made.folder.iterdir()} == names
    assert (made.folder / "kernel").read_bytes() == project.kernel.read_bytes()
    assert "$ xl dmesg\n(XEN) Xen version" in (made.folder / "host.txt").read_text()
    assert "v1-3-gabc" in (made.folder / "report.txt").read_text()


def test_an_exception_with_its_backtrace(project):
    made = project.collect(DomainExit(SHUTDOWN_REASONS[0], 2), BOOM)
    assert made.sentence == 'hello powered off with exit code 2: the OCaml exception Failure("boom") was not caught'
    assert made.details == (
        "Raised at Stdlib.failwith  stdlib.ml:29",
        "Called from Unikernel.Main.start  unikernel.ml:12",
    )
    result = json.loads((made.folder / "report.json").read_text())
    assert result["frames"][1]["line"] == 12
    assert result["end"] == {"why": "powered off", "code": 2}


def test_first_frame_of_the_project_is_always_shown(project):
    deep = b'Called from X.f in file "duniverse/x/x.ml", line 1, characters 1-2\r\n' * 20
    lines = BOOM.splitlines(keepends=True)
    made = project.collect(DomainExit(SHUTDOWN_REASONS[0], 2), b"".join((*lines[:2], deep, *lines[2:])))
    assert len(made.details) == 5
    assert made.details[-1].endswith("unikernel.ml:12")


def test_fault_from_xens_log_is_reported(project):
    project.xen.answer("xenctx", (HERE / "xenctx_pv.txt").read_text())
    log = (HERE / "xl_dmesg_pv.txt").read_text().replace("d114v0", f"d{project.domain.domid}v0")
    project.xen.answer("xl-dmesg", log)
    made = project.collect()
    assert made.sentence == "hello crashed: it wrote to 0x400000000, where no memory is mapped (#PF at 0x30e0)"
    assert "rip 00000000000030e0" in (made.folder / "report.txt").read_text()


def test_without_xenctx_xens_own_log_has_the_registers(project):
    (project.xen.world / "bin" / "xenctx").unlink()
    log = (HERE / "xl_dmesg_pv.txt").read_text().replace("d114v0", f"d{project.domain.domid}v0")
    project.xen.answer("xl-dmesg", log)
    result = json.loads((project.collect().folder / "report.json").read_text())
    assert result["processors"][0]["registers"]["rip"] == "0x30e0"
    assert result["missing"] == ["its registers: local lacks the program xenctx, which is part of Xen's utilities"]


def test_a_fault_that_the_kernel_handled_has_no_callers_of_its_handler(project):
    code = symbols.load(project.kernel)
    start = code.starts[code.names.index("power_off")]
    output = f"Solo5: trap: type=#GP ec=0x0 rip={start:#x} rsp=0x8000 rflags=0x6\r\n".encode()
    result = json.loads((project.collect(said=output).folder / "report.json").read_text())
    assert [frame["function"] for frame in result["frames"]] == ["power_off"]
    assert result["processors"]


def test_a_name_in_no_script_of_the_locale(project):
    made = project.collect(said='Fatal error: exception Failure("é")\n'.encode(), facts={"branch": "\udcff"})
    assert 'Failure("é")' in (made.folder / "report.txt").read_text("utf-8")


def test_a_domain_that_hangs(project):
    made = project.collect(end=None)
    assert made.sentence.startswith("hello still runs")
    assert "rip 00000000000013aa" in (made.folder / "report.txt").read_text()


def test_domain_with_a_fatal_message_counts_as_failed(project):
    assert (
        project.collect(end=None, said=b"Solo5: ABORT: a.c:1: no\n").sentence == "hello failed: it aborted: a.c:1: no"
    )


def test_explained_exit_has_no_frames(project):
    made = project.collect(DomainExit(SHUTDOWN_REASONS[0], 63), b"Solo5: solo5_exit(63) called\r\n")
    assert made.details == ()


def test_passwords_are_masked(project):
    (project.root / "hello.xl").write_text(
        "vncpasswd = 'se\\'cret'\nspicepasswd=\"secret\"\n"
        "vfb = ['vnc=1,vncpasswd=secret,vnclisten=0', \"vncpasswd=secret\"]\n"
    )
    text = (project.collect().folder / "hello.xl").read_text()
    assert "cret" not in text
    assert text.splitlines()[-1] == "vfb = ['vnc=1,vncpasswd=***,vnclisten=0', \"vncpasswd=***\"]"


def test_oldest_reports_are_removed(project, monkeypatch):
    monkeypatch.setattr(report, "KEEP", 2)
    (project.state / "crashes" / "mine").mkdir(parents=True)
    made = [project.collect().folder for _ in range(4)]
    kept = {path.name for path in (project.state / "crashes").iterdir()}
    assert kept == {"mine", *(folder.name for folder in made[2:])}


def test_kept_kernel_is_hard_linked(project):
    project.state.mkdir()
    own = project.state / "k"
    shutil.copy(project.kernel, own)
    assert (project.collect(kernel=own).folder / "kernel").samefile(own)
    assert not (project.collect().folder / "kernel").samefile(project.kernel)


def test_a_host_out_of_reach(project):
    project.xen.refuse("ssh", "ssh: connect to host there port 22: Connection refused")
    project.host = Ssh("there")
    made = project.collect(DomainExit(SHUTDOWN_REASONS[0], 2), BOOM)
    assert "boom" in made.sentence
    assert "cannot reach ssh://there: nothing listens on its SSH port" in (made.folder / "report.txt").read_text()


def test_a_host_that_does_not_answer(project, monkeypatch):
    monkeypatch.setattr(host_queries, "QUERY_TIMEOUT", 0.3)
    monkeypatch.setattr(host_queries, "BUDGET", 0.5)
    for name in ("xl", "xenctx"):
        (project.xen.world / "bin" / name).write_text("#!/bin/sh\nexec sleep 60\n")
    before = time.monotonic()
    made = project.collect()
    assert time.monotonic() - before < 30
    text = (made.folder / "report.txt").read_text()
    assert "no answer within" in text
    assert "local has already taken 0.5 s" in text


def test_report_without_domain_kernel_or_log(project):
    nowhere = project.root / "nowhere"
    made = project.collect(domain=None, kernel=nowhere / "k", xl=nowhere / "x", said=b"\xff\x00\x1b[31m")
    assert made.sentence == "hello crashed"
    text = (made.folder / "report.txt").read_text()
    assert f"there is no file {nowhere / 'k'}" in text
    assert "its .xl: No such file or directory" in text
    assert "\x1b" not in text


def test_unwritable_folder_is_reported(project):
    project.state.write_text("a file")
    made = project.collect()
    assert made.folder is None
    assert made.details[-1].startswith("cannot write the crash report: ")
