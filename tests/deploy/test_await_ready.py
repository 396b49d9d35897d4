"""[boot.ready] against stand-ins of Xen and of the lab VM: which address is probed, and how."""

import contextlib
import dataclasses
import socket
import uuid

import pytest

from unibuild.deploy import address as reach
from unibuild.deploy import readiness
from unibuild.domain import console
from unibuild.domain.console_log import Log
from unibuild.errors import HostError, SettingsError
from unibuild.host.local import Local
from unibuild.host.ssh import Ssh
from unibuild.lab import network, vm
from unibuild.settings.loader import load
from unibuild.xlcfg import parser

UUID = str(uuid.uuid4())  # readers are found by it on the whole machine
VIF = "vif = ['mac=00:16:3e:00:00:01,bridge=xenbr0']"


@pytest.fixture
def project(tmp_path):
    (tmp_path / "unibuild.toml").touch()
    return lambda **words: load(tmp_path, {f"boot.ready.{key}": text for key, text in words.items()}, {})


@pytest.fixture
def lab(monkeypatch):
    """A lab VM that records what is forwarded."""

    @dataclasses.dataclass
    class LabVm:
        said: list[str]

        def forward(self, rule: str) -> None:
            self.said.append(f"forward {rule}")

        def unforward(self, port: int) -> None:
            self.said.append(f"unforward {port}")

    box = LabVm([])
    monkeypatch.setattr(vm, "running", lambda: box)
    return box


@pytest.fixture
def await_ready(project, xen, tmp_path):
    def run(*script: str, xl_lines: tuple[str, ...] = (), **words: str):
        host = Local(uid=0)
        path = xen.xl_file(xen.kernel(*script), *xl_lines)
        host.toolstack.create_paused(str(path), name="hello", uuid=UUID)
        domain = host.toolstack.find(uuid=UUID)
        config = parser.parse(path.read_text())
        with console.Reader(host, domain, Log(tmp_path / "log"), lambda _: None) as reader:
            host.toolstack.unpause(domain)
            settings = project(**words).settings
            return readiness.await_ready(settings.boot.ready, settings.lab.forward, host, domain, config, reader)

    return run


@pytest.fixture
def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield str(server.getsockname()[1])


def lab_host() -> Ssh:
    return Ssh("box", name="lab", address="lab")


def config(*lines: str) -> parser.Config:
    return parser.parse("\n".join(("name = 'hello'", *lines)) + "\n")


def test_no_criteria_no_wait(await_ready):
    assert await_ready("stay") is None


def test_a_line_a_key_and_a_port(await_ready, port):
    script = ("say up", "store data/ready yes", "stay")
    assert await_ready(*script, console="^up$", xenstore="data/ready=yes", tcp=port, address="127.0.0.1").ready


def test_the_address_of_the_network_device(await_ready, port):
    assert await_ready("stay", xl_lines=("vif = ['ip=127.0.0.1/8 10.0.0.9,bridge=xenbr0']",), tcp=port).ready


def test_address_from_the_console(await_ready, port):
    line = "say Dual TCP/IP stack assembled: mac=x,ip=127.0.0.1/8, ip6=x"
    assert await_ready("sleep 0.3", line, "stay", xl_lines=(VIF,), tcp=port).ready


def test_a_key_that_has_another_value(await_ready):
    verdict = await_ready("stay", xenstore="name=other", timeout="5")
    assert verdict.why == 'was not ready within 5 s: name in XenStore: "hello", not "other"'


@pytest.mark.parametrize("words", [{"tcp": "80"}, {"http.path": "/"}])
def test_domain_that_cannot_be_probed_is_refused_before_the_boot(project, words):
    with pytest.raises(SettingsError, match=r"\[boot.ready\] (tcp|http) is set, but hello lacks a network device"):
        readiness.check(project(**words).settings.boot.ready, config())


@pytest.mark.parametrize(
    ("words", "lines"),
    [({"tcp": "80"}, [VIF]), ({"tcp": "80", "address": "10.0.0.9"}, []), ({"console": "up"}, []), ({}, [])],
)
def test_domains_that_can_be_probed_are_accepted(project, words, lines):
    readiness.check(project(**words).settings.boot.ready, config(*lines))


@pytest.mark.parametrize(
    ("lines", "given", "address"),
    [
        ([VIF], "10.0.2.9", "10.0.2.9"),
        (["vif = ['bridge=x', 'ip=10.0.2.7']"], None, "10.0.2.7"),
        ([VIF], None, None),
        ([], None, None),
    ],
)
def test_configured_address(lines, given, address):
    assert reach.set_address(config(*lines), given) == address


def test_leased_address(xen, monkeypatch, tmp_path):
    leases = tmp_path / "udhcpd.conf"
    leases.write_text(
        "start 10.0.2.50\nstatic_lease 00:16:3E:00:00:02 10.0.2.50\nstatic_lease 00:16:3e:00:00:01 10.0.2.51\n"
    )
    monkeypatch.setattr(network, "_LEASES", str(leases))
    assert reach.find_leased_address(lab_host(), config(VIF)) == "10.0.2.51"
    assert reach.find_leased_address(lab_host(), config("vif = ['mac=00:16:3e:00:00:03']")) is None
    assert reach.find_leased_address(Local(uid=0), config(VIF)) is None


def test_port_is_forwarded_and_removed_again(lab):
    with reach.forward_port(lab_host(), "10.0.2.50", 80) as (address, port):
        assert (address, lab.said) == ("127.0.0.1", [f"forward {port}:10.0.2.50:80"])
    assert lab.said[1:] == [f"unforward {port}"]


def test_configured_forward_is_used_and_stays(lab):
    with reach.forward_port(lab_host(), "10.0.2.50", 80, ["9090:81", "8080:80"]) as way:
        assert way == ("127.0.0.1", 8080)
    assert lab.said == ["forward 8080:80"]


def test_forward_to_another_domain_is_not_used(lab):
    with reach.forward_port(lab_host(), "10.0.2.51", 80, ["8080:80"]) as (_, port):
        assert port != 8080


def test_after_ctrl_c_no_port_is_forwarded(lab):
    with contextlib.suppress(KeyboardInterrupt), reach.forward_port(lab_host(), "10.0.2.50", 80):
        raise KeyboardInterrupt
    assert len(lab.said) == 2


@pytest.mark.parametrize("address", ["192.168.1.2", "hello.example", "10.0.3.2"])
def test_an_address_outside_the_lab(lab, address, fails):
    with (
        fails(HostError, address),
        reach.forward_port(lab_host(), address, 80),
    ):
        pass


def test_outside_the_lab_the_address_is_used():
    with reach.forward_port(Local(uid=0), "10.0.0.9", 80) as way:
        assert way == ("10.0.0.9", 80)
