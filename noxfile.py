"""Sessions for those who develop unibuild; `nox -l` lists them. The one command that runs all is scripts/test."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"


@nox.session
def lint(session: nox.Session) -> None:
    """Style, and which module may import which."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")


@nox.session
def types(session: nox.Session) -> None:
    """The types, strictly."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """All tests but those that boot domains; `nox -s tests -- -m lab` for these."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or ["-m", "not lab"]))


@nox.session
def minimums(session: nox.Session) -> None:
    """The same tests with the oldest dependencies that pyproject.toml allows."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[dev]")
    session.run("pytest", "-m", "not lab")


@nox.session
def fuzz(session: nox.Session) -> None:
    """5,000 random edits and 1,000 saves under watch, each compared with a build from nothing."""
    session.install("-e", ".[dev]")
    tests = ("tests/staleness/test_fuzz.py", "tests/watch/test_saves_of_all_kinds.py")
    more = dict(word.split("=", 1) for word in session.posargs)  # STALENESS_SEED=99 for other edits
    env = {"STALENESS_EDITS": "5000", "STALENESS_SAVES": "1000", **more}
    session.run("pytest", "-n", "2", "--timeout", "3600", *tests, env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """The figures that we claim, as ratios measured in one run."""
    session.install("-e", ".[dev]")
    for script in ("noop.py", "lab.py", "swap.py", "watch.py", "publish.py"):
        session.run("python", f"benchmarks/{script}")


@nox.session
def faults(session: nox.Session) -> None:
    """The tests of runs that are killed or not read, at every step where `tests` takes a random sample."""
    session.install("-e", ".[dev]")
    session.run("pytest", "--every-step", "tests/tasks/test_faults.py")
