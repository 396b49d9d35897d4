"""From config.ml to a domain: the stand-ins for mirage and opam, a real kernel by gcc, and the real Xen of the lab."""

import os
import sys
from pathlib import Path

import pytest

from unibuild.util import process

pytestmark = pytest.mark.lab

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))

import mirage_standin  # noqa: E402 (it is found by then)


@pytest.fixture
def unikernel(lab_vm, tmp_path, monkeypatch):
    """Return what runs goals in the tree of a small unikernel, with the stand-ins of a version on PATH."""
    programs, root = tmp_path / "programs", tmp_path / "hello"
    for folder in (programs, root, tmp_path / "switch"):
        folder.mkdir()
    (root / "config.ml").write_text('let main = main "Unikernel.Main" job\nlet () = register "hello" [ main ]\n')
    (root / "unikernel.ml").write_text("let start () = ()\n")
    (root / "unibuild.toml").write_text('host = "lab"\n[xl]\nmemory = 32\n')
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("OPAMROOT", str(tmp_path / "opam"))
    monkeypatch.setenv("STANDIN_SWITCH", str(tmp_path / "switch"))

    def run(goal: str) -> str:
        program = Path(sys.executable).with_name("unibuild")
        words = [
            f"lab.accel={os.environ.get('UNIBUILD_LAB_ACCEL', 'auto')}",
            "boot.console=print",
            "boot.ready.console=^command line: ",
            "boot.ready.timeout=100",
            "boot.wait=0",
            "boot.args=--hello=world",
        ]
        return process.run([str(program), goal, *words], cwd=root, timeout=120).text

    run.use = lambda version: mirage_standin.install(programs, version)
    run.xl = root / ".unibuild" / "hello.xl"
    yield run
    run("destroy")


@pytest.mark.parametrize(("version", "kind"), [("2.6.1", "pv"), ("4.11.1", "pvh")])
def test_http_request_reaches_the_domain(unikernel, version, kind):
    unikernel.use(version)
    assert "command line: --hello=world\n" in unikernel("boot")
    assert f"type = '{kind}'" in unikernel.xl.read_text().replace('"', "'")
    again = unikernel("boot")
    assert "mirage" not in again
    assert "make" not in again
