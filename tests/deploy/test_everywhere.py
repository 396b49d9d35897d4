"""`--host all`: a goal on every host that has a name, at the same time."""

import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from unibuild.host import sudoers
from unibuild.host.xl import XlToolstack

HOSTS = """
name = "hello"
[hosts.one]
address = "ssh://one"
[hosts.two]
address = "ssh://two"
xl.memory = 48
"""


@pytest.fixture
def hosts(tree, xen, hello_kernels):
    """A tree and its two hosts, each with its own stand-ins."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", HOSTS + "[boot]\ngrace = 0.0\n" + tree.read("unibuild.toml"))
    worlds = {name: xen.world.with_name(name) for name in ("one", "two")}
    for world in worlds.values():
        world.mkdir()
    ssh, real = xen.world / "bin" / "ssh", xen.world / "bin" / "real-ssh"
    ssh.rename(real)
    cases = "".join(f'*" -- {name}"*) STANDIN={world};; ' for name, world in worlds.items())
    ssh.write_text(f'#!/bin/sh\ncase " $*" in {cases} esac\nexport STANDIN\nexec {real} "$@"\n')
    ssh.chmod(0o755)
    yield {name: type(xen)(world) for name, world in worlds.items()}
    for world in worlds.values():
        (world / "over").touch()


def rows(said):
    """Return what the table at the end says of each host."""
    table = said[said.index("HOST ") :].splitlines()[1:]
    return {found[1]: found[2] for line in table if (found := re.match(r"(one|two) +(\S+(?: \S+)*)  ", line))}


def memory(hosts):
    return {name: [one["memory"] for one in host.domains().values()] for name, host in hosts.items()}


def test_boot_builds_once_and_boots_on_each(tree, hosts):
    said = tree.run("unibuild", "boot", "--host", "all")
    assert (tree.log, memory(hosts), rows(said)) == (
        ["built"],
        {"one": [32], "two": [48]},
        {"one": "done", "two": "done"},
    )
    assert re.search(r"^one \| unibuild: hello runs as domain \d+ of one", said, re.MULTILINE)


def test_only_commands_from_doctor_run_as_root(tree, hosts):
    tree.run("unibuild", "boot", "--host", "one", "boot.wait=0.1")
    tree.run("unibuild", "boot", "--host", "one", "xl.vcpus=2", "boot.console=none")
    tree.run("unibuild", "destroy", "--host", "one")
    assert {Path(call[2]).name for call in hosts["one"].calls("sudo")} <= set(sudoers.root_programs(XlToolstack))


def test_running_domains_are_left_alone(tree, hosts):
    tree.run("unibuild", "boot", "--host", "all")
    before = memory(hosts)
    said = tree.run("doit", "boot", "--host", "all")
    assert (rows(said), memory(hosts)) == ({"one": "done", "two": "done"}, before)
    assert re.search(r"^two \| boot: the domain runs already, and nothing has changed", said, re.MULTILINE)


def test_booting_on_two_hosts_in_turn_repeats_nothing(tree, hosts):
    for name in ("one", "two"):
        tree.run("unibuild", "boot", "--host", name, "boot.console=none")
    for name in ("one", "two", "one"):
        said = tree.run("unibuild", "boot", "--host", name, "boot.console=none")
        assert said == "boot: the domain runs already, and nothing has changed\n"


def test_destroy(tree, hosts):
    tree.run("unibuild", "boot", "--host", "all")
    tree.run("unibuild", "destroy", "--host", "all")
    assert memory(hosts) == {"one": [], "two": []}


def test_a_host_that_fails_leaves_the_others_alone(tree, hosts):
    hosts["two"].refuse("ssh", "ssh: connect to host two port 22: Connection refused")
    said = tree.run("unibuild", "boot", "--host", "all", code=4)
    assert (rows(said), memory(hosts)["one"]) == ({"one": "done", "two": "no host"}, [32])
    assert "boot failed on two" in said


def test_the_table_has_the_numbers_of_the_domains_and_the_errors(tree, hosts):
    tree.run("unibuild", "boot", "--host", "one", "boot.console=none")
    hosts["two"].refuse("xl-create", "libxl: error: no memory left")
    said = tree.run("unibuild", "boot", "--host", "all", "xl.vcpus=2", code=5)
    table = said[said.index("HOST ") :]
    (domain,) = hosts["one"].domains()
    assert re.search(rf"^one +done +{domain} ", table, re.MULTILINE), said
    assert re.search(r"^two +failed +\S+ s +\S+", table, re.MULTILINE), said


def test_host_that_needs_a_password_is_reported(tree, hosts):
    hosts["two"].refuse("sudo", "sudo: a password is required")
    said = tree.run("unibuild", "boot", "--host", "all", code=4)
    assert "two | error: cannot run xl as root on two: sudo refused: it wants a password" in said


def test_ctrl_c_ends_all(tree, hosts):
    run = tree.start("unibuild", "boot", "--host", "all", "boot.ready.console=never said", "boot.ready.timeout=60")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not all(host.domains() for host in hosts.values()):
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "Traceback" not in said


def test_all_without_named_hosts_is_a_readable_error(tree):
    assert '"all" means the hosts that have names' in tree.run("unibuild", "boot", "--host", "all", code=2)


@pytest.mark.parametrize("goal", ["publish_ami", "launch_ami", "redeploy"])
def test_ami_goals_take_one_host(tree, hosts, goal):
    said = tree.run("unibuild", goal, "--host", "all", "--plan", code=2)
    assert "this goal takes one host, not all\nhint: --host one or --host two" in said


def test_status_reports_all_hosts(tree, hosts):
    tree.run("unibuild", "boot", "--host", "all")
    said = tree.run("unibuild", "status", "--host", "all")
    assert re.search(r"^one +hello", said, re.MULTILINE)
    assert re.search(r"^two +hello", said, re.MULTILINE)
