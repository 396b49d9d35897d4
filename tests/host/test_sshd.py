"""OpenSSH itself, from the client's configuration to the account's login shell, with the stand-in Xen behind it."""

import contextlib
import json
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from unibuild.cli import doctor
from unibuild.deploy import boot, hosts, status
from unibuild.deploy.console_session import console
from unibuild.deploy.destroy import destroy
from unibuild.errors import HostError
from unibuild.host.ssh import Ssh, parse
from unibuild.settings.loader import load

TOML = """
host = "xen1"
[hosts.xen1]
address = "{address}"
sudo = "{sudo}"
"""


class Project:
    """A project with a kernel and an .xl, for the account of a server that a client's configuration calls xen1."""

    def __init__(self, root, server) -> None:
        self.root, self.server = root, server
        self.kernel, self.xl = root / "k.xen", root / "hello.xl"
        self.kernel.write_text("#!kernel\nsay booted\nstay\n")
        self.xl.write_text(f"name = 'hello'\nkernel = '{self.kernel}'\nmemory = 32\n")

    def host(self, address="ssh://xen1", sudo="auto"):
        """Return the host at an address of the server's."""
        (self.root / "unibuild.toml").write_text(TOML.format(address=address, sudo=sudo))
        return hosts.open_host(self.settings)

    @property
    def project(self):
        words = {"boot.wait": "0.3"} if self.server.has_ttys else {"boot.console": "none"}
        return load(self.root, words, {})

    @property
    def settings(self):
        return self.project.settings

    def boot(self) -> None:
        boot.boot(self.project, self.xl, self.kernel)


@pytest.fixture
def project(tmp_path, server, monkeypatch):
    with tempfile.TemporaryDirectory(dir="/tmp") as cache, contextlib.ExitStack() as ends:
        monkeypatch.setenv("XDG_CACHE_HOME", cache)
        monkeypatch.setenv("PATH", f"{server.bin}:/usr/bin:/bin")
        monkeypatch.chdir(tmp_path)
        project = Project(tmp_path, server)
        ends.callback(_end_connections, cache, server)
        yield project
        if (tmp_path / ".unibuild").exists():
            destroy(project.project)


def _end_connections(cache, server) -> None:
    for sock in Path(cache, "unibuild", "ssh").glob("*"):
        subprocess.run([server.bin / "ssh", "-S", sock, "-O", "exit", "xen1"], check=False, capture_output=True)


@pytest.mark.parametrize(
    ("shell", "sudo"),
    [("bash", "auto"), ("bash", "never"), ("zsh", "never"), ("fish", "auto"), ("tcsh", "auto"), ("tcsh", "never")],
)
def test_a_domain_through_any_login_shell_whatever_it_prints(project, server, capfd, shell, sudo):
    server.use(server.configuration(shell))
    project.host(sudo=sudo)
    project.boot()
    assert capfd.readouterr().out == ("booted\n" if server.has_ttys else "")
    assert status.collect(project.project, lambda _: None)["hosts"][0]["state"] == "running"
    if server.has_ttys:
        console(project.project)
        assert "Welcome" not in capfd.readouterr().out
    assert doctor.main(["--json"]) in (0, 3)  # 3: of this machine
    found = {one["what"]: one for one in json.loads(capfd.readouterr().out)["sections"][-1]["findings"]}
    states = {what: one["state"] for what, one in found.items()}
    assert states == {
        **dict.fromkeys(("reach", "rights", "Xen", "memory", "XenStore", "room"), "ok"),
        "bridges": "note",
    }
    assert not [path for path in server.accounts[shell].home.iterdir() if "Welcome" in path.name]


@pytest.mark.parametrize(
    "lines",
    [
        ("RemoteCommand tmux new -A -s main", "RequestTTY force"),
        ("StdinNull yes",),
        ("ForkAfterAuthentication yes",),
        ("SessionType none",),
        ("PermitLocalCommand yes", "LocalCommand echo connected"),
        ("SendEnv LANG LC_*", "SetEnv TERM=vt100", "Compression yes", "VisualHostKey yes"),
    ],
    ids=lambda lines: lines[0].split()[0],
)
def test_a_configuration_for_interactive_sessions(project, server, lines):
    server.use(server.configuration("bash", *lines))
    host = project.host()
    path = host.put(project.kernel)
    assert host.run(["cat", path], root=False).stdout == project.kernel.read_bytes()
    argv = ["sh", "-c", "test -t 1 && echo here" if server.has_ttys else "echo here"]
    with host.start(argv, tty=server.has_ttys, root=False) as child:
        assert child.finish(60.0).text.strip() == "here"


def test_forwarded_ports_stay_the_users_own(project, server):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        server.use(server.configuration("sh", f"LocalForward {port} 127.0.0.1:9", "ExitOnForwardFailure yes"))
        assert project.host().toolstack.list_domains()
    with socket.create_server(("127.0.0.1", port)):  # the kept connection does not hold it
        pass
    done = subprocess.run([server.bin / "ssh", "xen1", "true"], check=False, timeout=60, capture_output=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", ["ssh://{user}@[::1]:{port}", "ssh://[::1]:{port}", "ssh://[::1]"])
def test_an_ipv6_address(project, server, form):
    port = server.ports[1]
    text = server.configuration("sh").replace(f"Port {server.ports[0]}", "")
    server.use(text + f"Host *\n  Port {port}\n")
    address = form.format(user=server.accounts["sh"].user, port=port)
    host = project.host(address)
    assert (host.address, host.toolstack.list_domains()[0].domid) == (address, 0)
    assert Ssh(*parse(address)).run(["true"], root=False).returncode == 0


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("ProxyJump gate",), "through 127.0.0.1 port 9: nothing listens"),
        (("ProxyJump nosuch.invalid",), "through nosuch.invalid: there is no machine of that name"),
        (("ProxyCommand nosuch-program %h",), "nosuch-program"),
        (("ProxyCommand sh -c 'echo down >&2; exit 1'",), "down"),
    ],
)
def test_unreachable_jump_host_is_named(project, server, lines, said):
    gate = "Host gate\n  HostName 127.0.0.1\n  Port 9\n"
    server.use(gate + server.configuration("sh", *lines).replace("HostName 127.0.0.1", "HostName 192.0.2.1"))
    with pytest.raises(HostError, match=said) as error:
        project.host().run(["xl", "list"], background=True)
    assert "`ssh xen1`; see ProxyJump and ProxyCommand" in error.value.hint


def test_login_shell_that_runs_no_command(project, server):
    account = server.accounts["bash"]
    rc = account.home / ".bashrc"
    text = rc.read_text()
    rc.write_text("echo closed for today; exit 1\n")
    try:
        server.use(server.configuration("bash"))
        with pytest.raises(HostError, match=r"did not run the command \(exit code 1\): closed for today"):
            project.host().run(["true"], root=False)
    finally:
        rc.write_text(text)


def test_leftover_of_a_login_shell_delays_nothing(project, server):
    account = server.accounts["bash"]
    rc = account.home / ".bashrc"
    text = rc.read_text()
    rc.write_text("sleep 600 &\n")
    try:
        server.use(server.configuration("bash"))
        assert project.host().run(["echo", "here"], root=False, timeout=60).text == "here\n"
    finally:
        rc.write_text(text)
