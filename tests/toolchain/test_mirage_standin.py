"""The stand-ins do what the released tools did when they were run, step by step."""

from __future__ import annotations

import os
import subprocess

import mirage_standin
import pytest

RENAMED = 'let () = register "hey" [ main ]\n'


@pytest.fixture
def sh(unikernel):
    """Run a shell line in the tree; returns the exit code and the files that are new, changed, touched, gone."""

    def look():
        files = {path: path.stat() for path in sorted(unikernel.root.rglob("*")) if path.is_file()}
        return {
            str(path.relative_to(unikernel.root)): (stat.st_mtime_ns, stat.st_ino, path.read_bytes())
            for path, stat in files.items()
            if "duniverse" not in path.parts and path.name != ".lock"
        }

    def run(line: str):
        before = look()
        for name in before:
            os.utime(unikernel.root / name, (1, 1))
        before = look()
        status = subprocess.run(["sh", "-c", line], cwd=unikernel.root, capture_output=True, check=False).returncode
        after = look()
        return {
            "exit": status,
            "new": sorted(set(after) - set(before)),
            "changed": sorted(name for name in after if name in before and after[name][2] != before[name][2]),
            "touched": sorted(name for name in after if name in before and after[name] != before[name]),
            "gone": sorted(set(before) - set(after)),
        }

    return run


only = pytest.mark.parametrize
three, four = only("version", ["3.10.8"]), only("version", ["4.11.1"])


@four
def test_4_configure_writes_these_files(sh):
    assert sh("mirage configure -t xen") == {
        "exit": 0,
        "new": [
            *("Makefile", "dist/dune", "dune", "dune-project", "dune-workspace", "dune.build", "dune.config"),
            *("mirage/context", "mirage/dune-workspace.config", "mirage/hello-xen.opam", "mirage/hello.xl"),
            *("mirage/hello.xl.in", "mirage/hello_libvirt.xml", "mirage/main.ml", "mirage/manifest.json"),
            "mirage/manifest.ml",
        ],
        "changed": [],
        "touched": [],
        "gone": [],
    }


@four
def test_4_configure_again_only_touches_them(sh):
    first, again = (sh("mirage configure -t xen") for _ in range(2))
    assert (again["changed"], again["touched"]) == ([], first["new"])


@three
def test_3_configure_writes_these_files(sh):
    assert sh("mirage configure -t xen")["new"] == [
        *(".mirage.config", "Makefile", "_build/manifest.json", "dune", "dune-project", "dune.build", "dune.config"),
        *("hello.xl", "hello.xl.in", "hello_libvirt.xml", "key_gen.ml", "main.ml"),
        *("mirage-unikernel-hello-xen.opam", "myocamlbuild.ml"),
    ]


@three
def test_3_configure_again_changes_the_date(sh):
    again = [sh("mirage configure -t xen") for _ in range(2)][1]
    dated = ["Makefile", "hello.xl", "hello.xl.in", "hello_libvirt.xml", "key_gen.ml", "main.ml"]
    assert again["changed"] == [*dated, "mirage-unikernel-hello-xen.opam"]
    assert "dune" in again["touched"]


def test_a_build_before_depend_fails(sh):
    assert sh("mirage configure -t xen && make build")["exit"] == 2


def test_a_build_leaves_a_kernel_of_its_sources(sh, unikernel, hello_kernels):
    sh("mirage configure -t xen && make depend && make build")
    kernel = "dist/hello.xen" if unikernel.version.startswith("4") else "hello.xen"
    unikernel.write("unikernel.ml", "let start () = 1\n")
    assert kernel in sh("make build")["changed"]
    assert (unikernel.root / kernel).read_bytes().startswith(hello_kernels.pvh.read_bytes())


@four
def test_4_a_build_with_nothing_changed_writes_nothing(sh):
    sh("mirage configure -t xen && make depend && make build")
    assert sh("touch unikernel.ml; make build")["touched"] == ["unikernel.ml"]


@three
def test_3_a_build_rewrites_dune_files(sh):
    sh("mirage configure -t xen && make depend && make build")
    assert {"dune", "dune-project", "dune.build", "dune.config"} <= set(sh("make build")["touched"])


def test_a_type_error_fails_and_leaves_the_old_kernel(sh, unikernel):
    sh("mirage configure -t xen && make depend && make build")
    unikernel.write("unikernel.ml", mirage_standin.TYPE_ERROR)
    assert sh("make build")["exit"] == 2


@four
@pytest.mark.parametrize("command", ["describe", "query name", "help"])
def test_4_after_another_subcommand_a_build_does_nothing_and_exits_0(sh, unikernel, command):
    sh("mirage configure -t xen && make depend && make build")
    assert sh(f"mirage {command}")["changed"] == ["dune", "dune-project"]
    unikernel.write("unikernel.ml", "let start () = 1\n")
    assert sh("make build") == {"exit": 0, "new": [], "changed": [], "touched": [], "gone": []}


@four
def test_4_a_configure_that_fails_leaves_a_damaged_dune(sh, unikernel):
    sh("mirage configure -t xen")
    unikernel.write("config.ml", "let = \n")
    failed = sh("mirage configure -t xen")
    assert (failed["exit"], failed["changed"]) == (1, ["dune", "dune-project"])


@three
@pytest.mark.parametrize("command", ["describe", "configure -t xen --no-such", "configure -t zen"])
def test_3_other_subcommands_only_touch_dune_files(sh, command):
    sh("mirage configure -t xen")
    output = sh(f"mirage {command}")
    assert (output["changed"], output["touched"]) == ([], ["dune", "dune-project", "dune.build", "dune.config"])


@four
@pytest.mark.parametrize("arguments", ["-t xen --no-such", "-t zen"])
def test_4_wrong_arguments_exit_1_and_change_the_context(sh, arguments):
    sh("mirage configure -t xen")
    output = sh(f"mirage configure {arguments}")
    assert (output["exit"], output["changed"]) == (1, ["dune", "dune-project", "mirage/context"])


@four
def test_4_depend_resolves_every_time(sh, unikernel):
    sh("mirage configure -t xen && make depend")
    unikernel.calls()
    sh("make depend")
    assert [call for call in unikernel.calls() if "monorepo lock" in call or "monorepo pull" in call]


@four
def test_4_a_renamed_unikernel_leaves_the_old_kernel(sh, unikernel):
    sh("mirage configure -t xen && make depend && make build")
    unikernel.write("config.ml", RENAMED)
    output = sh("mirage configure -t xen && make build")
    assert (output["gone"], "dist/hey.xen" in output["new"]) == ([], True)


def test_no_config_is_exit_1(sh, unikernel):
    (unikernel.root / "config.ml").unlink()
    assert sh("mirage configure -t xen")["exit"] == 1


@four
def test_4_a_makefile_of_ones_own_is_kept(sh, unikernel):
    unikernel.write("Makefile", "all:\n")
    assert "Makefile" not in sh("mirage configure -t xen")["touched"]


@three
def test_3_a_build_without_configure_fails(sh):
    assert sh("mirage build")["exit"] == 1
    assert sh("mirage configure -t xen && rm -r _build && make depend build")["exit"] == 2
