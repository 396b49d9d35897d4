"""Programs behave the same in a fork as in a new interpreter."""

import subprocess
import sys
from pathlib import Path

import pytest
import warm_cli

DODO = """
import os, sys
import doit
from unibuild import DOIT_CONFIG

{name} = 1
print({name}, "{other}" in globals(), os.getcwd(), os.environ["WHO"], sys.argv, sys.path[0], os.umask(0o27))

def task_fail():
    return {{"actions": ["exit 3"], "verbosity": 2}}
"""


@pytest.fixture
def forked(monkeypatch):
    """Count the runs in a fork."""
    ran = []
    ask = warm_cli.WarmCli._ask
    monkeypatch.setattr(warm_cli.WarmCli, "_ask", lambda *given: ran.append(given) or ask(*given))
    return ran


def cold(*argv, cwd, **environ):
    program = str(Path(sys.executable).with_name(argv[0]))
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "check": False}
    done = subprocess.run([program, *argv[1:]], cwd=cwd, env=environ, **how)
    return done.returncode, done.stdout


@pytest.mark.parametrize("argv", [["unibuild", "--version"], ["unibuild", "no-such-command"], ["doit", "fail"]])
def test_program_prints_and_ends_as_in_a_new_interpreter(tree, forked, monkeypatch, argv):
    monkeypatch.setenv("WHO", "ann")
    for name, other in (("one", "two"), ("two", "one")):
        tree.write("dodo.py", DODO.format(name=name, other=other))
        assert warm_cli.run(*argv, cwd=tree.root) == cold(*argv, cwd=tree.root, **warm_cli.os.environ)
    assert len(forked) == 2


def test_variable_that_is_read_at_start_takes_a_new_interpreter(tree, forked):
    warm_cli.run("unibuild", "--version", cwd=tree.root)
    del forked[:]
    output = warm_cli.run("unibuild", "--version", cwd=tree.root, PYTHONWARNINGS="error")
    assert (output[0], forked) == (0, [])


def test_program_that_does_not_end_is_killed(tree, forked):
    tree.write("Makefile", "hello.xen: main.c\n\techo $$$$ > pid; exec sleep 600\n")
    with pytest.raises(subprocess.TimeoutExpired):
        warm_cli.run("unibuild", "build", cwd=tree.root, timeout=3)
    assert warm_cli.run("unibuild", "--version", cwd=tree.root)[0] == 0
    assert len(forked) == 2


@pytest.mark.parametrize("program", ["sh", "/bin/sh"])
def test_other_programs_are_started(tree, forked, program):
    assert warm_cli.run(program, "-c", "pwd; exit 3", cwd=tree.root) == (3, f"{tree.root}\n")
    assert forked == []
