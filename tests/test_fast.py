"""unibuild/_fast_path_file.py: it prints "up to date" in the time of starting Python, and only when that is true."""

import os
import random
import resource

import pytest

from unibuild import _fast_path_file

FAST = """
sys.argv = ["unibuild", "build"]
from unibuild import _fast_path as _fast
before = set(sys.modules)
code = _fast.main()
print(code, sorted(set(sys.modules) - START))
"""


@pytest.fixture
def built(tree):
    """A tree with a source in a folder, built, and its snapshot."""
    tree.write("lib/part.c", "part")
    tree.run("unibuild", "build")
    return tree


def took_fast_path(tree, **env):
    """Return whether ``unibuild build`` ended without importing doit."""
    output = tree.run("python", "-X", "importtime", str(tree.bin / "unibuild"), "build", **env)
    return "build: up to date" in output and " doit" not in output


def test_fast_path_reports_that_nothing_is_stale(built):
    assert took_fast_path(built)
    assert built.run("unibuild", "build") == "build: up to date\n"


IMPORTED_BY_A_BUILD = """
import os, socket, sys
from pathlib import Path
from unibuild.doit_plugin.build_worker import BuildWorkerServer
from unibuild.graph import run_stage

ends = socket.socketpair()
server = BuildWorkerServer(ends[0], Path.cwd(), "", [])
before = {*sys.modules}
for name in ("main.c", "new.c"):
    Path(name).write_text("edited")

def make_starts(*_, **__):
    sys.stdout.flush()
    os.write(1, f"{sorted({*sys.modules} - before)}".encode())
    os._exit(0)

run_stage.process.run_interactive = make_starts
server.build()
"""


def test_worker_of_watch_imports_before_a_save_what_a_build_needs(built):
    assert built.run("python", "-c", IMPORTED_BY_A_BUILD).splitlines()[-1] == "[]"


def test_checking_the_running_domain_imports_no_grammar(tree):
    code = "import sys, unibuild.deploy.up_to_date, unibuild.host.xl; print(*sorted(sys.modules))"
    assert "unibuild.xlcfg.parser" not in tree.run("python", "-c", code).split()


def test_script_ends_without_finalizing_the_interpreter(built):
    code = "import atexit, sys; atexit.register(print, 'late'); sys.argv = ['unibuild', 'build']\n"
    code += "from unibuild._fast_path import script; sys.exit(script())"
    assert built.run("python", "-c", code) == "build: up to date\n"
    assert built.run("unibuild", "build") == "build: up to date\n"


def test_fast_path_imports_next_to_nothing(built):
    code = "import sys, os, marshal; START = set(sys.modules)" + FAST
    assert (
        built.run("python", "-c", code)
        == "build: up to date\n0 ['unibuild', 'unibuild._fast_path', 'unibuild._fast_path_file']\n"
    )


def test_fast_path_works_in_a_folder_below(built):
    assert built.run("unibuild", "build", cwd=built.root / "lib") == "build: up to date\n"


CHANGES = {
    "an edited source": lambda tree: tree.write("main.c", "two"),
    "an edited source of the same size": lambda tree: tree.write("main.c", "eno"),
    "an edited source in a folder": lambda tree: tree.write("lib/part.c", "else"),
    "a new source": lambda tree: tree.write("lib/new.c", "new"),
    "a source that is gone": lambda tree: (tree.root / "lib" / "part.c").unlink(),
    "a kernel cut off": lambda tree: os.truncate(tree.root / "hello.xen", 1),
    "a kernel that is gone": lambda tree: (tree.root / "hello.xen").unlink(),
    "the kept kernel harmed": lambda tree: tree.write(".unibuild/hello.xen", "x"),
    "a setting": lambda tree: tree.write("unibuild.toml", tree.read("unibuild.toml") + "jobs = 2\n"),
    "doit forget": lambda tree: tree.run("doit", "forget", "build"),
    "another state": lambda tree: (tree.root / ".unibuild" / "state.json").unlink(),
    "a new .gitignore": lambda tree: tree.write(".gitignore", "lib/\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_noticed(built, change):
    CHANGES[change](built)
    assert not took_fast_path(built)
    assert took_fast_path(built), "the slow path writes a new snapshot"


def test_setting_in_the_environment_is_noticed(built):
    assert not took_fast_path(built, UNIBUILD_BUILD_JOBS="2")


def test_another_program_of_the_same_name_is_noticed(built, tmp_path):
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    (tmp_path / "bin").mkdir()
    built.run("unibuild", "build", PATH=path)
    assert took_fast_path(built, PATH=path)
    (tmp_path / "bin" / "make").symlink_to("/usr/bin/make")
    assert not took_fast_path(built, PATH=path)


def test_unreadable_folder_of_path_is_skipped(built):
    path = f"/{'x' * 300}:{os.environ['PATH']}"
    built.run("unibuild", "build", PATH=path)
    assert took_fast_path(built, PATH=path)


def test_nearer_project_is_noticed(built):
    built.write("lib/unibuild.toml", '[build]\nkernel = "k"\n')
    assert "nothing to build" in built.run("unibuild", "build", cwd=built.root / "lib", code=2)


def test_only_goals_that_are_up_to_date_are_reported_as_such(built):
    assert "xl: not done yet" in built.run("unibuild", "xl", code=2)


HOSTILE = {
    "nothing": b"",
    "junk": b"\0junk",
    "marshal that asks for 4 GiB": b"(\xff\xff\xff\x1f",
    "no fields": _fast_path_file.pack([]),
}
FIELDS = {  # after the environment; first how many paths may not be there
    "no count": [],
    "no layers": ["0"],
    "a count that is not there": ["0", "", str(1 << 60)],
    "a negative count": ["-1", "0", "build", "-1"],
    "a negative count in a layer": ["0", "", "-1"],
    "a number of a million digits": ["0", "", "9" * 1000000],
    "a folder for a path": ["0", "", "1", "/", "0:0:0"],
    "a path that is there": ["1", "/", "build", "0"],
}


@pytest.mark.parametrize("what", HOSTILE)
def test_damaged_snapshot_is_ignored(built, what):
    (built.root / ".unibuild" / "fast").write_bytes(HOSTILE[what])
    assert not took_fast_path(built)
    assert took_fast_path(built)


@pytest.mark.parametrize("what", FIELDS)
def test_wrong_fields_are_ignored(built, what):
    path = built.root / ".unibuild" / "fast"
    fields = _fast_path_file.unpack(path.read_bytes())
    environment = 2 + int(fields[1])
    head = fields[: environment + 1 + int(fields[environment])]
    path.write_bytes(_fast_path_file.pack([*head, *FIELDS[what]]))
    assert not took_fast_path(built)
    path.write_bytes(_fast_path_file.pack([*head, "0", "build", "0"]))
    assert took_fast_path(built)


def test_no_snapshot_is_written_with_settings_on_the_command_line(tree):
    tree.run("unibuild", "build", "build.jobs=2")
    assert not (tree.root / ".unibuild" / "fast").exists()


def test_edit_while_the_snapshot_is_written_is_noticed(built, monkeypatch):
    from unibuild.cli import fast_path_cache

    inner = fast_path_cache._stage_layers

    def edited(found):
        layers = list(inner(found))
        built.write("main.c", "two")
        return layers

    monkeypatch.setattr(fast_path_cache, "_stage_layers", edited)
    fast_path_cache.write(built.root)
    assert not took_fast_path(built)


def test_source_added_while_the_snapshot_is_written_is_noticed(built, monkeypatch):
    from unibuild.cli import fast_path_cache

    inner = fast_path_cache.graph
    calls = []

    def listed(project):
        found = inner(project)
        calls.append(found)
        if len(calls) == 2:
            built.write("lib/late.c", "late")  # after the second scan: only the folder's fingerprint shows it
        return found

    monkeypatch.setattr(fast_path_cache, "graph", listed)
    fast_path_cache.write(built.root)
    assert not took_fast_path(built)


def test_fast_and_slow_path_print_the_same(built):
    fast = built.run("unibuild", "build")
    (built.root / ".unibuild" / "fast").unlink()
    assert built.run("unibuild", "build") == fast


def test_damaged_snapshot_is_not_trusted_and_costs_no_memory(built, monkeypatch):
    """Damage to any bytes raises no exception, and the snapshot's length limits the memory for it."""
    monkeypatch.chdir(built.root)
    monkeypatch.setenv("HOME", "/")  # the build ran with another environment
    file, draw = built.root / ".unibuild" / "fast", random.Random(13)
    content = file.read_bytes()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.choice([1, 2, 8])):
            damaged[draw.randrange(len(damaged))] = draw.choice([0, 0x1F, 0x28, 0x7F, 0xFF, draw.randrange(256)])
        file.write_bytes(damaged[: draw.choice([None, draw.randrange(len(damaged))])])
        assert not _fast_path_file.current("build")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 << 10


def test_unwritable_snapshot_is_not_a_failure(built):
    (built.root / ".unibuild" / "fast").unlink()
    (built.root / ".unibuild" / "fast").mkdir()
    assert built.run("unibuild", "build") == "build: up to date\n"
