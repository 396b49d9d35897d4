"""--host and --take-over with every entry point."""

import shutil

import pytest

HOSTS = """
name = "hello"
host = "plain"
xl.memory = 32
[hosts.plain]
address = "ssh://plain"
[hosts.big]
address = "ssh://big"
xl.memory = 64
[hosts.more]
address = "ssh://more"
xl.memory = 65
"""
LOADER = '[tool.doit]\nloader = "unibuild"\n'


@pytest.fixture
def project(tree, xen, hello_kernels):
    """A tree with three hosts; two of them need another `.xl`."""
    shutil.copy(hello_kernels.pv, tree.root / "base.bin")
    tree.write("Makefile", "hello.xen: main.c base.bin\n\tcp base.bin $@\n\techo built >> log\n")
    tree.write("unibuild.toml", HOSTS + tree.read("unibuild.toml"))
    return tree


@pytest.fixture(params=["unibuild", "dodo.py", "loader"])
def program(request, project):
    """Return the name of an entry point's program."""
    if request.param != "dodo.py":
        (project.root / "dodo.py").unlink()
    if request.param == "loader":
        project.write("pyproject.toml", LOADER)
    return "unibuild" if request.param == "unibuild" else "doit"


def written(project):
    return {path.name: path.read_text().split("memory = ")[1][:2] for path in (project.root / ".unibuild").glob("*.xl")}


@pytest.mark.parametrize("words", [("--host", "big"), ("--host=big",)])
def test_host_with_its_own_xl_file(project, program, words):
    assert "xl:big: done" in project.run(program, "xl", *words)
    assert written(project) == {"hello@big.xl": "64"}


def test_switching_hosts_reruns_nothing(project, program):
    for host in ("plain", "big", "more"):
        project.run(program, "xl", "--host", host)
    for host in ("plain", "big", "more", "plain", "big"):
        assert project.run(program, "xl", "--host", host) == "xl: up to date\n"
    assert (project.log, len(written(project))) == (["built"], 3)


def test_fast_path_is_per_host(project):
    project.run("unibuild", "xl")
    project.run("unibuild", "xl", "--host", "big")
    assert project.run("unibuild", "xl") == "xl: up to date\n"
    assert "xl:more: not done yet" in project.run("unibuild", "xl", UNIBUILD_HOST="more")
    toml = project.read("unibuild.toml")
    project.write("unibuild.toml", toml.replace('host = "plain"', 'host = "big"'))
    assert [project.run("unibuild", "xl") for _ in range(2)] == ["xl: up to date\n"] * 2
    project.write("unibuild.toml", toml.replace('host = "plain"', 'host = "big"').replace("64", "66"))
    assert "xl.memory changed" in project.run("unibuild", "xl")


def test_clean_forget_and_list_know_the_stage_of_a_host(project):
    project.run("unibuild", "xl", "--host", "big")
    assert "xl:big" in project.run("unibuild", "list", "--all", "host=big")
    project.run("unibuild", "forget", "xl", "host=big")
    assert "xl:big: would run: not done" in project.run("unibuild", "plan", "xl", "--host", "big")
    project.run("unibuild", "xl", "--host", "big")
    project.run("unibuild", "clean", "xl", "host=big")
    assert written(project) == {}


@pytest.mark.parametrize("words", [("plan", "xl", "--host", "big"), ("--host", "big", "xl", "--dry-run")])
def test_a_plan_for_a_host(project, words):
    assert "xl:big: would run" in project.run("unibuild", *words)


def test_make_passes_the_host_on(project):
    project.run("unibuild", "init", "--make")
    said = project.run("make", "-n", "boot", "UNIBUILD_ARGS=--host big", UNIBUILD=str(project.bin / "unibuild"))
    assert "boot: would run on big" in said


@pytest.mark.parametrize("words", [("xl", "--host", "bog"), ("xl", "host=bog")])
def test_unknown_host_is_reported_with_the_closest(project, program, words):
    assert "unknown host: bog\nhint: did you mean `big`? known: local, lab, plain, big, more" in project.run(
        program, *words, code=2
    )


def test_a_host_that_is_not_named(project):
    assert "--host needs the name of a host" in project.run("unibuild", "xl", "--host", code=2)


def test_all_hosts_at_once_need_each_xl_once(project, program):
    project.run(program, "xl", "--host", "all")
    assert written(project) == {"hello.xl": "32", "hello@big.xl": "64", "hello@more.xl": "65"}
    for host in ("plain", "big", "all"):
        assert project.run(program, "xl", "--host", host) == "xl: up to date\n"


@pytest.mark.parametrize("goal", ["console", "plan"])
def test_goals_for_one_host_refuse_all(project, goal):
    assert "this goal takes one host, not all" in project.run("unibuild", goal, "--host", "all", code=2)


def test_task_of_the_users_own_keeps_its_options(project):
    own = "def task_mine():\n    return {'actions': ['echo %(host)s'], 'params': [{'name': 'host', 'long': 'host', "
    project.write("dodo.py", project.read("dodo.py") + own + "'default': ''}]}\n")
    assert "bog" in project.run("doit", "mine", "--host", "bog")


def test_foreign_domain_is_taken_over_only_on_request(project, xen, program):
    theirs = xen.xl_file(xen.kernel("stay"))
    project.run("xl", "create", str(theirs))
    words = ("boot", "--host", "local", "boot.console=none")
    assert "does not belong to this project" in project.run(program, *words, code=5)
    assert "hello runs as domain" in project.run(program, *words, "--take-over")
