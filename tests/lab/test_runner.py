"""Boot tests on the real Xen of the lab: `unibuild test` alongside a running domain, and the fixture `domain`."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from unibuild.util import process

pytestmark = pytest.mark.lab

EXAMPLES = Path(__file__).parents[2] / "examples"
BIN = Path(sys.executable).parent
ENV = {"UNIBUILD_LAB_ACCEL": os.environ.get("UNIBUILD_LAB_ACCEL", "auto"), "UNIBUILD_BOOT_CONSOLE": "none"}


@pytest.fixture
def example(tmp_path):
    def copy(name):
        ignore = shutil.ignore_patterns("build", "*.xen", ".unibuild")
        return shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=ignore)

    return copy


def uuids(host):
    return {domain.uuid for domain in host.toolstack.list_domains()}


def test_scratch_domain_runs_alongside_the_domain(example, dom0):
    root = example("http")
    process.run([str(BIN / "unibuild"), "boot", "host=lab", "lab.forward=[]"], cwd=root, env=ENV)
    before, record = uuids(dom0), (root / ".unibuild/domain.json").read_bytes()
    files = dom0.run(["find", "/var/lib/unibuild", "-type", "f"]).text
    said = process.run([str(BIN / "unibuild"), "test", "--json", "-"], cwd=root, env=ENV, timeout=240).text
    assert [(one["name"], one["outcome"]) for one in json.loads(said)["tests"]] == [("serves", "passed")]
    assert (uuids(dom0), (root / ".unibuild/domain.json").read_bytes()) == (before, record)
    assert dom0.run(["find", "/var/lib/unibuild", "-type", "f"]).text == files


def test_a_test_in_python(example, dom0):
    root = example("hello")
    (root / "test_hello.py").write_text(
        """
import pytest

def test_keys(domain):
    assert domain.expect(r"hello from (\\S+),", timeout=120)[1] == domain.name
    domain.send("abc\\r")
    domain.expect("heard: abc", timeout=120)
    assert domain.shutdown(timeout=120).is_good

@pytest.mark.unikernel(args=["lines=1000", "crash=1"])
def test_crash(domain):
    assert not domain.wait_end(timeout=120).is_good
    assert sum(line.startswith("line ") for line in domain.lines) == 1000
    assert "crashed" in domain.crash
"""
    )
    before = uuids(dom0)
    argv = [str(BIN / "pytest"), "-q", "-W", "error", "-p", "no:cacheprovider", "test_hello.py"]
    assert "2 passed" in process.run(argv, cwd=root, env=ENV, timeout=240).text
    assert uuids(dom0) == before


def test_port_accepts_connections_only_if_the_domain_does(example, dom0):
    root = example("http")
    (root / "test_http.py").write_text(
        """
import pytest

def test_ports(domain):
    domain.connect(80, timeout=120).close()
    with pytest.raises(AssertionError, match="before it accepted a connection on port 81"):
        domain.connect(81, timeout=1.0)
"""
    )
    argv = [str(BIN / "pytest"), "-q", "-W", "error", "-p", "no:cacheprovider", "test_http.py"]
    assert "1 passed" in process.run(argv, cwd=root, env=ENV, timeout=240).text
