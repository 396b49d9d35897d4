"""examples/http from its sources to an answered request: build, boot, vif, DHCP, TCP, and a port of this machine."""

import contextlib
import os
import shutil
import socket
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unibuild.util import process

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"
LINES = "".join(f"line {n}\n" for n in range(1, 1001))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


class Server:
    """A copy of examples/http and the port that leads to it."""

    def __init__(self, root: Path) -> None:
        self.root = shutil.copytree(
            EXAMPLES / "http", root, ignore=shutil.ignore_patterns("build", "*.xen", ".unibuild")
        )
        self.port = free_port()

    def run(self, goal: str, *words: str) -> str:
        program = Path(sys.executable).with_name("unibuild")
        accel = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")
        fixed = ["host=lab", f"lab.accel={accel}", f'lab.forward=["{self.port}:80"]', "boot.console=none"]
        return process.run([str(program), goal, *fixed, *words], cwd=self.root, timeout=120).text

    def get(self, path: str, timeout: float = 60) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=timeout) as answer:
            return answer.read().decode()

    def wait(self) -> str:
        """The first answer, once the domain has its address."""
        for _ in range(60):
            with contextlib.suppress(OSError):
                return self.get("/", timeout=2)
            time.sleep(0.5)
        raise AssertionError("no answer")


@pytest.fixture
def server(lab_vm, tmp_path):
    server = Server(tmp_path / "http")
    yield server
    server.run("destroy")


def test_many_at_once(server):
    server.run("boot")
    assert "hello from http, a PV domain" in server.wait()
    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(server.get, ["/lines"] * 48)) == {LINES}


def test_lost_frames_are_sent_again(server):
    server.run("boot", "build.kernel=http-pvh.xen", "xl.cmdline=lose=9")
    assert "hello from http, a PVH domain" in server.wait()
    assert [server.get("/lines") for _ in range(3)] == [LINES] * 3
