"""SSH hosts against a stand-in of OpenSSH's client."""

import os
import tempfile
import uuid
from pathlib import Path

import pytest

from unibuild.errors import CommandError, HostError, LostError, MissingError, SettingsError
from unibuild.host.ssh import Ssh, format_address, parse
from unibuild.host.ssh_errors import SshTarget, explain
from unibuild.host.toolstack import NewDomainRequest
from unibuild.util import files, process


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("ssh://xen", ("xen", None)),
        ("ssh://ann@xen.example.org:2222", ("ann@xen.example.org", 2222)),
        ("ssh://ann@10.0.0.1/", ("ann@10.0.0.1", None)),
        ("ssh://[fe80::1%eth0]:22", ("fe80::1%eth0", 22)),
    ],
)
def test_addresses(address, expected):
    assert parse(address) == expected


@pytest.mark.parametrize(
    "address",
    ["xen", "ssh://", "ssh://xen:0", "ssh://xen:99999", "ssh://-oProxyCommand=x", "ssh://-a@xen", "ssh://a b"],
)
def test_invalid_addresses_are_refused(address):
    with pytest.raises(SettingsError, match="is not the address of a Xen host"):
        parse(address)


def test_ipv6_address_round_trip():
    for address in ("ssh://ann@[::1]:22221", "ssh://[::1]", "ssh://ann@xen:22", "ssh://[fe80::1%eth0]:22"):
        assert format_address(*parse(address)) == address


def test_arguments_arrive(xen):
    said = Ssh("there").run(["printf", "%s|", "a b", "$HOME", "'", "", "\\", "!x", "a\nb", "ü"], root=False).text
    assert said == "a b|$HOME|'||\\|!x|a\nb|ü|"


def test_root_needs_no_sudo_and_another_user_does(xen):
    (xen.world / "ssh-config").write_text("user root\nhostname there\n")
    assert "sudo" not in xen.command_of(Ssh("root@there").call(["xl", "list"]).argv[-1])
    (xen.world / "ssh-config").write_text("user ann\nhostname there\n")
    assert 'sudo -n -- "$(command -v xl || echo xl)" list' in xen.command_of(Ssh("there").call(["xl", "list"]).argv[-1])
    assert xen.command_of(Ssh("there").call(["dd"], root=False).argv[-1]) == "dd"


def test_an_account_that_needs_no_sudo_finds_xl(xen):
    (xen.world / "ssh-config").write_text("user ann\nhostname there\n")
    host = Ssh("there", name="xen1", sudo=False)
    assert host.run(["xl", "list", "-v"]).text.startswith("Name")
    assert (host.name, host.address, xen.calls("sudo")) == ("xen1", "ssh://there", [])


INTERACTIVE = {  # lines of `ssh -G`, and what ssh does then where no option says otherwise
    "remotecommand tmux": 255,
    "forkafterauthentication yes": 255,
    "sessiontype none": 255,
    "localforward 1 a:1\nexitonforwardfailure yes": 255,
    "stdinnull yes": 0,
}


@pytest.mark.parametrize(("lines", "status"), INTERACTIVE.items())
def test_interactive_ssh_configuration_is_overridden(xen, lines, status):
    (xen.world / "ssh-config").write_text(f"user ann\nhostname there\n{lines}\n")
    plain = process.run(["ssh", "-T", "--", "there", "cat"], input=b"own", check=False)
    assert plain.returncode == status and not plain.stdout.endswith(b"own"), "the stand-in is too kind"
    assert Ssh("there").run(["cat"], input=b"own", root=False).stdout == b"own"


@pytest.mark.parametrize(
    "argv", [["-o", "NoSuchOption=1"], ["-o", "LogLevel=LOUD"], ["-o", "BatchMode"], ["-Z"]], ids=" ".join
)
def test_ssh_double_refuses_what_ssh_refuses(xen, argv):
    assert process.run(["ssh", *argv, "--", "there", "true"], check=False).returncode == 255


@pytest.fixture
def fragile(xen):
    """A connection that breaks after the first command that it carries."""
    ssh, real = xen.world / "bin" / "ssh", xen.world / "bin" / "real-ssh"
    ssh.rename(real)
    ssh.write_text(
        f"""#!/bin/sh
        case " $* " in *" -G "*) exec {real} "$@";; esac
        test -e {xen.world}/cut && exec {real} "$@"
        touch {xen.world}/cut; {real} "$@" >/dev/null 2>&1; exit 255
        """
    )
    ssh.chmod(0o755)
    return Ssh("there")


def test_query_is_repeated_after_a_broken_connection(fragile):
    assert fragile.run(["xl", "list", "-v"]).text.startswith("Name")


def test_action_is_not_repeated(fragile, xen):
    with pytest.raises(LostError, match="the connection to ssh://there broke"):
        fragile.run(["xl", "unpause", "0"])
    assert [call[-2:] for call in xen.calls("sudo")] == [["unpause", "0"]]


def test_copy_restarts_after_a_broken_connection(fragile, tmp_path):
    (tmp_path / "kernel").write_text("kernel")
    assert Path(fragile.put(tmp_path / "kernel")).read_text() == "kernel"


def launch(host, xen, *lines: str, upload: Path | None = None, on_put=lambda: None):
    """Create a domain on a host."""
    xl_file = xen.xl_file(xen.kernel("stay"), *lines)
    entry = ("/unibuild/domains/x", "ann")
    new = NewDomainRequest(xl_file, "guest", "hello", str(uuid.uuid4()), entry, upload=upload)
    return host.toolstack.launch(new, on_put)


EXTRA = [(), ("extra = '%s\\\\n $HOME `x` \xff'",), (f"extra = '{'x' * 40000}'",), ('extra = "' + "'" * 9000 + '"',)]


@pytest.mark.parametrize("lines", EXTRA, ids=["none", "odd", "long", "quotes"])
def test_launch_copies_its_files(xen, tmp_path, lines):
    (tmp_path / "kernel").write_bytes(os.urandom(300_000))
    launch(Ssh("there"), xen, *lines, upload=tmp_path / "kernel")
    copies = {path.read_bytes() for path in (xen.world / "home/.cache/unibuild/guest").iterdir()}
    assert copies == {(tmp_path / "kernel").read_bytes(), (xen.world / "hello.xl").read_bytes()}


def test_launch_restarts_an_interrupted_copy(xen, tmp_path):
    (tmp_path / "kernel").write_text("kernel")
    ssh, real = xen.world / "bin" / "ssh", xen.world / "bin" / "real-ssh"
    host = Ssh("there")
    host.toolstack.place(tmp_path / "kernel", folder="guest")
    ssh.rename(real)
    ssh.write_text(f'#!/bin/sh\ntest -e {xen.world}/cut && exec {real} "$@"\ntouch {xen.world}/cut; exit 255\n')
    ssh.chmod(0o755)
    assert launch(host, xen, upload=tmp_path / "kernel").name == "hello"
    assert "kernel" in {path.read_text() for path in (xen.world / "home/.cache/unibuild/guest").iterdir()}


def test_launch_is_not_repeated_once_the_domain_is_there(fragile, xen, tmp_path):
    (tmp_path / "kernel").write_text("kernel")
    (xen.world / "cut").touch()
    fragile.toolstack.place(tmp_path / "kernel", folder="guest")
    (xen.world / "cut").unlink()
    with pytest.raises(LostError):
        launch(fragile, xen, upload=tmp_path / "kernel")
    assert fragile.toolstack.find(name="hello").is_paused


def test_launch_reports_once_that_the_files_are_there(xen, tmp_path):
    (tmp_path / "kernel").write_text("kernel")
    host, reported = Ssh("there"), []
    for times in (1, 2):
        host.note_copies("guest", *host.run_all([host.list_copies("guest")]))
        domain = launch(host, xen, upload=tmp_path / "kernel", on_put=lambda: reported.append("there"))
        assert len(reported) == times
        host.toolstack.destroy(domain)
    assert len([command for command in xen.remote() if "sha256sum" in command]) == 1


def test_shared_connection_is_in_a_private_folder(xen, monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as cache:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        argv = Ssh("there").call(["true"]).argv
        path = next(option for option in argv if option.startswith("ControlPath="))
        assert path.startswith(f"ControlPath={cache}/unibuild/ssh/")
        assert "ControlMaster=auto" in argv
        assert (Path(cache) / "unibuild/ssh").stat().st_mode & 0o777 == 0o700


def test_users_own_shared_connection_is_used(xen):
    (xen.world / "ssh-config").write_text("user ann\ncontrolpath /home/ann/%C\ncontrolmaster auto\n")
    assert not any("Control" in option for option in Ssh("there").call(["true"]).argv)


def test_a_long_cache_folder_does_not_make_a_socket_too_long(xen, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 80)))
    path = next(option for option in Ssh("there").call(["true"]).argv if option.startswith("ControlPath="))
    assert path.startswith(f"ControlPath={tmp_path}/unibuild-")


def test_put_copies_once(xen, tmp_path):
    kernel = tmp_path / "k"
    kernel.write_bytes(b"kernel" * 1000)
    host = Ssh("there")
    path = host.put(kernel)
    before = len(xen.calls("ssh"))
    assert host.put(kernel) == path == f"{xen.world}/home/.cache/unibuild/{files.sha256(kernel)}"
    assert len(xen.calls("ssh")) == before + 1


def test_copies_are_for_the_user_alone(xen, tmp_path):
    kernel = tmp_path / "k"
    kernel.write_bytes(b"kernel")
    folder = xen.world / "home/.cache/unibuild"
    folder.mkdir(parents=True, mode=0o755)
    there = Path(Ssh("there").put(kernel))
    assert [oct(path.stat().st_mode & 0o777) for path in (folder, there)] == ["0o700", "0o600"]


def test_put_replaces_an_incomplete_copy(xen, tmp_path):
    kernel = tmp_path / "k"
    kernel.write_bytes(b"kernel")
    there = Path(Ssh("there").put(kernel))
    there.write_bytes(b"ker")
    Ssh("there").put(kernel)
    assert there.read_bytes() == b"kernel"
    assert [found.name for found in there.parent.iterdir()] == [there.name]


def test_working_copy_is_kept(xen, tmp_path):
    disk = tmp_path / "d"
    disk.write_bytes(b"old")
    there = Path(Ssh("there").put(disk, own="hello-xvda"))
    there.write_bytes(b"new")
    assert Path(Ssh("there").put(disk, own="hello-xvda")).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("program", "script", "sentence"),
    [
        ("dd", "echo 'dd: No space left on device' >&2; exit 1", r"ssh://there is full: .*/k \(0\.0 MiB\) there"),
        ("dd", "cat >/dev/null; echo x >${1#of=}", "arrived damaged on ssh://there"),
        ("dd", "echo 'dd: what' >&2; exit 1", "to ssh://there: dd: what"),
    ],
)
def test_a_copy_that_fails_leaves_nothing(xen, tmp_path, program, script, sentence):
    (xen.world / "bin" / program).write_text(f"#!/bin/sh\n{script}\n")
    (xen.world / "bin" / program).chmod(0o755)
    (xen.world / "home/.cache/unibuild").mkdir(parents=True)
    kernel = tmp_path / "k"
    kernel.write_bytes(b"kernel")
    with pytest.raises(HostError, match=sentence):
        Ssh("there").put(kernel)
    assert list((xen.world / "home/.cache/unibuild").iterdir()) == []


def test_working_copy_may_grow(xen, tmp_path):
    disk = tmp_path / "d"
    disk.write_bytes(b"old")
    there = Path(Ssh("there").put(disk, own="xvda"))
    there.write_bytes(b"grown")
    Ssh("there").put(disk, own="xvda")
    assert there.read_bytes() == b"grown"


@pytest.fixture
def copies(xen, tmp_path):
    """A kernel and a disk that is written to, on their host."""
    for name in ("kernel", "disk", "new disk"):
        (tmp_path / name).write_text(name)
    host = Ssh("there")
    return host, host.put(tmp_path / "kernel", folder="hello"), host.put(tmp_path / "disk", folder="hello", own="xvda")


def test_discard_keeps_needed_files_and_working_copies(copies):
    host, kernel, disk = copies
    assert (host.discard("hello", [kernel]), Path(kernel).exists()) == ((disk,), True)
    assert (host.discard("hello"), Path(kernel).exists(), Path(disk).exists()) == ((disk,), False, True)
    assert host.discard("gone") == ()


def test_working_copy_of_a_changed_file_replaces_the_older_one(copies, tmp_path):
    host, _, disk = copies
    newer = host.put(tmp_path / "new disk", folder="hello", own="xvda")
    other = host.put(tmp_path / "new disk", folder="hello", own="xvdb")
    assert host.discard("hello", [newer]) == (other,)
    assert [Path(path).exists() for path in (disk, newer, other)] == [False, True, True]


def test_a_folder_keeps_the_copies_of_others_apart(copies, tmp_path):
    host, kernel, _ = copies
    theirs = host.put(tmp_path / "kernel", folder="other")
    host.discard("hello")
    assert (Path(kernel).exists(), Path(theirs).read_text()) == (False, "kernel")


CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
Add correct host key in /home/ann/my keys to get rid of this message.
Offending ED25519 key in /home/ann/my keys:3
Host key for [there]:2222 has changed and you have requested strict checking.
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "sentence", "hint"),
    [
        (CHANGED, "the key of ssh://there has changed", "ssh-keygen -f '/home/ann/my keys' -R '[there]:2222'"),
        ("Host key verification failed.", "is not accepted yet", "compare the fingerprint"),
        (
            "ann@there: Permission denied (publickey,password).",
            "refused the sign-in .publickey,password",
            "ssh-copy-id",
        ),
        ("ssh: Could not resolve hostname there: Name or service not known", "no machine of that name", "`host`"),
        ("ssh: connect to host there port 22: Connection refused", "nothing listens on its SSH port", "`host`"),
        ("ssh: connect to host there port 22: Connection timed out", "it does not answer", "`host`"),
        ("ssh: connect to host there port 22: No route to host", "the network does not reach it", "`host`"),
        ("No user exists for uid 12345", "ssh runs only for users in /etc/passwd", "/etc/passwd"),
        ("Connection reset by 10.0.0.1 port 22", "the connection to ssh://there broke", "run again"),
        ("Timeout, server there not responding.", "the connection to ssh://there broke", "run again"),
        ("mux_client_request_session: read from master failed: Broken pipe", "the connection .* broke", "run again"),
    ],
)
def test_ssh_failures_are_explained(xen, said, sentence, hint):
    (xen.world / "ssh-config").write_text("user ann\nhostname there\nport 2222\n")
    xen.refuse("ssh", said)
    with pytest.raises(HostError, match=sentence) as error:
        Ssh("there").run(["true"])
    assert hint in error.value.hint


def test_unknown_ssh_failure_shows_its_message():
    error = explain("what is this\nand that\n", SshTarget("ssh://x", "x", "x", "x"), has_begun=False)
    assert error.message == "ssh cannot connect to ssh://x: what is this"


def test_a_connection_that_is_cut_is_silent():
    assert (
        explain("", SshTarget("ssh://x", "x", "x", "x"), has_begun=False).message == "the connection to ssh://x broke"
    )


def test_remote_sudo_that_needs_a_password(xen):
    xen.refuse("sudo", "sudo: a password is required")
    with pytest.raises(
        HostError, match="cannot run xl as root on ssh://there: sudo refused: it wants a password"
    ) as error:
        Ssh("there").run(["xl", "list"])
    assert "`unibuild doctor --host ssh://there` prints the lines" in error.value.hint


def test_missing_remote_xl(xen):
    (xen.world / "bin" / "xl").unlink()
    with pytest.raises(MissingError, match="the program xl is not installed on ssh://there"):
        Ssh("there").run(["xl", "list"])


def test_failing_remote_command(xen):
    with pytest.raises(CommandError, match="`false` failed with exit code 1"):
        Ssh("there").run(["false"], root=False)
