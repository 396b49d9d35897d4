"""A console with a killed reader, on the lab's real Xen: nothing is left in dom0, and the next reader continues."""

import os
import signal
import subprocess
import sys
import time

import pytest

from unibuild.deploy import boot
from unibuild.deploy.console_output import open_output
from unibuild.deploy.console_session import reattach
from unibuild.graph import xl_file
from unibuild.settings.loader import load

pytestmark = pytest.mark.lab

CONSOLE = """
import sys
from pathlib import Path
from unibuild.host import xl_console
from unibuild.settings.loader import load
from unibuild.deploy.console_session import console
if sys.argv[3] == "unwatched":
    xl_console._WATCHDOG = "exec cat"
console(load(Path(sys.argv[1]), {"boot.wait": "200", "lab.accel": sys.argv[2]}, {}))
"""
ACCEL = os.environ.get("UNIBUILD_LAB_ACCEL", "auto")


def wait_until(holds) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.fixture
def project(tmp_path, dom0, hello_kernels):
    """A domain that says a line each second, and that nobody reads."""
    (tmp_path / "unibuild.toml").write_text('name = "hello"\nhost = "lab"\n[xl]\nmemory = 32\n')
    project = load(tmp_path, {"boot.wait": "1", "lab.accel": ACCEL}, {})
    path = tmp_path / "hello.xl"
    path.write_text(xl_file.render(project, hello_kernels.pv, None))
    boot.boot(project, path, hello_kernels.pv)
    return project


def ticks(project) -> int:
    return (project.root / ".unibuild" / "console" / "hello.log").read_bytes().count(b"tick")


def kill_a_reader(project, guard: str) -> None:
    before = ticks(project)
    argv = [sys.executable, "-c", CONSOLE, str(project.root), ACCEL, guard]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as reader:
        wait_until(lambda: ticks(project) > before + 1)
        reader.send_signal(signal.SIGKILL)


def test_console_is_readable_after_a_killed_reader(project, dom0):
    kill_a_reader(project, "watched")
    wait_until(lambda: not dom0.run(["pidof", "xenconsole", "xenstore-watch"], check=False).text)
    kill_a_reader(project, "unwatched")
    before = ticks(project)
    with reattach(project, open_output(project.settings)[0]).reader as reader:
        wait_until(lambda: reader.pump(time.monotonic() + 0.2) or ticks(project) > before)
    assert b"xenconsole" not in (project.root / ".unibuild" / "console" / "hello.log").read_bytes()
