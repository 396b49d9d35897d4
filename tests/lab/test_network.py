"""What dom0 and a domain reach with each `[lab] network`: never this machine's loopback unless it is open."""

import contextlib
import os
import socket
import threading
import time
import urllib.request

import pytest

from unibuild.host.ssh import Ssh
from unibuild.lab import vm
from unibuild.settings.model import Lab

pytestmark = pytest.mark.lab

STATE = """exec 2>&1
xl list; cat /var/log/xen/console/*; xenstore-ls /local/domain/0/backend/vif
ps | grep udhcpd; cat /run/udhcpd.conf; ip neigh; ip -s link; netstat -rn; dmesg | tail; xl dmesg | tail"""
UUID = "0e70e700-0000-4000-8000-000000000001"


class Listener:
    """A TCP and a UDP socket on this machine's loopback."""

    def __init__(self) -> None:
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.udp.setblocking(False)
        self.greeter = threading.Thread(target=self.greet)
        self.greeter.start()

    def greet(self) -> None:
        with contextlib.suppress(OSError):  # it was shut down
            while True:
                with self.tcp.accept()[0] as connection:
                    connection.sendall(b"reached")

    def has_received(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            return self.udp.recv(100) == b"probe"
        return False


@pytest.fixture
def listener():
    listener = Listener()
    yield listener
    listener.tcp.shutdown(socket.SHUT_RDWR)
    listener.greeter.join()
    listener.tcp.close()
    listener.udp.close()


def get(port: int, path: str, dom0: Ssh) -> str:
    """Return what the domain answers on a forwarded port, once it has its address."""
    deadline = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.read().decode()
        except OSError as error:
            assert time.monotonic() < deadline, f"{error}\n{dom0.run(['sh', '-c', STATE], check=False).text}"
            time.sleep(0.2)


@pytest.fixture(params=["closed", "internet", "open"])
def network(request, lab_vm):
    """Restore the lab VM with the network; one that is not closed does not stay."""
    if request.param != "closed":
        vm.down()
        vm.up(Lab(network=request.param, accel=os.environ.get("UNIBUILD_LAB_ACCEL", "auto")), lambda *_: None)
    yield request.param
    if request.param != "closed":
        vm.down()


@pytest.fixture
def dom0(network, lab_vm_of_any_network):
    return Ssh(lab_vm_of_any_network.alias, config=lab_vm_of_any_network.ssh_config, name="lab", address="lab")


@pytest.fixture
def lab_vm_of_any_network(network):
    return vm.running()


@pytest.fixture
def port(dom0, lab_vm_of_any_network, probe_kernel, tmp_path):
    """Boot the kernel on a bridge that nobody has made; return the port that leads to it."""
    file = tmp_path / "probe.xl"
    file.write_text(
        f"name = 'probe'\ntype = 'pvh'\nkernel = '{dom0.put(probe_kernel)}'\nmemory = 32\nvif = ['bridge=br0']\n"
    )
    dom0.toolstack.create_paused(dom0.put(file), name="probe", uuid=UUID)
    dom0.toolstack.unpause(dom0.toolstack.find(uuid=UUID))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    lab_vm_of_any_network.forward(f"{port}:80")
    yield port
    lab_vm_of_any_network.unforward(port)
    dom0.toolstack.destroy(dom0.toolstack.find(uuid=UUID))


def test_only_an_open_lab_reaches_this_machines_loopback(network, dom0, port, listener):
    to = str(listener.tcp.getsockname()[1])
    said = dom0.run(["nc", "-w", "20", "10.0.2.2", to], check=False).text
    assert (said == "reached") == (network == "open")
    assert get(port, f"/{listener.udp.getsockname()[1]}", dom0) == "sent"
    assert listener.has_received() == (network == "open")
