"""The make toolchain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from unibuild.errors import BuildError, MissingError, SettingsError
from unibuild.settings.loader import Project
from unibuild.settings.model import Build, Settings
from unibuild.toolchain.make import MakeToolchain
from unibuild.toolchain.registry import choose
from unibuild.util import process

if TYPE_CHECKING:
    from pathlib import Path

MAKEFILE = "hello.xen: main.c\n\tcp main.c $@\n\nother:\n\ttouch other.xen\n\ndeps:\n\ttouch fetched\n"
OURS = "include Makefile\ninclude unibuild.mk\n"


def steps(root: Path, **build):
    return {step.name: step for step in MakeToolchain(root, Build(**{"kernel": "hello.xen", **build})).steps()}


def names(root: Path, paths) -> list[str]:
    return [str(path.relative_to(root)) for path in paths]


def test_a_makefile_alone_needs_only_a_build(tree):
    root = tree({"Makefile": MAKEFILE, "main.c": "", "README": "", ".config": "", "unibuild.toml": "", "dodo.py": ""})
    build = steps(root)["build"]
    assert build.commands == (("make",),)
    assert names(root, build.inputs) == [".config", "Makefile", "README", "main.c"]
    assert names(root, build.targets) == ["hello.xen"]


def test_every_setting_has_its_place_in_the_steps(tree):
    root = tree({"Makefile": MAKEFILE, "configure": "#!/bin/sh\n", "main.c": ""})
    found = steps(root, configure=("./configure", "--xen"), depend="deps", target="other", jobs=3, env={"V": "1"})
    assert [step.commands for step in found.values()] == [
        (("./configure", "--xen"),),
        (("make", "deps"),),
        (("make", "-j3", "other"),),
    ]
    assert all(step.env == {"V": "1"} and step.fingerprint["environment"] == "V=1" for step in found.values())
    assert names(root, found["configure"].inputs) == ["configure"]


def test_a_makefile_that_configure_makes_counts_by_its_content(tree):
    root = tree({"Makefile": MAKEFILE, "main.c": ""})
    build = steps(root, configure=("./configure",))["build"]
    assert root / "Makefile" in build.made
    assert names(root, build.inputs) == ["main.c"]


def test_the_gnumakefile_that_calls_unibuild_is_not_called_again(tree):
    root = tree({"Makefile": MAKEFILE, "GNUmakefile": OURS, "unibuild.mk": ""})
    build = steps(root)["build"]
    assert build.commands == (("make", "-f", "Makefile"),)
    assert names(root, build.inputs) == ["Makefile"]


@pytest.mark.parametrize("files", [{"GNUmakefile": MAKEFILE, "Makefile": ""}, {"GNUmakefile": OURS}])
def test_another_gnumakefile_is_what_make_reads(tree, files):
    assert steps(tree(files))["build"].commands == (("make",),)


def test_the_kernel_is_not_a_source_of_itself(tree):
    root = tree({"Makefile": MAKEFILE, "main.c": "", "hello.xen": ""})
    assert names(root, steps(root, sources=("*",))["build"].inputs) == ["Makefile", "main.c"]


@pytest.mark.parametrize(("change", "moved"), [({"jobs": 2}, "arguments"), ({"env": {"CC": "clang"}}, "environment")])
def test_settings_move_the_fingerprint(tree, change, moved):
    root = tree({"Makefile": MAKEFILE})
    before, after = steps(root)["build"].fingerprint, steps(root, **change)["build"].fingerprint
    assert [key for key in before if before[key] != after[key]] == [moved]


def test_without_a_kernel_the_settings_are_not_enough(tree):
    with pytest.raises(SettingsError, match=r"kernel = \"hello.xen\""):
        MakeToolchain(tree({"Makefile": MAKEFILE}), Build())


def test_the_steps_build_a_kernel(tree):
    root = tree({"Makefile": MAKEFILE, "main.c": "x"})
    chain = MakeToolchain(root, Build(kernel="hello.xen", depend="deps"))
    for step in chain.steps():
        step.require()
        for argv in step.commands:
            process.run(argv, cwd=step.cwd, env=step.env)
        chain.check(step.name)
    assert (root / "hello.xen").read_text() == "x"
    assert chain.digest(root / "hello.xen", "") == chain.digest(root / "main.c", "")


def test_a_make_that_leaves_no_kernel_has_failed(tree):
    with pytest.raises(BuildError, match=r"make other.*hello\.xen"):
        MakeToolchain(tree({"Makefile": MAKEFILE}), Build(kernel="hello.xen", target="other")).check("build")


def test_a_missing_make_is_an_error_with_a_hint(tree, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingError, match="make") as caught:
        steps(tree({"Makefile": MAKEFILE}))["build"].require()
    assert "apt install make" in caught.value.hint


def test_a_folder_with_nothing_to_build_is_a_sentence(tmp_path):
    with pytest.raises(SettingsError, match=r"nothing to build in .*: no config\.ml and no Makefile"):
        choose(Project(tmp_path, None, Settings()))


def test_a_makefile_is_built_with_make(tree):
    project = Project(tree({"Makefile": MAKEFILE}), None, Settings(build=Build(kernel="hello.xen")))
    assert choose(project).name == "make"
