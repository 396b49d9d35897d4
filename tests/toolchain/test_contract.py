"""What every toolchain must do. A new one adds a project to ``PROJECTS``; docs/how-to/add-a-toolchain.md says more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import toy_toolchain

import unibuild
from unibuild.errors import BuildError, SettingsError
from unibuild.settings.loader import Project, load
from unibuild.settings.model import Build, Settings
from unibuild.toolchain import registry

MAKE = {
    "unibuild.toml": '[build]\nkernel = "hello.xen"\ndepend = "deps"\n',
    "Makefile": "hello.xen: main.c\n\tcp main.c $@\n\ndeps:\n\ttouch fetched\n",
    "main.c": "",
}


PREBUILT = {"unibuild.toml": '[build]\ntoolchain = "prebuilt"\n', "hello.xen": ""}
PROJECTS = {"make": MAKE, "prebuilt": PREBUILT, "toy": {"unibuild.toml": "", "toy.txt": "a"}}


@pytest.fixture
def version() -> str:
    return "4.11.1"


@pytest.fixture(params=[*registry.TOOLCHAINS, "toy"])
def project(request, tree, tmp_path, monkeypatch) -> Project:
    monkeypatch.setitem(registry.TOOLCHAINS, "toy", toy_toolchain.REGISTRATION)
    if request.param == "mirage":
        return load(request.getfixturevalue("unikernel").root)
    return load(tree(PROJECTS[request.param]))


@pytest.fixture
def toolchain(project):
    return registry.choose(project)


def test_it_has_the_name_that_chooses_it(project, toolchain):
    named = project.settings.build.toolchain
    assert named == toolchain.name or (named == "auto" and registry.TOOLCHAINS[toolchain.name].matches(project))


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
    monkeypatch.setitem(registry.TOOLCHAINS, "toy", toy_toolchain.REGISTRATION)
    assert registry.choose(load(tree({**MAKE, "toy.txt": ""}))).name == "make"


def test_auto_does_not_take_the_kernel_of_an_earlier_build(tree):
    with pytest.raises(SettingsError):
        registry.choose(load(tree({"unibuild.toml": '[build]\nkernel = "hello.xen"\n', "hello.xen": ""})))


def test_an_unknown_name_is_an_error(tmp_path):
    with pytest.raises(SettingsError) as caught:
        registry.choose(Project(tmp_path, None, Settings(build=Build(toolchain="cargo"))))
    assert "make" in caught.value.hint


def test_command_builds_with_a_toolchain_of_the_registry(tree, hello_kernels):
    root = tree({"unibuild.toml": 'name = "hello"\n', "toy.txt": ""})
    (root / "toy.txt").write_bytes(hello_kernels.pv.read_bytes())
    program = (
        "import toy_toolchain; from unibuild.toolchain.registry import TOOLCHAINS; from unibuild import _fast_path; "
        "TOOLCHAINS['toy'] = toy_toolchain.REGISTRATION; _fast_path.script()"
    )
    path = os.pathsep.join((str(Path(__file__).parent), *filter(None, sys.path)))
    subprocess.run([sys.executable, "-c", program, "xl"], cwd=root, env={**os.environ, "PYTHONPATH": path}, check=True)
    assert (root / ".unibuild/hello.xen").read_bytes() == hello_kernels.pv.read_bytes()
    assert "hello.xen" in (root / ".unibuild/hello.xl").read_text()


def test_no_module_asks_which_toolchain_it_is():
    package = Path(unibuild.__file__).parent
    asking = [path for path in package.rglob("*.py") if re.search(r"toolchain\.name (?:==|!=|in) ", path.read_text())]
    assert asking == []
