"""unibuild doctor: what it finds, what is missing, and the sudoers lines."""

import json
import shutil
import subprocess

import pytest

from unibuild.cli import doctor as command
from unibuild.cli import doctor_checks
from unibuild.host import sudoers
from unibuild.host.ssh import Ssh
from unibuild.host.xl import XlToolstack
from unibuild.settings.model import Lab, Settings

TOML = """
host = "xen1"
[build]
kernel = "hello.xen"
[hosts.xen1]
address = "ssh://ann@xen1"
[hosts.xen2]
address = "ssh://xen2"
sudo = "never"
"""


@pytest.fixture
def project(tree, xen):
    tree.write("unibuild.toml", TOML)
    (xen.world / "ssh-config").write_text("user ann\nhostname xen1\n")
    listing = xen.world / "bin" / "ls"  # of the host
    listing.write_text('#!/bin/sh\nfor path; do case $path in */br0/bridge) echo "$path";; esac; done\n')
    listing.chmod(0o755)
    xen.info(xen_version="4.17.7", virt_caps="pv hvm hap", free_memory="400")
    return tree


@pytest.fixture
def doctor(project, capsys, monkeypatch):
    """Return a function that runs doctor and returns its findings by section and checked thing."""
    monkeypatch.chdir(project.root)

    def run(*words, code=0):
        assert command.main(["--json", *words]) == code
        result = json.loads(capsys.readouterr().out)
        return {part["name"]: {one["what"]: one for one in part["findings"]} for part in result["sections"]}

    return run


def states(findings):
    return {what: one["state"] for what, one in findings.items()}


def test_complete_host_has_only_good_findings(doctor):
    found = doctor()["host xen1 (ssh://ann@xen1)"]
    names = ("reach", "rights", "Xen", "memory", "XenStore", "room")
    assert states(found) == {**dict.fromkeys(names, "ok"), "bridges": "note"}
    assert found["Xen"]["text"] == "Xen 4.17.7, runs PV and PVH domains"


def test_doctor_changes_nothing_on_the_host(doctor, xen):
    doctor()
    assert {call[0] for call in xen.calls("xl")} <= {"info", "list"}


def test_sudoers_lines_are_printed(project, xen):
    output = project.run("unibuild", "doctor")
    assert f"ann ALL=(root) NOPASSWD: {xen.world}/bin/xl, \\" in output
    assert "whoever may run xl is as good as root there" in output


def test_missing_rights(doctor, xen):
    xen.refuse("sudo", "sudo: a password is required")
    found = doctor(code=3)["host xen1 (ssh://ann@xen1)"]
    assert found["rights"]["text"].startswith("sudo does not let ann run xl, xenstore-ls")
    assert "/usr/bin/tee -a /dev/pts/[0-9]" in found["rights"]["fix"]


def test_host_without_sudo(doctor):
    assert doctor("--host", "xen2")["host xen2 (ssh://xen2)"]["rights"]["text"] == "ann, without sudo"


def test_host_that_does_not_answer(doctor, xen):
    xen.refuse("ssh", "ssh: connect to host xen1 port 22: Connection refused")
    found = doctor(code=4)["host xen1 (ssh://ann@xen1)"]
    assert states(found) == {"reach": "silent"}


def test_all_hosts(doctor):
    assert [name for name in doctor("--host", "all") if name.startswith("host")] == [
        "host xen1 (ssh://ann@xen1)",
        "host xen2 (ssh://xen2)",
    ]


@pytest.mark.parametrize(
    ("caps", "state", "text"),
    [
        ("pv", "note", "Xen 4.17.7, runs PV domains only"),
        ("hvm hap", "note", "Xen 4.17.7, runs PVH domains only"),
        ("", "missing", "Xen 4.17.7 runs neither PV nor PVH domains"),
    ],
)
def test_domain_types_that_xen_supports(doctor, xen, caps, state, text):
    xen.info(xen_version="4.17.7", virt_caps=caps, free_memory="400")
    found = doctor(code=3 if state == "missing" else 0)["host xen1 (ssh://ann@xen1)"]["Xen"]
    assert (found["state"], found["text"]) == (state, text)


def test_project_that_cannot_be_built(doctor, project):
    (project.root / "Makefile").unlink()
    found = doctor(code=3)[f"project {project.root}"]
    assert found["toolchain"]["text"].startswith("nothing to build in")


def test_program_that_the_project_needs():
    found = {one.what: one for one in doctor_checks.machine({"make", "frobnicate"})}
    assert (found["make"].state, found["frobnicate"].state) == ("ok", "missing")


@pytest.mark.parametrize(("is_needed", "state"), [(True, "missing"), (False, "note")])
def test_lab_that_cannot_run_is_missing_only_if_needed(xen, tmp_path, is_needed, state):
    found = {one.what: one for one in doctor_checks.lab(Lab(image="no.box"), tmp_path, is_needed=is_needed)}
    assert (found["image"].state, found["lab"].text) == (state, "down")


def test_unreadable_settings(doctor, project):
    project.write("unibuild.toml", "[lab]\nmemroy = 5\n")
    found = doctor(code=3)[f"project {project.root}"]
    assert found["settings"]["text"].endswith("`[lab] memroy` is unknown")


def test_without_a_project_doctor_checks_the_machine(project, tmp_path):
    output = project.run("unibuild", "doctor", "--host", "xen1", cwd=tmp_path, code=2)
    assert "unknown host: xen1" in output
    assert "\nproject " not in project.run("unibuild", "doctor", "--host", "ssh://ann@xen1", cwd=tmp_path)


def test_wrong_setting_on_the_command_line_is_an_error(project):
    assert "`lab.memroy` is unknown" in project.run("unibuild", "doctor", "lab.memroy=5", code=2)


# --- the sudoers lines


@pytest.mark.skipif(shutil.which("visudo") is None, reason="no sudo here")
@pytest.mark.parametrize("user", ["ann", "#1000", "EXAMPLE\\ann"])
def test_printed_lines_are_valid_sudoers(tmp_path, user):
    programs = sudoers.root_programs(XlToolstack)
    paths = {name: f"/usr/bin/{name}" for name in programs}
    (tmp_path / "lines").write_text("\n".join(sudoers.sudoers(user, paths, programs)))
    (tmp_path / "lines").chmod(0o440)
    subprocess.run(["visudo", "-cf", tmp_path / "lines"], check=True)


def test_programs_are_found_where_sudo_finds_them(project, xen):
    assert sudoers.find(Ssh("there"))["tee"] == "/usr/bin/tee"


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "folder", ["Welcome to xen1!\n/home/ann/.cache/unibuild", "", "/", "//a//b", "a/../..", "/no\0"]
)
def test_free_space_check_ends_for_any_folder_name(xen, folder):
    host = Ssh("there")
    host.__dict__["folder"] = folder
    assert doctor_checks._check_space(host).what == "room"


@pytest.mark.parametrize("said", ["", "Welcome\n1 2\n", "1 2 /elsewhere\n", "x y /\n"])
def test_unexpected_output_of_stat_is_a_note(xen, said):
    (xen.world / "bin" / "stat").write_text(f"#!/bin/sh\nprintf '{said}'\n")
    (xen.world / "bin" / "stat").chmod(0o755)
    assert doctor_checks._check_space(Ssh("there")).state == "note"


@pytest.fixture
def homeless(monkeypatch):
    """A user without a home folder: neither HOME nor an entry in passwd."""
    monkeypatch.delenv("HOME")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pwd.getpwuid", lambda uid: (_ for _ in ()).throw(KeyError(uid)))


@pytest.mark.parametrize(("is_needed", "state"), [(True, "missing"), (False, "note")])
def test_user_without_a_home_is_a_finding(homeless, tmp_path, is_needed, state):
    (found,) = doctor_checks.lab(Lab(), tmp_path, is_needed=is_needed)
    assert (found.what, found.state) == ("lab", state)
    assert "XDG_CACHE_HOME" in found.fix


def test_host_is_unreachable_for_a_user_without_a_home(xen, homeless):
    (found,) = doctor_checks.look(Settings(host="ssh://there"))
    assert found.what == "reach"
    assert "XDG_CACHE_HOME" in found.fix
