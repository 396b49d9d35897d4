"""`doit boot` and `unibuild boot` from the build to the domain, on a host that stands in for Xen."""

import os
import shutil

import pexpect
import pytest


@pytest.fixture
def project(tree, xen, hello_kernels):
    """A tree with a build that copies a real kernel, and a host for it."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", 'name = "hello"\nhost = "local"\n' + tree.read("unibuild.toml"))
    return tree


def created(xen):
    return sum(call[0] == "create" for call in xen.calls("xl"))


def domain(xen):
    (only,) = xen.domains().values()
    return only


@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_boot_builds_and_boots_and_does_nothing_the_second_time(project, xen, program):
    said = project.run(program, "boot", "boot.ready.console=booted", "boot.wait=0")
    assert said.index("build: ") < said.index("xl: ") < said.index("boot: ") < said.index("booted")
    assert domain(xen)["name"] == "hello"
    before = len(xen.calls("xl"))
    assert project.run(program, "boot", "boot.wait=0") == "boot: the domain runs already, and nothing has changed\n"
    assert len(xen.calls("xl")) - before == 1, "one query, and nothing else"


def test_wait_is_an_option_of_the_goal_too(project):
    assert "booted" in project.run("doit", "boot", "--wait", "0", "boot.ready.console=booted")


def test_identical_kernel_is_not_booted_again(project, xen):
    project.run("doit", "boot", "boot.console=none")
    project.write("main.c", "two")
    assert "the domain runs already" in project.run("doit", "boot", "boot.console=none")
    assert (project.log, created(xen)) == (["built", "built"], 1)


def test_changed_kernel_or_setting_replaces_the_domain(project, xen, hello_kernels):
    project.run("doit", "boot", "boot.console=none")
    shutil.copy(hello_kernels.pvh, project.root / "base.bin")
    project.write("main.c", "two")
    project.run("doit", "boot", "boot.console=none")
    project.run("doit", "boot", "boot.console=none", "xl.memory=48")
    assert (created(xen), domain(xen)["memory"]) == (3, 48)


def test_a_domain_is_not_booted_again_because_its_tree_moved(project, xen, hello_kernels):
    (project.root / "data.img").write_bytes(bytes(512))
    words = ("boot", "boot.console=none", "xl.disk.xvda.target=data.img", "xl.disk.xvda.access=ro")
    project.run("doit", *words)
    moved = type(project)(project.root.rename(project.root.with_name("moved")))
    moved.run("doit", *words)
    assert moved.run("doit", *words).endswith("boot: the domain runs already, and nothing has changed\n")
    assert f"'{moved.root}/.unibuild/hello.xen'" in moved.read(".unibuild/hello.xl").replace('"', "'")
    assert (moved.log, created(xen)) == (["built"], 1)
    moved.run("doit", *words[:2])  # without the disk
    assert created(xen) == 2


def test_copy_of_a_tree_boots_its_own_edits(project, xen, hello_kernels):
    project.run("doit", "boot", "boot.console=none")
    copy = type(project)(project.root.with_name("copy"))
    shutil.copytree(project.root, copy.root)  # with dates
    copy.run("doit", "boot", "boot.console=none")
    assert created(xen) == 1
    shutil.copy(hello_kernels.pvh, copy.root / "base.bin")
    copy.run("doit", "boot", "boot.console=none")
    assert created(xen) == 2


def test_an_ended_domain_is_booted_again(project, xen):
    project.run("doit", "boot", "boot.console=none")
    project.run("doit", "destroy")
    assert xen.domains() == {}
    project.run("doit", "boot", "boot.console=none")
    assert created(xen) == 2


@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_a_foreign_domain_of_that_name_has_its_exit_code(project, xen, program):
    kernel = xen.kernel("stay")
    project.run("xl", "create", "-p", str(xen.xl_file(kernel)), "uuid='11111111-1111-1111-1111-111111111111'")
    assert "hello" in project.run(program, "boot", code=5)
    assert created(xen) == 1


def test_a_host_that_refuses_has_its_exit_code(project, xen):
    xen.refuse("ssh", "ssh: connect to host there port 22: Connection refused")
    project.run("doit", "boot", "host=ssh://there", code=4)


def test_staleness_query_starts_no_lab(project):
    said = project.run("doit", "list", "-s", "host=lab", "--template", "{status} {name}")
    assert "R boot" in said


def test_broken_pipe_reports_that_the_domain_runs(project, xen):
    (xen.world / "script").write_text("say alpha\nsleep 1\nsay beta\nsleep 1\nsay gamma\nstay\n")
    said = project.run("bash", "-c", f"{project.bin}/unibuild boot | grep -m1 alpha; echo code ${{PIPESTATUS[0]}}")
    assert said.startswith("alpha\n")
    assert "hello runs as domain 1 of local" in said
    assert said.endswith("code 141\n")


SSH = """#!/bin/sh
case "$*" in *'xl)\\042 {verb}'*) {first};; esac
{real}"""


# Until Ctrl-C, or the end of the tests.
CAUGHT = f"trap 'exit 255' INT; echo here >/dev/tty; while test -d /proc/{os.getpid()}; do sleep 0.1; done; exit 1"


def interrupted(project, xen, program, verb, first):
    """Boot, and press Ctrl-C while ssh runs `xl verb`, for which it does ``first``."""
    ssh = xen.world / "bin" / "ssh"
    ssh.write_text(SSH.format(verb=verb, first=first, real=ssh.read_text().partition("\n")[2]))
    argv = ["boot", "host=ssh://there"]
    run = pexpect.spawn(str(project.bin / program), argv, cwd=str(project.root), encoding="utf-8", timeout=60)
    run.expect_exact("here")
    run.sendintr()
    run.expect(pexpect.EOF)
    run.close()
    assert run.exitstatus == 130
    assert run.before.endswith("error: interrupted\r\n")


@pytest.mark.parametrize(
    ("verb", "first"),
    [
        ("list", CAUGHT),
        ("create", "echo here >/dev/tty; sleep 1"),  # its own terminal is another group's: it goes on
        ("unpause", CAUGHT),
    ],
    ids=["list", "create", "unpause"],
)
@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_ctrl_c_during_ssh_interrupts_and_leaves_no_domain(project, xen, program, verb, first):
    interrupted(project, xen, program, verb, first)
    assert xen.domains() == {}


def test_ctrl_c_during_the_up_to_date_query(project, xen):
    project.run("unibuild", "boot", "host=ssh://there", "boot.console=none")
    interrupted(project, xen, "unibuild", "list", CAUGHT)
    assert domain(xen)["name"] == "hello"


def test_a_build_can_run_while_a_console_is_shown(project):
    boot = project.start("doit", "boot")
    while "booted" not in boot.stdout.readline():
        assert boot.poll() is None
    project.write("main.c", "two")
    project.run("unibuild", "build")
    assert project.log == ["built", "built"]
    boot.terminate()
    boot.communicate(timeout=60)
