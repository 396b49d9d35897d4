"""Whatever is done to a tree: what is built is what a build from nothing gives, and a second build runs nothing.

TEST_SEQUENCES=50 tries more sequences than the usual few; one that fails is named by its seed.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time

import mirage_standin
import pytest
import warm_cli
from mirage_standin import VERSIONS

SEQUENCES = int(os.environ.get("TEST_SEQUENCES", "3"))
STEPS = 7
PERSONS = ("config.ml", "unikernel.ml", "unibuild.toml", "lib/more.ml", "htdocs/index.html")


class Sequence:
    """What users, other tools and accidents do to a tree; each method of ``OF`` is one of these."""

    def __init__(self, unikernel, seed: int) -> None:
        self.unikernel, self.random = unikernel, random.Random(seed)
        self.done: list[str] = []
        self.earlier: list[tuple[str, str]] = []

    def step(self) -> None:
        name = self.random.choice(self.OF)
        self.done.append(name)
        getattr(self, name)()

    def read(self, name: str) -> str:
        return (self.unikernel.root / name).read_text()

    def write(self, name: str, text: str) -> None:
        path = self.unikernel.root / name
        if path.exists():
            self.earlier.append((name, path.read_text()))
        self.unikernel.write(name, text)

    def edit(self) -> None:
        self.write("unikernel.ml", f"let start () = {self.random.random()}\n")

    def touch(self) -> None:
        (self.unikernel.root / self.random.choice(("unikernel.ml", "config.ml"))).touch()

    def revert(self) -> None:
        if self.earlier:
            self.write(*self.random.choice(self.earlier))

    def more(self) -> None:
        path = self.unikernel.root / "lib/more.ml"
        if path.exists():
            path.unlink()
        else:
            self.write("lib/more.ml", "let x = 1\n")

    def data(self) -> None:
        self.write("htdocs/index.html", str(self.random.random()))

    def comment(self) -> None:
        self.write("config.ml", self.read("config.ml") + "(* why *)\n")

    def package(self) -> None:
        name = self.random.choice(("fmt", "logs", "uri"))
        self.write("config.ml", f'let x = package "{name}"\n' + self.read("config.ml"))

    def rename(self) -> None:
        name = self.random.choice(("hello", "hey-ho", "my.app"))
        head, _, tail = self.read("config.ml").partition('register "')
        self.write("config.ml", f'{head}register "{name}"{tail.partition(chr(34))[2]}')

    def version(self) -> None:
        self.unikernel.use(self.random.choice([*VERSIONS]))
        self.done.append(self.unikernel.version)

    def by_hand(self) -> None:
        command = self.random.choice(("configure -t xen", "configure --xen", "describe", "configure -t unix", "clean"))
        subprocess.run(["mirage", *command.split()], cwd=self.unikernel.root, check=False, capture_output=True)

    def damage(self) -> None:
        root = self.unikernel.root
        files = [path for path in sorted(root.rglob("*")) if path.is_file() and ".unibuild" not in path.parts]
        files = [path for path in files if str(path.relative_to(root)) not in PERSONS]
        files = [path for path in files if "duniverse" not in path.parts and path.name != ".lock"]
        path = self.random.choice(files or [root / "Makefile"])
        self.done.append(str(path.relative_to(root)))
        path.unlink(missing_ok=True)

    def broken(self) -> None:
        name, error = self.random.choice(
            (("config.ml", mirage_standin.SYNTAX_ERROR), ("unikernel.ml", mirage_standin.TYPE_ERROR))
        )
        text = self.read(name)
        self.unikernel.write(name, text + error)
        self.build(1)
        self.unikernel.write(name, text)

    def killed(self) -> None:
        self.edit()
        self.comment()
        number = self.random.choice((signal.SIGTERM, signal.SIGKILL, signal.SIGINT))
        child = subprocess.Popen(
            ["unibuild", "build"], cwd=self.unikernel.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(self.random.uniform(0.1, 0.8))
        child.send_signal(number)
        child.wait()
        time.sleep(0.5)  # what it had started ends

    OF = (
        *("edit", "touch", "revert", "more", "data", "comment", "package", "rename", "version", "version", "by_hand"),
        *("damage", "broken", "killed"),
    )

    def build(self, code: int = 0) -> list[str]:
        self.unikernel.calls()
        found, output = warm_cli.run("unibuild", "build", cwd=self.unikernel.root)
        assert found == code, (self.done, output)
        return mirage_standin.steps(self.unikernel.calls())


@pytest.fixture
def from_nothing(unikernel, tmp_path):
    """Return the hash in the kernel that mirage and make leave in a tree of the user's files alone."""

    def build() -> bytes:
        root, switch = tmp_path / "nothing" / "hello", tmp_path / "nothing" / "switch"
        shutil.rmtree(root.parent, ignore_errors=True)
        switch.mkdir(parents=True)
        for name in PERSONS:
            if (unikernel.root / name).exists():
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(unikernel.root / name, root / name)
        row = VERSIONS[unikernel.version]
        target = "-t xen" if row.target else "--xen"
        script = f"mirage configure {target} && {'make depend &&' if row.depend else ''} make build"
        env = {**os.environ, "STANDIN_SWITCH": str(switch)}
        subprocess.run(["sh", "-c", script], cwd=root, env=env, check=True, capture_output=True)
        found = [path for path in root.rglob("*.xen") if ".unibuild" not in path.parts]
        assert len(found) == 1
        return found[0].read_bytes()[-mirage_standin.DIGEST :]

    return build


@pytest.mark.parametrize("seed", range(SEQUENCES))
@pytest.mark.parametrize("version", ["4.11.1"])
def test_what_is_built_is_never_stale_and_nothing_runs_twice(unikernel, kernel, from_nothing, seed):
    unikernel.write("htdocs/index.html", "one")
    unikernel.write("config.ml", 'let data = crunch "htdocs"\nlet () = register "hello" [ main $ data ]\n')
    sequence = Sequence(unikernel, seed)
    for _ in range(STEPS):
        sequence.step()
        sequence.build()
        assert kernel() == from_nothing(), sequence.done
        assert sequence.build() == [], sequence.done
