"""The whole chain through the command line: only what is stale runs, and what is there is never stale."""

from __future__ import annotations

import os
import subprocess

import mirage_standin
import pytest
from mirage_standin import BUILD, CONFIGURE, DEPEND

three = pytest.mark.parametrize("version", ["3.10.8"])
four = pytest.mark.parametrize("version", ["4.11.1"])
some_files = pytest.mark.parametrize(
    ("version", "name"),
    [
        *(("3.10.8", name) for name in ("hello.xen", "main.ml", "_build/manifest.json")),
        *(("4.11.1", name) for name in ("dist/hello.xen", "mirage/main.ml", "duniverse/dune")),
    ],
)


@pytest.fixture
def clean_build(unikernel, kernel, run):
    """Return what `kernel` would be after a build from nothing."""

    def digest() -> bytes:
        unikernel.root.rename(unikernel.root.with_name("was"))
        unikernel.root.mkdir()
        for name in ("config.ml", "unikernel.ml", "unibuild.toml"):
            unikernel.write(name, (unikernel.root.with_name("was") / name).read_text())
        run()
        return kernel()

    return digest


def test_a_first_build_runs_everything_and_the_next_one_nothing(run):
    assert [run(), run(), run()] == [[CONFIGURE, DEPEND, BUILD], [], []]


def test_up_to_date_tree_needs_no_mirage_on_path(run, unikernel, monkeypatch):
    switch = unikernel.root.with_name("switch")
    monkeypatch.setenv("OPAM_SWITCH_PREFIX", str(switch))
    run()
    for program in unikernel.programs.iterdir():
        program.rename(unikernel.root.with_name(program.name))
    monkeypatch.delenv("OPAM_SWITCH_PREFIX")
    assert run() == []
    unikernel.write("config.ml", "(* new *)\n" + (unikernel.root / "config.ml").read_text())
    run(exit_code=3)
    assert "not on PATH: mirage\n" in run.said
    for program in ("mirage", "opam", "dune", "ocamlbuild", "ocamlc"):
        unikernel.root.with_name(program).rename(unikernel.programs / program)
    monkeypatch.setenv("OPAM_SWITCH_PREFIX", str(switch))
    assert CONFIGURE in run()


def test_an_edit_runs_make_build_alone(run, unikernel, kernel):
    run()
    before = kernel()
    unikernel.write("unikernel.ml", "let start () = 1\n")
    assert (run(), kernel() != before) == ([BUILD], True)
    assert run() == []


def test_a_revert_is_built(run, unikernel, kernel):
    run()
    before, text = kernel(), (unikernel.root / "unikernel.ml").read_text()
    for edit in ("let start () = 1\n", text):
        unikernel.write("unikernel.ml", edit)
        run()
    assert kernel() == before


def test_a_new_module_is_built_and_one_that_goes_away_too(run, unikernel, kernel):
    run()
    before = kernel()
    unikernel.write("lib/more.ml", "let x = 1\n")
    assert (run(), kernel() != before) == ([BUILD], True)
    (unikernel.root / "lib/more.ml").unlink()
    assert (run(), kernel()) == ([BUILD], before)


def test_what_tools_write_runs_nothing_and_other_files_are_left_to_dune(run, unikernel, kernel):
    run()
    before = kernel()
    unikernel.write("_build/log", "x")
    unikernel.write("README.md~", "x")
    assert run() == []
    unikernel.write("README.md", "x")
    assert (run(), kernel()) == ([BUILD], before)


@four
def test_4_a_comment_in_config_ml_ends_at_configure(run, unikernel):
    run()
    unikernel.write("config.ml", (unikernel.root / "config.ml").read_text() + "(* why *)\n")
    assert (run(), run()) == ([CONFIGURE], [])


@three
def test_3_a_comment_in_config_ml_does_not_reach_depend(run, unikernel):
    run()
    unikernel.write("config.ml", (unikernel.root / "config.ml").read_text() + "(* why *)\n")
    assert (run(), run()) == ([CONFIGURE, BUILD], [])


def test_a_new_dependency_runs_everything(run, unikernel):
    run()
    unikernel.write("config.ml", 'let x = package "fmt"\n' + (unikernel.root / "config.ml").read_text())
    assert (run(), run()) == ([CONFIGURE, DEPEND, BUILD], [])


def test_arguments_are_configured_and_depend_is_spared(run):
    run()
    ran = run("mirage.args=--no-depext")
    assert ran[0] == CONFIGURE
    assert DEPEND not in ran


def test_a_configure_by_hand_runs_nothing(run, unikernel):
    run()
    subprocess.run(["mirage", "configure", "-t", "xen"], cwd=unikernel.root, check=True, capture_output=True)
    assert run() == []


@four
@pytest.mark.parametrize("command", ["describe", "query", "help"])
def test_4_a_tree_that_mirage_damaged_is_repaired(run, unikernel, kernel, command):
    run()
    before = kernel()
    subprocess.run(["mirage", command], cwd=unikernel.root, check=True, capture_output=True)
    unikernel.write("unikernel.ml", "let start () = 1\n")
    assert (run(), kernel() != before) == ([CONFIGURE, BUILD], True)


def test_a_broken_config_ml_fails_and_fixing_it_is_enough(run, unikernel, kernel):
    run()
    before, text = kernel(), (unikernel.root / "config.ml").read_text()
    unikernel.write("config.ml", text + mirage_standin.SYNTAX_ERROR)
    assert (run(exit_code=1), run(exit_code=1)) == ([CONFIGURE], [CONFIGURE])
    assert "`mirage configure -t xen` failed with exit code 1" in run.said
    unikernel.write("config.ml", text)
    assert (run()[0], kernel(), run()) == (CONFIGURE, before, [])


def test_a_type_error_fails_every_time_until_it_is_gone(run, unikernel):
    run()
    text = (unikernel.root / "unikernel.ml").read_text()
    unikernel.write("unikernel.ml", mirage_standin.TYPE_ERROR)
    assert (run(exit_code=1), run(exit_code=1)) == ([BUILD], [BUILD])
    unikernel.write("unikernel.ml", text)
    assert (run(), run()) == ([BUILD], [])


def test_a_depend_that_failed_is_run_again(run, unikernel):
    text = (unikernel.root / "config.ml").read_text()
    unikernel.write("config.ml", 'let x = package "no-such-package"\n' + text)
    assert (run(exit_code=1), run(exit_code=1)) == ([CONFIGURE, DEPEND], [DEPEND])
    unikernel.write("config.ml", text)
    assert run() == [CONFIGURE, DEPEND, BUILD]


def test_a_renamed_unikernel_is_what_is_built(run, unikernel, kernel, clean_build):
    run()
    unikernel.write("config.ml", (unikernel.root / "config.ml").read_text().replace('"hello"', '"hey-ho"'))
    assert CONFIGURE in run()
    assert run() == []
    assert kernel() == clean_build()


@some_files
def test_a_damaged_file_is_made_again(run, unikernel, kernel, name):
    run()
    path, before = unikernel.root / name, kernel()
    path.write_bytes(b"damaged")
    assert run() != []
    assert (path.read_bytes() != b"damaged", kernel(), run()) == (True, before, [])


@some_files
def test_a_file_that_is_gone_is_made_again(run, unikernel, kernel, name):
    run()
    path, before = unikernel.root / name, kernel()
    path.unlink()
    assert run() != []
    assert (path.exists(), kernel(), run()) == (True, before, [])


def test_another_build_of_the_same_mirage_configures_again(run, unikernel):
    run()
    os.utime(unikernel.programs / "mirage", (1, 1))
    ran = run()
    assert ran[0] == CONFIGURE
    assert DEPEND not in ran


@three
def test_3_a_recreated_switch_is_filled_again(run, unikernel, monkeypatch):
    run()
    for file in (unikernel.root.parent / "switch").iterdir():
        file.unlink()
    monkeypatch.setenv("OPAMSWITCH", "another")
    assert DEPEND in run()


SWITCHES = {  # how each becomes the one in use; `opam switch set` writes its name into opam's config
    "opam switch set": lambda root, opam, env: (opam / "config").write_text('switch: "second"\n'),
    "OPAMSWITCH": lambda root, opam, env: env.setenv("OPAMSWITCH", "second"),
    "OPAM_SWITCH_PREFIX": lambda root, opam, env: env.setenv("OPAM_SWITCH_PREFIX", str(opam / "second")),
    "local": lambda root, opam, env: (root / "_opam/.opam-switch").mkdir(parents=True),
    "local above": lambda root, opam, env: (root.parent / "_opam/.opam-switch").mkdir(parents=True),
}


@pytest.mark.parametrize("version", ["3.10.8", "4.11.1"])
@pytest.mark.parametrize("way", SWITCHES)
def test_another_switch_is_filled(run, unikernel, monkeypatch, tmp_path, way):
    for name in ("OPAMSWITCH", "OPAM_SWITCH_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    opam = tmp_path / "opam root"
    opam.mkdir()
    (opam / "config").write_text('switch: "first"\n')
    monkeypatch.setenv("OPAMROOT", str(opam))
    run()
    assert run() == []
    SWITCHES[way](unikernel.root, opam, monkeypatch)
    assert DEPEND in run()
    assert run() == []


def test_a_version_that_is_not_known_is_a_sentence(run, unikernel):
    (unikernel.programs / "mirage").write_text("#!/bin/sh\necho v4.12.0\n")
    assert run(exit_code=3) == []
    assert "mirage 4.12.0, which unibuild cannot drive; it drives 1.0 to 4.11" in run.said


def test_a_gnumakefile_that_calls_unibuild_changes_nothing(run, unikernel):
    unikernel.write("GNUmakefile", "include Makefile\ninclude unibuild.mk\n")
    unikernel.write("unibuild.mk", "build-all:\n\t+@unibuild build\n")
    assert [run(), run()] == [[CONFIGURE, DEPEND, BUILD], []]


def test_make_boot_of_mirages_own_makefile_does_not_recurse(run, unikernel):
    unikernel.write("Makefile.user", "build-all:\n\t+@unibuild build\n")
    run()
    unikernel.write("unikernel.ml", "let start () = 1\n")
    subprocess.run(["make", "-j2", "build-all"], cwd=unikernel.root, check=True, timeout=60, capture_output=True)
    assert mirage_standin.steps(unikernel.calls()) == [BUILD]


def test_depend_alone_can_be_asked_for(run, unikernel):
    run()
    subprocess.run(["unibuild", "-a", "-s", "depend"], cwd=unikernel.root, check=True, capture_output=True)
    assert mirage_standin.steps(unikernel.calls()) == [DEPEND]
    assert run() == []
