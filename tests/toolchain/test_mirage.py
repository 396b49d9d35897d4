"""The mirage toolchain's plan: its steps as values, and what is checked after them."""

from __future__ import annotations

import os
import re
import subprocess

import mirage_standin
import pytest

from unibuild.errors import BuildError, MissingError, SettingsError
from unibuild.settings.loader import Project
from unibuild.settings.model import Build, Settings
from unibuild.settings.model import Mirage as MirageSettings
from unibuild.toolchain.registry import choose
from unibuild.util import process

DYNAMIC = '(* name: {} *)\nlet name = "hel" ^ "lo"\nlet () = register name [ main ]\n'
three = pytest.mark.parametrize("version", ["3.10.8"])
four = pytest.mark.parametrize("version", ["4.11.1"])


@pytest.fixture
def plan(unikernel):
    """Return the toolchain for the tree, with settings."""

    def make(*, args=(), config="config.ml", **build):
        settings = Settings(build=Build(**build), mirage=MirageSettings(config=config, args=tuple(args)))
        return choose(Project(unikernel.root, unikernel.root / "unibuild.toml", settings))

    return make


@pytest.fixture
def carry_out():
    """Run steps of a toolchain, as far as the one that is named."""

    def run(toolchain, last="build"):
        for step in toolchain.steps():
            step.require()
            for argv in step.commands:
                process.run(argv, cwd=step.cwd, env=step.env)
            toolchain.check(step.name)
            if step.name == last:
                break
        return toolchain

    return run


def step(toolchain, name):
    return next(step for step in toolchain.steps() if step.name == name)


def names(unikernel, paths):
    return [str(path.relative_to(unikernel.root)) for path in paths]


# What is run


def test_the_commands_name_the_target_and_never_re_solve(plan):
    assert [step.commands for step in plan(args=["--no-depext"], jobs=2).steps()] == [
        (("mirage", "configure", "-t", "xen", "--no-depext"),),
        (("make", "depend"),),
        (("make", "-j2", "build"),),
    ]


def test_planning_runs_nothing(plan, unikernel):
    plan().steps()
    unikernel.calls()
    before = sorted(unikernel.root.iterdir())  # .unibuild holds what spares looking again
    plan().steps()
    assert (unikernel.calls(), sorted(unikernel.root.iterdir())) == ([], before)


V1, V2 = ("mir-hello.xen", "hello.xl"), ("mir-my-app.v2.xen", "my-app.v2.xl")
V3, V4 = ("hello.xen", "hello.xl"), ("dist/hello.xen", "mirage/hello.xl")


@pytest.mark.parametrize(
    ("version", "registered", "args", "paths"),
    [
        *((version, "hello", [], V1) for version in mirage_standin.VERSIONS if version < "3"),
        *((version, "hello", [], V3) for version in mirage_standin.VERSIONS if version[0] == "3"),
        *((version, "hello", [], V4) for version in mirage_standin.VERSIONS if version[0] == "4"),
        ("2.6.1", "my-app.v2", [], V2),
        ("3.10.8", "my-app.v2", [], ("my_appv2.xen", "my_appv2.xl")),
        ("4.11.1", "my-app.v2", [], ("dist/my-app.v2.xen", "mirage/my-app.v2.xl")),
        ("3.10.8", "hello", ["-o", "out"], V3),
        ("4.0.0", "hello", ["-o", "out"], ("dist/out.xen", "mirage/hello.xl")),
        ("4.11.1", "hello", ["--output=a.b"], ("dist/a.b.xen", "mirage/hello.xl")),
    ],
)
def test_every_target_is_there_afterwards_and_nothing_else(plan, unikernel, carry_out, registered, args, paths):
    """The table of releases against what the tool leaves."""
    unikernel.write("config.ml", f'let () = register "{registered}" [ main ]\n')
    own = set(unikernel.root.iterdir())
    toolchain = carry_out(plan(args=args))
    assert tuple(names(unikernel, [toolchain.kernel, toolchain.xl])) == paths
    ours = {path for step in plan(args=args).steps() for path in step.targets}
    left = {path for path in unikernel.root.rglob("*") if path.is_file() and ".unibuild" not in path.parts} - own
    by_the_way = {path for path in left if "duniverse" in path.parts or path.name in (".lock", "main.native.o")}
    promoted = {unikernel.root / "dist" / toolchain.xl.name}
    assert all(path.is_file() for path in ours)
    assert left - by_the_way - promoted == ours - by_the_way
    assert toolchain.xl_in is None or toolchain.xl_in.is_file()


@four
def test_4_a_config_in_a_sub_folder(plan, unikernel, carry_out):
    unikernel.write("app/config.ml", (unikernel.root / "config.ml").read_text())
    toolchain = carry_out(plan(config="app/config.ml"))
    assert step(toolchain, "configure").commands[0][-2:] == ("-f", "app/config.ml")
    assert names(unikernel, [toolchain.kernel, toolchain.xl]) == ["app/dist/hello.xen", "app/mirage/hello.xl"]


@three
def test_3_a_config_in_a_sub_folder_is_configured_there(plan, unikernel, carry_out):
    unikernel.write("app/config.ml", (unikernel.root / "config.ml").read_text())
    toolchain = carry_out(plan(config="app/config.ml"))
    assert step(toolchain, "configure").cwd == unikernel.root / "app"
    assert names(unikernel, [toolchain.kernel, toolchain.xl]) == ["app/hello.xen", "app/hello.xl"]


@pytest.mark.parametrize(
    "argument", ["-t", "-tunix", "--target=hvt", "-f", "--dry-run", "--help", "-bx", "--context-file"]
)
def test_arguments_that_unibuild_passes_are_refused(plan, argument):
    with pytest.raises(SettingsError, match=rf"\[mirage\] args.*{argument}"):
        plan(args=["--no-depext", argument])


# What decides whether a step is stale


def test_sources_are_the_users_files(plan, unikernel, carry_out):
    before = step(plan(), "build").inputs
    carry_out(plan())
    if unikernel.version.startswith("4"):
        unikernel.write("dist/x.ml", "")
        unikernel.write("duniverse/x.ml", "")
    unikernel.write("_build/default/x.ml", "")
    unikernel.write("lib/x.ml", "")
    assert set(names(unikernel, step(plan(), "build").inputs)) == {*names(unikernel, before), "lib/x.ml"}


def test_data_of_any_name_is_a_source(plan, unikernel):
    unikernel.write("htdocs[1]/a/index.html", "")
    unikernel.write("_build/log", "")
    found = names(unikernel, step(plan(), "build").inputs)
    assert ("htdocs[1]/a/index.html" in found, "_build/log" in found) == (True, False)


def test_files_to_ignore_are_not_sources(plan, unikernel):
    before = step(plan(), "build").inputs
    unikernel.write("doc/index.html", "")
    assert step(plan(ignore=("/doc/",)), "build").inputs == before


@three
def test_3_crunched_modules_are_not_sources(plan, unikernel):
    unikernel.write("static1.ml", "(* Generated by: ocaml-crunch *)")
    unikernel.write("static_server.ml", "let x = 1")
    found = names(unikernel, step(plan(), "build").inputs)
    assert sorted(found) == ["static_server.ml", "unikernel.ml"]


def test_a_file_that_the_user_took_over_is_a_source(plan, unikernel, carry_out):
    unikernel.write("dune-project", "(lang dune 3.0)\n")
    toolchain = carry_out(plan(), "configure")
    assert unikernel.root / "dune-project" not in step(toolchain, "configure").targets
    if unikernel.version.startswith("4"):
        assert unikernel.root / "dune-project" in step(toolchain, "build").inputs


def test_modules_of_config_ml_are_inputs_of_configure(plan, unikernel):
    unikernel.write("config.ml", '#use "net.ml"\nlet () = register "hello" [ main ]\n')
    unikernel.write("net.ml", "")
    unikernel.write("extra.ml", "")
    unikernel.write("dune.config", "(executable (name config) (modules config Extra))\n")
    found = names(unikernel, step(plan(), "configure").inputs)
    assert found == ["config.ml", "dune.config", "extra.ml", "net.ml"]


def test_another_mirage_moves_the_fingerprint_of_configure(plan, unikernel):
    before = step(plan(), "configure").fingerprint
    os.utime(unikernel.programs / "mirage", (1, 1))
    after = step(plan(), "configure").fingerprint
    assert [name for name in before if before[name] != after[name]] == ["mirage"]


def test_variables_that_the_tools_read_move_it(plan, monkeypatch):
    before = step(plan(), "depend").fingerprint
    monkeypatch.setenv("OPAMSWITCH", "other")
    assert step(plan(), "depend").fingerprint != before


def test_mode_is_never_trusted(plan, monkeypatch):
    before = plan().steps()
    monkeypatch.setenv("MODE", "unix")
    assert plan().steps() == before
    assert {step.env["MODE"] for step in plan(env={"MODE": "unix"}).steps()} == {"xen"}


def test_what_is_in_the_switch_counts_by_its_content(plan, unikernel):
    unikernel.write("_opam/.opam-switch/switch-state", "")
    build = step(plan(), "build")
    assert unikernel.root / "_opam/.opam-switch/switch-state" in build.made


@three
def test_3_other_opam_files_are_inputs_of_depend(plan, unikernel, carry_out):
    unikernel.write("mine.opam", 'opam-version: "2.0"\ndepends: [\n]\n')
    unikernel.write("mirage-unikernel-old-xen.opam", 'opam-version: "2.0"\ndepends: [\n]\n')
    assert names(unikernel, step(carry_out(plan()), "depend").inputs) == ["mine.opam"]


def test_configure_again_moves_no_digest(plan, unikernel, carry_out):
    first = carry_out(plan(), "configure")
    before = {path: first.digest(path, "") for path in step(first, "configure").targets}
    again = carry_out(plan(args=["--no-depext"]), "configure")
    moved = {path for path in before if again.digest(path, "") != before[path]}
    assert not {path for path in moved if path.suffix in (".opam", ".xl")}
    assert names(unikernel, sorted(moved)) in (["mirage/context"], [".mirage.config", "Makefile", "key_gen.ml"])


def test_a_branch_moves_no_digest_and_a_dependency_does(plan, unikernel, carry_out, git):
    git(unikernel.root, "init", "-q", "-b", "main")
    git(
        unikernel.root,
        "-c",
        "user.name=u",
        "-c",
        "user.email=u@example.com",
        "commit",
        "-q",
        "--allow-empty",
        "-m",
        "x",
    )
    toolchain = carry_out(plan(), "configure")
    opam = step(toolchain, "depend").made[0]
    before, text = toolchain.digest(opam, "depend"), opam.read_text()
    git(unikernel.root, "checkout", "-q", "-b", "other")
    carry_out(plan(), "configure")
    assert (toolchain.digest(opam, "depend"), opam.read_text() == text) == (before, False)
    unikernel.write("config.ml", 'let x = package "fmt"\nlet () = register "hello" [ main ]\n')
    assert carry_out(plan(), "configure").digest(opam, "depend") != before


# The name


def test_a_computed_name_has_to_be_set(plan, unikernel):
    unikernel.write("config.ml", DYNAMIC.format("hello"))
    with pytest.raises(
        SettingsError, match=r"does not say the unikernel's name in plain text(.|\n)*\[build\]\n *kernel = "
    ):
        plan()


def test_a_name_that_was_set_is_enough(plan, unikernel, carry_out):
    unikernel.write("config.ml", DYNAMIC.format("hello"))
    kernel = "dist/hello.xen" if unikernel.version.startswith("4") else "hello.xen"
    assert carry_out(plan(kernel=kernel)).kernel == unikernel.root / kernel


@pytest.mark.parametrize("version", ["2.6.1", "2.9.1"])
def test_before_mirage_3_the_name_is_that_of_the_kernel_without_mir(plan, unikernel, carry_out):
    unikernel.write("config.ml", DYNAMIC.format("hello"))
    assert carry_out(plan(kernel="mir-hello.xen"), "configure").xl == unikernel.root / "hello.xl"


def test_variables_that_the_configuration_names_are_in_the_fingerprint_and_others_are_not(plan, unikernel, monkeypatch):
    unikernel.write("config.ml", 'let target = get "TARGET"\nlet () = register "hello" [ main ]\n')
    before = step(plan(), "configure").fingerprint
    monkeypatch.setenv("UNRELATED", "x")
    assert step(plan(), "configure").fingerprint == before
    monkeypatch.setenv("TARGET", "two")
    after = step(plan(), "configure").fingerprint
    assert {key for key in after if after[key] != before.get(key)} == {"TARGET"}


def test_after_configure_the_generated_files_have_the_name(plan, unikernel, carry_out):
    carry_out(plan(), "configure")
    unikernel.write("config.ml", DYNAMIC.format("hello"))
    assert plan().kernel.name == "hello.xen"


def test_a_computed_name_that_moved_is_noticed_and_known_the_next_time(plan, unikernel, carry_out):
    carry_out(plan(), "configure")
    unikernel.write("config.ml", DYNAMIC.format("hey"))
    with pytest.raises(BuildError, match=r"\bhey\b.*\bhello\b"):
        carry_out(plan(), "configure")
    assert carry_out(plan()).kernel.name == "hey.xen"


def test_a_name_that_was_set_wrong_is_corrected(plan, unikernel, carry_out):
    unikernel.write("config.ml", DYNAMIC.format("hello"))
    with pytest.raises(BuildError, match=r'mirage configured the unikernel hello(.|\n)*kernel = "(dist/)?hello\.xen"'):
        carry_out(plan(kernel="wrong.xen"), "configure")


# What is checked


@four
def test_4_a_dune_that_lost_the_build_is_noticed(plan, unikernel, carry_out):
    toolchain = carry_out(plan())
    subprocess.run(["mirage", "describe"], cwd=unikernel.root, check=True)
    with pytest.raises(BuildError, match=r"dune\.build"):
        carry_out_build = step(toolchain, "build").commands[0]
        process.run(carry_out_build, cwd=unikernel.root)
        toolchain.check("build")


def test_a_build_without_a_kernel_has_failed(plan, carry_out):
    toolchain = carry_out(plan())
    toolchain.kernel.unlink()
    with pytest.raises(BuildError, match=r"make build.*hello\.xen"):
        toolchain.check("build")


@pytest.mark.parametrize("program", ["opam", "dune"])
def test_a_missing_program_is_an_error(plan, unikernel, carry_out, program):
    (unikernel.programs / program).unlink()
    with pytest.raises(MissingError, match=program):
        carry_out(plan())


def test_no_configuration_file_is_a_sentence(plan):
    with pytest.raises(SettingsError, match=re.escape("none/config.ml")):
        plan(config="none/config.ml", toolchain="mirage")


@pytest.mark.parametrize("config", ["../config.ml", "/etc/config.ml", "a/../../hello2/config.ml"])
def test_a_configuration_file_elsewhere_is_a_sentence(plan, config):
    with pytest.raises(SettingsError, match=r"\[mirage\] config"):
        plan(config=config, toolchain="mirage")
