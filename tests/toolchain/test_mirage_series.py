"""Every series of releases with the same unibuild.toml: the chain, and what is noticed before mirage is run."""

from __future__ import annotations

import fcntl
import re
import subprocess

import mirage_standin
import pytest
from mirage_standin import BUILD, CONFIGURE, DEPEND, VERSIONS

INSTALLS = [version for version, row in VERSIONS.items() if row.installs]
every = pytest.mark.parametrize("version", VERSIONS)


def configured(version):
    """Return what runs where configure does: in some releases it has opam install the packages."""
    return [CONFIGURE, DEPEND] if version in INSTALLS else [CONFIGURE]


@every
def test_the_chain(run, unikernel, kernel, version):
    assert (run(), run()) == ([CONFIGURE, DEPEND, BUILD], [])
    before = kernel()
    unikernel.write("unikernel.ml", "let start () = 1\n")
    assert (run(), kernel() != before) == ([BUILD], True)
    config = (unikernel.root / "config.ml").read_text()
    unikernel.write("config.ml", f"{config}(* why *)\n")
    evaluated_again = [BUILD] if VERSIONS[version].built_by.startswith("mirage") and version >= "3" else []
    assert (run(), run()) == ([*configured(version), *evaluated_again], [])
    unikernel.write("config.ml", f'let x = package "fmt"\n{config}'.replace('"hello"', '"hey"'))
    assert (run(), run()) == ([CONFIGURE, DEPEND, BUILD], [])
    assert kernel() != before


@every
def test_a_failed_configure_leaves_the_tree_as_it_was(run, unikernel):
    run()
    before = {
        path: path.read_bytes()
        for path in unikernel.root.rglob("*")
        if path.is_file() and ".unibuild" not in path.parts
    }
    text = (unikernel.root / "config.ml").read_text()
    unikernel.write("config.ml", text + mirage_standin.SYNTAX_ERROR)
    assert CONFIGURE in run(exit_code=1)
    assert "the files that it writes are as they were before" in run.said
    unikernel.write("config.ml", text)
    assert {path: path.read_bytes() for path in before} == before
    subprocess.run(["make", "build"], cwd=unikernel.root, check=True, capture_output=True)


@pytest.mark.parametrize("version", ["2.6.1", "2.9.1"])
def test_2_a_crunched_folder_is_an_input_of_configure(run, unikernel, kernel):
    unikernel.write("config.ml", 'let data = crunch "htdocs"\nlet () = register "hello" [ main $ data ]\n')
    unikernel.write("htdocs/index.html", "one")
    run()
    before = kernel()
    unikernel.write("htdocs/index.html", "two")
    assert (run(), kernel() != before, run()) == ([CONFIGURE, DEPEND, BUILD], True, [])


@pytest.mark.parametrize("version", ["2.0.0", "2.6.1"])
def test_2_with_no_opam_the_packages_are_fetched_by_make_depend(run, unikernel):
    run()  # configure asks ocamlfind for what is installed
    assert DEPEND not in run("mirage.args=--no-opam")[:1]
    unikernel.write("config.ml", (unikernel.root / "config.ml").read_text() + "(* why *)\n")
    assert run("mirage.args=--no-opam") == [CONFIGURE]
    assert run("mirage.args=--no-opam") == []


@pytest.mark.parametrize(
    ("version", "after"),
    [("3.10.8", "4.11.1"), ("4.11.1", "3.8.1"), ("4.0.0", "4.11.1"), ("2.6.1", "4.4.2"), ("3.6.0", "2.9.1")],
)
def test_another_version_configures_and_its_leftovers_go(run, unikernel, after):
    run()
    unikernel.use(after)
    assert run()[0] == CONFIGURE
    assert run() == [], run.said


@pytest.mark.parametrize(
    ("version", "told"), [("3.10.8", "3.7 to 3.10"), ("4.11.1", "4.11.1"), ("2.9.1", "2.7 to 2.9")]
)
def test_the_version_that_configured_the_tree_is_the_reason(run, unikernel, told):
    run()
    unikernel.use("4.4.2")
    assert CONFIGURE in run()
    assert f"configure: the tree was configured by mirage {told}\n" in run.said


@pytest.mark.parametrize("version", ["3.6.0", "3.10.8", "4.4.2", "4.11.1"])
def test_another_target_is_the_reason(run, unikernel):
    run()
    subprocess.run(["mirage", "configure", "-t", "unix"], cwd=unikernel.root, check=True, capture_output=True)
    assert CONFIGURE in run()
    assert "configure: the tree was configured for unix\n" in run.said


@pytest.mark.parametrize("version", ["4.11.1"])
def test_4_a_damaged_dune_is_the_reason(run, unikernel):
    run()
    subprocess.run(["mirage", "describe"], cwd=unikernel.root, check=True, capture_output=True)
    assert CONFIGURE in run()
    assert "configure: dune has lost the build: mirage query, describe, help" in run.said


@pytest.mark.parametrize("version", ["3.6.0", "4.4.2"])
def test_releases_that_config_ml_does_not_want_are_not_run(run, unikernel):
    unikernel.write("config.ml", "(* mirage >= 4.9.0 & < 4.12.0 *)\n" + (unikernel.root / "config.ml").read_text())
    assert run(exit_code=3) == []
    assert "asks in its first line for mirage >= 4.9.0 & < 4.12.0, and " in run.said
    assert "opam install 'mirage>=4.9.0' 'mirage<4.12.0'" in run.said


@pytest.mark.parametrize(
    ("version", "argument", "told"),
    [
        ("4.11.1", "--ipv4=10.0.0.2/24", 'that of 4.4 and earlier has it\n.*\n *\\[boot\\]\n *args = \\["--ipv4=10'),
        ("4.11.1", "--dhcp", "that of 4.10 and earlier has it"),
        ("4.4.2", "--no-dhcp", "that of 4.11 and later has it"),
        ("3.10.8", "--no-opam", "that of 1.0 to 1.1 and 2.0 to 2.9 has it"),
        ("2.6.1", "-oout", "that of 3.0 and later has it"),
    ],
)
def test_an_argument_that_the_release_lacks_is_refused(run, argument, told):
    assert run(f"mirage.args={argument}", exit_code=2) == []
    assert re.search(told, run.said), run.said


@pytest.mark.parametrize("version", ["3.10.8", "4.4.2", "4.11.1"])
def test_another_dune_is_waited_for(run, unikernel):
    run()
    unikernel.calls()
    unikernel.write("unikernel.ml", "let start () = 1\n")
    output = ""
    with (unikernel.root / "_build/.lock").open("w") as lock:
        lock.write("4711")
        lock.flush()
        fcntl.flock(lock, fcntl.LOCK_EX)
        argv, out = ["unibuild", "build"], subprocess.PIPE
        with subprocess.Popen(argv, cwd=unikernel.root, stdout=out, stderr=subprocess.STDOUT, text=True) as build:
            for line in build.stdout:
                output += line
                if "waiting, at most" in line:
                    fcntl.flock(lock, fcntl.LOCK_UN)
    assert build.returncode == 0, output
    assert BUILD in mirage_standin.steps(unikernel.calls())
    assert "waiting, at most 120 s, for process 4711, which has " in output or unikernel.version == "3.10.8"
