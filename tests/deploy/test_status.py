"""`status`, `history` and `rollback`: reports on a project's domains and generations."""

import dataclasses
import json
import shutil
import time
import uuid
from datetime import UTC, datetime

import pytest

from unibuild.deploy import boot, history, status
from unibuild.deploy.up_to_date import identify
from unibuild.doit_plugin.state import StateFile
from unibuild.domain import records
from unibuild.domain.generations import GenerationStore
from unibuild.errors import InputError
from unibuild.graph import provenance
from unibuild.settings.loader import load, state_dir
from unibuild.util import files, process
from unibuild.util.output import age, table

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


@dataclasses.dataclass
class Life:
    """A project on a host that stands in for Xen, and what was booted there, written down by hand."""

    tree: object
    xen: object

    @property
    def project(self):
        return load(self.tree.root, {}, {})

    @property
    def state(self):
        return state_dir(self.tree.root)

    @property
    def store(self):
        return GenerationStore(self.state)

    def boot(self, word="stay", *, host="local", outcome="ready", known=None, paused=False, there=True, pending=False):
        """Do what a boot of a kernel that does ``word`` leaves behind; return the number of its generation."""
        kernel = self.state / "hello.xen"
        kernel.write_text(f"#!kernel\n{word}\n")
        xl = self.state / "hello.xl"
        xl.write_text(f"name = 'hello'\nkernel = '{kernel}'\nmemory = 32\non_crash = 'preserve'\n")
        one = self.store.add(kernel, xl, known or {"revision": "v1-3-gabc", "arguments": "--port=80"})
        number, asked = one.number, str(uuid.uuid4())
        if there:
            for domid in self.xen.domains():
                process.run(["xl", "destroy", domid])
            process.run(["xl", "create", "-p", str(xl), f"uuid='{asked}'"])
            if not paused:
                process.run(["xl", "unpause", [*self.xen.domains()][-1]])
        made = records.DomainRecord(
            asked, "hello", number, records.BootFiles(identify(kernel), identify(xl)), "2026-11-23T10:00:00.000Z"
        )
        old = records.load(self.state, host)
        records.save(self.state, dataclasses.replace(old, **{"pending" if pending else "good": made}))
        self.store.started(number, host, asked, None)
        self.store.ended(asked, outcome, "")
        return number

    def look(self):
        state = StateFile(str(self.state / "state.json"))
        return status.collect(self.project, lambda name: state.get(name, "_values_:"), NOON)

    def host(self, name="local"):
        return next(one for one in self.look()["hosts"] if one["host"] == name)

    def text(self):
        return "\n".join(status.render(self.look()))


@pytest.fixture
def life(tree, xen):
    tree.write("unibuild.toml", 'name = "hello"\nhost = "local"\n' + tree.read("unibuild.toml"))
    return Life(tree, xen)


# --- status


def test_nothing_was_booted(life):
    assert life.look()["hosts"] == []
    assert "no domain of this project is on any host: run `unibuild boot`" in life.text()
    assert life.xen.calls("xl") == []


def test_a_domain_that_runs(life):
    life.boot()
    found = life.host()
    assert (found["name"], found["domid"], found["state"], found["age"]) == ("hello", 1, "running", 7200)
    assert (found["generation"], found["revision"], found["differs"]) == (1, "v1-3-gabc", [])
    row = life.text().splitlines()[1]
    assert row.split() == ["local", "hello", "1", "runs", "2", "h", "1", "v1-3-gabc"]


def test_status_takes_one_query(life):
    life.boot()
    before = len(life.xen.calls("xl"))
    life.look()
    assert life.xen.calls("xl")[before:] == [["list", "-v"]]


@pytest.mark.parametrize(
    ("how", "state", "words"),
    [
        ({"paused": True}, "paused", "paused"),
        ({"there": False}, "gone", "is gone"),
    ],
)
def test_a_domain_that_does_not_run(life, how, state, words):
    life.boot(**how)
    assert (life.host()["state"], life.host()["words"], life.host()["age"]) == (state, words, None)


def test_a_domain_that_crashed(life):
    life.boot("crash")
    deadline = time.monotonic() + 60
    while life.host()["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (life.host()["state"], life.host()["words"]) == ("ended", "crashed")


def test_status_does_not_start_the_lab(life):
    life.boot(host="lab", there=False)
    assert (life.host("lab")["state"], life.host("lab")["words"]) == ("down", "the lab is down")


def test_unreachable_host_is_one_line_of_the_status(life):
    life.boot()
    life.boot(host="ssh://there", there=False)
    life.xen.refuse("ssh", "ssh: connect to host there port 22: Connection refused")
    assert (life.host()["state"], life.host("ssh://there")["state"]) == ("running", "unknown")
    assert "ssh://there: cannot reach ssh://there: nothing listens on its SSH port" in life.text()


def test_interrupted_boot_is_reported_with_a_hint(life):
    life.boot()
    life.boot("echo", pending=True, there=False)
    assert life.host()["pending"]["generation"] == 2
    assert "local: the boot of generation 2 was interrupted: run `unibuild boot`" in life.text()


def test_running_boot_is_not_reported_as_interrupted(life):
    life.boot(pending=True)
    with files.lock(records.lock_path(life.state, "local"), "the domain"):
        assert "local: generation 1 is being booted" in life.text()


@pytest.mark.parametrize(
    ("name", "differs"), [("hello.xen", ["kernel"]), ("hello.xl", [".xl"]), ("other", [])], ids=["kernel", "xl", "none"]
)
def test_built_files_are_compared_with_the_running_domain(life, name, differs):
    life.boot()
    (life.state / name).write_text("name = 'another'\n")
    assert life.host()["differs"] == differs
    assert ("differs from what was built: " + " and ".join(differs) in life.text()) is bool(differs)


def test_stale_tree_is_reported(life):
    assert life.look()["tree"]["stage"] == "build"
    life.tree.run("unibuild", "build")
    assert life.look()["tree"]["stage"] == "xl"
    life.tree.write("main.c", "two")
    assert "out of date: build (main.c changed)" in life.text()


def test_a_tree_that_cannot_be_built_has_a_status_too(life):
    life.boot()
    (life.tree.root / "Makefile").unlink()
    assert life.look()["tree"]["reason"].startswith("nothing to build in")
    assert life.host()["state"] == "running"


@pytest.mark.parametrize("program", ["unibuild", "doit"])
@pytest.mark.parametrize("goal", ["status", "history"])
def test_only_json_is_printed(life, program, goal):
    life.boot()
    told = json.loads(life.tree.run(program, goal, "--json"))
    assert (told["version"], told["root"]) == (1, str(life.tree.root))


@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_text_is_printed_by_both_entry_points(life, program):
    life.boot()
    assert "v1-3-gabc" in life.tree.run(program, "status")
    assert "v1-3-gabc" in life.tree.run(program, "history")


# --- history


def test_there_is_no_history_yet(life):
    (line,) = history.render(history.collect(life.project))
    assert line == "no generations yet: run `unibuild boot`"


def test_history_is_newest_first_and_marks_running_generations(life):
    life.boot("stay")
    life.boot("echo", outcome="not ready")
    life.boot("stay")
    told = history.collect(life.project)["generations"]
    assert [(one["number"], one["runs_on"], len(one["boots"])) for one in told] == [(2, [], 1), (1, ["local"], 2)]
    head, first, second = history.render(history.collect(life.project))
    assert ("not ready" in second, "runs" in first, head.split()[0]) == (True, True, "GENERATION")
    assert told[0]["kernel"]["sha256"][:12] in second


def test_each_host_has_its_own_line(life):
    life.boot()
    life.boot(host="ssh://there", there=False)
    life.xen.refuse("ssh", "ssh: connect to host there port 22: Connection refused")
    _, one, other = history.render(history.collect(life.project))
    assert ("ssh://there" in one, "local" in other) == (True, True)


# --- rollback


@pytest.fixture
def booted(monkeypatch):
    """What rollback hands on to be booted."""
    found = []
    monkeypatch.setattr(boot, "boot_generation", lambda project, one: found.append(one.number), raising=False)
    return found


def test_rollback_uses_the_good_generation_before_the_present(life, booted):
    for word, outcome in (("stay", "ready"), ("echo", "not ready"), ("sleep 9", "ready")):
        life.boot(word, outcome=outcome)
    history.rollback(life.project, [])
    history.rollback(life.project, ["2"])
    assert booted == [1, 2]


def test_rollback_without_a_domain_uses_the_last_good_generation(life, booted):
    life.boot("stay")
    life.boot("echo")
    records.forget(life.state, "local")
    history.rollback(life.project, [])
    assert booted == [2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["7"], "there is no generation 7"),
        (["x"], "not `x`"),
        (["1", "2"], "not `1 2`"),
        (["1", "--wait", "5"], "options come before the number"),
        ([], "no generation before 1 was good on local"),
    ],
)
def test_invalid_rollback_lists_the_kept_generations(life, booted, words, said):
    life.boot()
    with pytest.raises(InputError, match=said) as caught:
        history.rollback(life.project, words)
    assert "unibuild" in caught.value.hint
    assert booted == []


@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_rollback_takes_a_number_at_both_entry_points(life, program):
    life.boot()
    (life.tree.root / "Makefile").unlink()
    assert "there is no generation 7" in life.tree.run(program, "rollback", "7", code=2)
    assert "nothing to build in" in life.tree.run(program, "build", code=2)


@pytest.mark.parametrize("program", ["unibuild", "doit"])
def test_rollback_boots_the_earlier_generation_without_building(life, program, hello_kernels):
    life.tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    for kernel, source in ((hello_kernels.pv, "one"), (hello_kernels.pvh, "two")):
        shutil.copy(kernel, life.tree.root / "base.bin")
        life.tree.write("main.c", source)
        life.tree.run(program, "boot", "boot.console=none")
    (life.tree.root / "Makefile").unlink()
    life.tree.run(program, "rollback", "boot.console=none")
    assert (life.host()["generation"], life.host()["differs"], life.tree.log) == (1, [], ["built"] * 2)
    life.tree.write("Makefile", "hello.xen:\n")
    assert "kernel" in life.host()["differs"]
    (one,) = life.xen.domains().values()
    assert one["name"] == "hello"


# --- columns and ages


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (60, "1 min"), (3600, "1 h"), (86399, "23 h"), (86400, "1 day"), (200000, "2 days")],
)
def test_ages_in_words(seconds, words):
    assert age(seconds) == words


def test_empty_column_is_omitted():
    assert [*table(("A", "B", "C"), [("1", "", "x"), ("22", "", "y")])] == ["A   C", "1   x", "22  y"]


# --- facts


@pytest.fixture
def git(life, monkeypatch):
    """A function that runs git in the tree, which is a repository with one commit."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "n")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "n@example.org")

    def run(*argv):
        return process.run(["git", "-C", str(life.tree.root), *argv]).text.strip()

    run("init", "-q", "-b", "trunk")
    run("add", "main.c")
    run("commit", "-q", "-m", "one")
    return run


def test_the_revision_is_that_of_git(life, git):
    commit = git("rev-parse", "HEAD")
    told = {"revision": commit[:7], "commit": commit, "branch": "trunk", "tree": "clean"}
    assert provenance.revision(life.tree.root) == told
    life.tree.write("main.c", "two")
    git("tag", "v1")
    assert provenance.revision(life.tree.root) == told | {"revision": "v1-dirty", "tree": "changed"}


def test_a_detached_head_is_on_no_branch(life, git):
    git("checkout", "-q", "--detach")
    assert "branch" not in provenance.revision(life.tree.root)


def test_without_git_there_is_no_revision(life, monkeypatch, tmp_path):
    assert provenance.revision(life.tree.root) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.revision(life.tree.root) == {}


@dataclasses.dataclass
class Toolchain:
    kernel: object
    name: str = "mirage"
    version: str = "4.11.1"


def test_toolchain_and_arguments_are_recorded(life):
    life.tree.write("hello.xen", "\0GCC: (Debian 12.2.0-14) 12.2.0\0")
    project = load(life.tree.root, {"boot.args": "--port=80 '--hello=a b'"}, {})
    facts = provenance.facts(project.root, project.settings, Toolchain(life.tree.root / "hello.xen"))
    assert facts == {
        "toolchain": "mirage 4.11.1",
        "compiler": "GCC: (Debian 12.2.0-14) 12.2.0",
        "arguments": "--port=80 '--hello=a b'",
    }


def test_compiler_is_read_from_the_kernel(life):
    life.tree.write("k.c", "int main;")
    life.tree.run(shutil.which("gcc"), "-c", "k.c", "-o", "hello.xen")
    project = life.project
    facts = provenance.facts(project.root, project.settings, Toolchain(life.tree.root / "hello.xen"))
    assert facts["compiler"].startswith("GCC: (")
