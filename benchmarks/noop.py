"""What unibuild costs where there is nothing to do, as ratios measured in one run.

    unibuild build    against an interpreter that does nothing: python -c pass
    doit boot         against a bare doit with as many tasks and files, plus one query of xl

With --quick each case runs once.

The rounds of all cases are interleaved, so that a busy machine is equally bad to each. The ratio of the fastest rounds
is the one to believe; the exit code is 1 where it is above the figure.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BIN = Path(sys.executable).parent
STANDIN = Path(__file__).parents[1] / "tests" / "standins" / "xen.py"
EXAMPLE = Path(__file__).parents[1] / "examples" / "hello"
QUICK = "--quick" in sys.argv  # one round, to see that this script works; its figures mean nothing
ROUNDS = 1 if QUICK else int(os.environ.get("ROUNDS", "40"))
LARGE = 200 if QUICK else 10_000  # inputs
HUGE = 300 if QUICK else 50_000
BARE = """
DEPS = {deps!r}
def task_all():
    for number in range({tasks}):
        yield {{
            "basename": f"task{{number}}",
            "actions": ["touch %(targets)s"],
            "file_dep": [] if number else DEPS,
            "targets": [f"target{{number}}"],
            "task_dep": [f"task{{number - 1}}"] if number else [],
            "uptodate": [True],
        }}
"""


def environment(world, *first):
    env = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    return env | {"PATH": os.pathsep.join([*map(str, first), str(BIN), "/usr/bin:/bin"]), "STANDIN": str(world)}


def run(argv, cwd, env):
    subprocess.run(argv, cwd=cwd, env=env, check=True, capture_output=True)


def make_tree(root, inputs):
    """A project with this many inputs, built."""
    (root / "src").mkdir(parents=True)
    for number in range(inputs - 1):  # the Makefile is one too
        (root / "src" / f"part{number}.c").write_text(f"int part{number};\n")
    (root / "Makefile").write_text("hello.xen: src\n\techo kernel > $@\n")
    (root / "unibuild.toml").write_text('[build]\nkernel = "hello.xen"\n')
    env = environment(root)
    run(["unibuild", "build"], root, env)
    run(["unibuild", "build"], root, env)
    return ["unibuild", "build"], root, env


def make_booted(root, inputs):
    """A project with this many inputs, booted on a stand-in for Xen; and an xl that only reports that."""
    shutil.copytree(EXAMPLE, root, ignore=shutil.ignore_patterns(".unibuild", "build", "*.xen"))
    have = sum(1 for _ in root.rglob("*.[chS]"))
    for number in range(inputs - have):
        (root / "lib" / f"part{number}.h").write_text("\n")
    tools = root.with_name("tools")
    (tools / "bin").mkdir(parents=True)
    for name in (
        "xl",
        "sudo",
        *(f"xenstore-{verb}" for verb in ("read", "write", "ls", "list", "rm", "exists", "watch")),
    ):
        (tools / "bin" / name).write_text(f'#!/bin/sh\nexec {sys.executable} {STANDIN} {name} "$@"\n')
        (tools / "bin" / name).chmod(0o755)
    env = environment(tools, tools / "bin")
    with (root / "unibuild.toml").open("a") as settings:
        settings.write('[boot]\nconsole = "none"\n')
    text = (root / "unibuild.toml").read_text()
    (root / "unibuild.toml").write_text(f'host = "local"\n{text}')
    boot = ["doit", "boot"]
    run(boot, root, env)
    said = subprocess.run(["xl", "list", "-v"], env=env, check=True, capture_output=True, text=True).stdout
    (tools / "said").write_text(said)
    (tools / "bin" / "xl").write_text(f"#!/bin/sh\nexec cat {tools}/said\n")
    run(boot, root, env)
    return (boot, root, env), (["xl", "list", "-v"], root, env)


def make_bare(root, booted):
    """A bare doit with as many tasks and files as the project has, up to date."""
    argv = [BIN / "doit", "list", "-q"]
    tasks = subprocess.run(argv, cwd=booted, capture_output=True, text=True, check=True).stdout.split()
    root.mkdir()
    deps = [str(path) for path in booted.rglob("*.[chS]")]
    (root / "dodo.py").write_text(BARE.format(deps=deps, tasks=len(tasks)))
    case = ["doit"], root, environment(root)
    run(*case)
    return case


def measure(cases):
    """Return the seconds of each round, by the case's name."""
    took = {name: [] for name in cases}
    for _ in range(ROUNDS):
        for name, (argv, cwd, env) in cases.items():
            begin = time.perf_counter()
            run(argv, cwd, env)
            took[name].append(time.perf_counter() - begin)
    return took


def main():
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        boot, query = make_booted(folder / "hello", 100)
        cases = {
            "python -c pass": ([BIN / "python", "-c", "pass"], folder, environment(folder)),
            "unibuild build, 100 inputs": make_tree(folder / "small", 100),
            f"unibuild build, {LARGE:,} inputs": make_tree(folder / "large", LARGE),
            f"unibuild build, {HUGE:,} inputs": make_tree(folder / "huge", HUGE),
            "bare doit": make_bare(folder / "bare", folder / "hello"),
            "xl list": query,
            "doit boot": boot,
        }
        try:
            took = measure(cases)
        finally:
            (folder / "tools" / "over").touch()  # the stand-in's domain ends
    took["bare doit + xl list"] = [sum(pair) for pair in zip(took["bare doit"], took["xl list"], strict=True)]
    lowest = {name: min(times) for name, times in took.items()}
    lowest["bare doit + xl list"] = lowest["bare doit"] + lowest["xl list"]
    rows = [
        ("unibuild build, 100 inputs", "python -c pass", 1.3),
        (f"unibuild build, {LARGE:,} inputs", "python -c pass", 8.0),
        (f"unibuild build, {HUGE:,} inputs", "python -c pass", None),  # to know, not to hold
        ("doit boot", "bare doit + xl list", 1.3),
    ]
    print(f"{'nothing stale':<31}{'against':<21}{'ms':>7}{'ratio':>7}{'median':>8}{'figure':>8}")
    worst = 0
    for what, base, figure in rows:
        ratio = lowest[what] / lowest[base]
        median = statistics.median(took[what]) / statistics.median(took[base])
        worst = max(worst, ratio / figure if figure else 0)
        shown = f"{figure:>8.1f}" if figure else f"{'-':>8}"
        print(f"{what:<31}{base:<21}{lowest[what] * 1e3:>7.1f}{ratio:>7.2f}{median:>8.2f}{shown}")
    return int(worst > 1 and not QUICK)


if __name__ == "__main__":
    sys.exit(main())
