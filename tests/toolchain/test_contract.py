"""What every toolchain must do. A new one adds a project to ``PROJECTS``; docs/how-to/add-a-toolchain.md says more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from unibuild.errors import BuildError, SettingsError
from unibuild.settings.loader import Project, load
from unibuild.settings.model import Build, Settings
from unibuild.toolchain import registry
from unibuild.toolchain.base import Step

if TYPE_CHECKING:
    from pathlib import Path

MAKE = {
    "unibuild.toml": '[build]\nkernel = "hello.xen"\ndepend = "deps"\n',
    "Makefile": "hello.xen: main.c\n\tcp main.c $@\n\ndeps:\n\ttouch fetched\n",
    "main.c": "",
}


PREBUILT = {"unibuild.toml": "", "hello.xen": ""}


class Toy:
    """The smallest toolchain: it copies a file."""

    name = "toy"
    xl = None
    xl_in = None

    def __init__(self, project: Project) -> None:
        self.root = project.root
        self.kernel = self.root / "toy.xen"

    def steps(self) -> tuple[Step, ...]:
        argv = ("cp", "toy.txt", "toy.xen")
        source = self.root / "toy.txt"
        return (Step("build", "copy it", (argv,), self.root, inputs=(source,), targets=(self.kernel,)),)

    def digest(self, path: Path, step: str) -> str:
        return path.read_text()

    def question(self, step: str) -> None:
        return None

    def database(self) -> None:
        return None

    def check(self, step: str) -> None:
        if not self.kernel.is_file():
            raise BuildError("no kernel")


PROJECTS = {"make": MAKE, "prebuilt": PREBUILT, "toy": {"unibuild.toml": "", "toy.txt": "a"}}
TOY = registry.Registration(lambda project: (project.root / "toy.txt").is_file(), Toy)


@pytest.fixture
def version() -> str:
    return "4.11.1"


@pytest.fixture(params=[*registry.TOOLCHAINS, "toy"])
def project(request, tree, tmp_path, monkeypatch) -> Project:
    monkeypatch.setitem(registry.TOOLCHAINS, "toy", TOY)
    if request.param == "mirage":
        return load(request.getfixturevalue("unikernel").root)
    return load(tree(PROJECTS[request.param]))


@pytest.fixture
def toolchain(project):
    return registry.choose(project)


def test_it_has_the_name_that_chooses_it(project, toolchain):
    assert registry.TOOLCHAINS[toolchain.name].matches(project)


def test_the_steps_are_in_order_and_end_with_build(toolchain):
    names = [step.name for step in toolchain.steps()]
    assert names == [name for name in ("configure", "depend", "build") if name in names]
    assert names[-1] == "build"


def test_a_step_is_argument_lists_and_absolute_paths(toolchain):
    for step in toolchain.steps():
        assert step.commands or toolchain.kernel in step.inputs
        assert all(isinstance(word, str) for argv in step.commands for word in argv)
        paths = (step.cwd, *step.inputs, *step.folders, *step.made, *step.targets, *step.left_over)
        assert all(path.is_absolute() for path in paths)


def test_the_build_makes_the_kernel_or_takes_it_as_it_is(toolchain):
    build = toolchain.steps()[-1]
    assert (toolchain.kernel in build.targets) is bool(build.commands)
    assert (toolchain.kernel in build.inputs) is not bool(build.commands)


def test_inputs_exist(toolchain):
    assert all(path.is_file() for step in toolchain.steps() for path in step.inputs)


def test_the_same_tree_gives_the_same_steps(project, toolchain):
    assert toolchain.steps() == registry.choose(project).steps() == toolchain.steps()


def test_planning_writes_only_in_the_state_folder(project):
    before = {path for path in project.root.rglob("*") if ".unibuild" not in path.parts}
    registry.choose(project).steps()
    assert {path for path in project.root.rglob("*") if ".unibuild" not in path.parts} == before


def test_a_digest_follows_the_content(project, toolchain):
    file = project.root / "digested.txt"
    file.write_text("one")
    first = toolchain.digest(file, "build")
    file.write_text("two")
    assert toolchain.digest(file, "build") != first
    file.write_text("one")
    assert toolchain.digest(file, "build") == first


def test_a_build_without_a_kernel_is_refused(toolchain):
    toolchain.kernel.unlink(missing_ok=True)
    with pytest.raises(BuildError):
        toolchain.check("build")


def test_a_command_that_asks_or_prints_is_an_argument_list_or_none(toolchain):
    for argv in (toolchain.database(), *(toolchain.question(step.name) for step in toolchain.steps())):
        assert argv is None or all(isinstance(word, str) for word in argv)


def test_auto_takes_the_first_that_matches(tree, monkeypatch):
    monkeypatch.setitem(registry.TOOLCHAINS, "toy", TOY)
    assert registry.choose(load(tree({**MAKE, "toy.txt": ""}))).name == "make"


def test_an_unknown_name_is_an_error(tmp_path):
    with pytest.raises(SettingsError) as caught:
        registry.choose(Project(tmp_path, None, Settings(build=Build(toolchain="cargo"))))
    assert "make" in caught.value.hint
