"""Trees of files for the toolchain's tests."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "standins"))
sys.path.insert(0, str(Path(__file__).parent))

import mirage_standin
import warm_cli


@pytest.fixture
def tree(tmp_path: Path):
    """Write files below tmp_path: {"path": "content"}; returns tmp_path."""

    def write(files: dict[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return tmp_path

    return write


@pytest.fixture(scope="session")
def git():
    """Run git without the user's settings; return what it prints, split at NUL."""

    def run(root: Path, *argv: str) -> list[str]:
        env = {"PATH": "/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "HOME": str(root)}
        output = subprocess.run(["git", *argv], cwd=root, env=env, check=True, capture_output=True)
        return [word for word in output.stdout.decode(errors="surrogateescape").split("\0") if word]

    return run


HELLO = {
    "config.ml": 'open Mirage\n\nlet main = main "Unikernel.Main" job\nlet () = register "hello" [ main ]\n',
    "unikernel.ml": "let start () = ()\n",
    "unibuild.toml": 'host = "lab"\n',
}
"""A small unikernel."""


@dataclass
class Unikernel:
    """A tree with a unikernel, and the stand-ins for one version of mirage on PATH."""

    root: Path
    version: str
    programs: Path
    log: Path

    def use(self, version: str) -> None:
        """Change the installed mirage."""
        self.version = version
        mirage_standin.install(self.programs, version)

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def calls(self) -> list[str]:
        """Return what the stand-ins were called with since the last time."""
        output = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.write_text("")
        return output


@pytest.fixture(params=["3.10.8", "4.11.1"])
def version(request) -> str:
    return request.param


@pytest.fixture
def unikernel(version, tmp_path, tree, hello_kernels, monkeypatch, path_without_ocaml) -> Unikernel:
    programs, switch = tmp_path / "programs", tmp_path / "switch"
    programs.mkdir()
    switch.mkdir()
    root = tmp_path / "hello"
    tree({f"hello/{name}": text for name, text in HELLO.items()})
    made = Unikernel(root, version, programs, tmp_path / "log")
    made.use(version)
    for name in ("OPAMSWITCH", "OPAM_SWITCH_PREFIX", "MODE", "MIRAGE_EXTRA_REPOS", "MAKEFLAGS", "MAKELEVEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", f"{programs}:{Path(sys.executable).parent}:{path_without_ocaml}")
    monkeypatch.setenv("OPAMROOT", str(tmp_path / "opam"))
    monkeypatch.setenv("STANDIN_LOG", str(made.log))
    monkeypatch.setenv("STANDIN_PV", str(hello_kernels.pv))
    monkeypatch.setenv("STANDIN_PVH", str(hello_kernels.pvh))
    monkeypatch.setenv("STANDIN_SWITCH", str(switch))
    return made


@pytest.fixture
def run(unikernel):
    """Run `unibuild build`; returns the steps that ran, in order, by what the tools were called with."""

    def build(*words: str, exit_code: int = 0) -> list[str]:
        unikernel.calls()
        code, build.said = warm_cli.run("unibuild", "build", *words, cwd=unikernel.root)
        assert code == exit_code, build.said
        assert "Traceback" not in build.said
        return mirage_standin.steps(unikernel.calls())

    return build


@pytest.fixture
def kernel(unikernel):
    """Return what distinguishes builds: what follows the end of the kernel that is ready to boot."""

    def digest() -> bytes:
        return (unikernel.root / ".unibuild/hello.xen").read_bytes()[-mirage_standin.DIGEST :]

    return digest
