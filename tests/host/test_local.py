"""This machine as the host, and sudo."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pexpect
import pytest
from sshd import open_python

import unibuild
from unibuild.errors import HostError, MissingError
from unibuild.host.local import Local, is_dom0

USER = f"unibuild-{os.getpid()}"
RUN = """
import sys
sys.path.insert(0, {package!r})
from unibuild.host.local import Local
from unibuild.errors import UnibuildError
import subprocess
host = Local()
try:
    print("first:", len(host.toolstack.list_domains()))
    print("second:", len(host.toolstack.list_domains(background=True)))
    with host.start(["xl", "stay"]) as child:
        print("child:", child.stdout.readline().decode().strip())
    print("ended:", child.poll() is not None)
except UnibuildError as error:
    print(type(error).__name__, error)
"""


def test_root_needs_no_sudo(xen):
    assert Local(uid=0).call(["xl", "list"]).argv == [f"{xen.world}/bin/xl", "list"]


def test_other_users_need_sudo_for_xl_only(xen):
    host = Local(uid=1000)
    assert host.call(["xl", "list"]).argv == ["sudo", "--", f"{xen.world}/bin/xl", "list"]
    assert host.call(["xl", "list"], background=True).argv[:3] == ["sudo", "-n", "--"]
    assert host.call(["ls", "/x"], root=False).argv[-1] == "/x"
    assert "sudo" not in host.call(["ls", "/x"], root=False).argv


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("sudo: a password is required", "it wants a password"),
        ("sudo: a terminal is required to read the password; either use the -S option", "it wants a password"),
        ("sudo: 3 incorrect password attempts", "the password was wrong"),
        ("ann is not in the sudoers file.", "its rules do not allow it"),
        ("Sorry, user ann is not allowed to execute '/usr/sbin/xl list' as root on x.", "its rules do not allow it"),
        ("sudo: sorry, you must have a tty to run sudo", "it wants a terminal"),
    ],
)
def test_sudo_refuses(xen, said, reason):
    xen.refuse("sudo", said)
    with pytest.raises(HostError, match=f"cannot run xl as root on this machine: sudo refused: {reason}"):
        Local(uid=1000).run(["xl", "list", "-v"])


def test_no_sudo(xen, monkeypatch):
    monkeypatch.setenv("PATH", str(xen.world))
    with pytest.raises(MissingError, match="the program sudo is not installed"):
        Local(uid=1000).run(["xl", "list"])


def test_no_xl(xen, monkeypatch):
    (xen.world / "bin" / "xl").unlink()
    with pytest.raises(MissingError, match="the program xl is not installed"):
        Local(uid=0).run(["xl", "list"])
    with pytest.raises(MissingError, match="the program xl is not installed"):
        Local(uid=1000).run(["xl", "list"])


def test_the_file_itself_is_used(tmp_path):
    assert Local().put(tmp_path / "k", own="x") == str(tmp_path / "k")


@pytest.mark.parametrize(("said", "expected"), [("control_d\n", True), ("", False), (None, False)])
def test_is_dom0(xen, tmp_path, said, expected):
    if said is not None:
        (tmp_path / "capabilities").write_text(said)
    assert is_dom0(tmp_path / "capabilities") is expected


def test_dom0_without_xl_does_not_count(xen, tmp_path, monkeypatch):
    (tmp_path / "capabilities").write_text("control_d\n")
    (xen.world / "bin" / "xl").unlink()
    assert not is_dom0(tmp_path / "capabilities")


@pytest.fixture(scope="module")
def user(tmp_path_factory):
    """An ordinary user who may use sudo with the password "secret", and an xl that only root may run."""
    if os.geteuid() != 0 or os.environ.get("CI") != "true":
        pytest.skip("makes a user of this machine: only as root and with CI=true")
    if not shutil.which("sudo"):
        pytest.skip("sudo is not installed")
    folder = Path("/tmp") / f"unibuild-sudo-{os.getpid()}"  # a folder that the user can reach
    for package in (unibuild, msgspec):  # the environment of the tests may be closed to the user
        shutil.copytree(Path(package.__file__).parent, folder / "package" / package.__name__)
    (folder / "bin").mkdir()
    (folder / "bin" / "xl").write_text(
        f"#!{sys.base_prefix}/bin/python3\nimport os, sys, time\n"
        'assert os.getuid() == 0\nprint("up" if sys.argv[1] == "stay" else "head", flush=True)\n'
        'time.sleep(600 if sys.argv[1] == "stay" else 0)\n'
    )
    (folder / "bin" / "xl").chmod(0o755)
    subprocess.run(["useradd", "--create-home", USER], check=True)
    subprocess.run(["chpasswd"], input=f"{USER}:secret\n", text=True, check=True)
    rule = Path("/etc/sudoers.d") / USER
    rule.write_text(f"{USER} ALL=(root) ALL\n")
    rule.chmod(0o440)
    yield folder
    rule.unlink()
    subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)
    shutil.rmtree(folder)


@pytest.fixture
def terminal(user):
    """Run the user's program on a terminal."""
    about = pwd.getpwnam(USER)
    argv = [f"--reuid={about.pw_uid}", f"--regid={about.pw_gid}", "--init-groups", "--inh-caps=-all"]
    code = RUN.format(package=str(user / "package"))
    with pexpect.spawn(
        "setpriv",
        [*argv, open_python(), "-I", "-c", code],
        env={"PATH": f"{user}/bin:/usr/bin:/bin", "HOME": about.pw_dir},
        cwd="/",
        encoding="utf-8",
        timeout=60,
    ) as spawned:
        yield spawned


def test_sudo_asks_once_and_background_commands_reuse_its_ticket(terminal):
    terminal.expect("password for")
    terminal.sendline("secret")
    terminal.expect("first: 0")
    terminal.expect("second: 0")
    terminal.expect("child: up")
    terminal.expect("ended: True")
    terminal.expect(pexpect.EOF)
    assert "password" not in terminal.before


def test_wrong_password_is_a_readable_error(terminal):
    for _ in range(3):
        terminal.expect("password for")
        terminal.sendline("wrong")
    terminal.expect("HostError cannot run xl as root on this machine: sudo refused: the password was wrong")


def test_ctrl_c_at_the_password(terminal):
    terminal.expect("password for")
    terminal.sendintr()
    terminal.expect("KeyboardInterrupt|HostError cannot run xl as root")
    terminal.expect(pexpect.EOF)
