"""Sessions for developers of unibuild; `nox -l` lists them. scripts/test runs lint, types and tests at once."""

import nox

nox.options.sessions = ["lint", "types", "tests"]
nox.options.default_venv_backend = "venv"


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, spelling, words, and which module may import which."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("python", "tools/check_words.py")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types with mypy, in strict mode."""
    session.install("-e", ".[dev]")
    session.run("mypy")


@nox.session(python=["3.11", "3.12", "3.13"])
def tests(session: nox.Session) -> None:
    """Run all tests except those that boot domains; `nox -s tests -- -m lab` runs these."""
    session.install("-e", ".[dev]")
    session.run("pytest", *(session.posargs or ["-m", "not lab"]))


@nox.session
def minimums(session: nox.Session) -> None:
    """Run the same tests with the oldest dependencies that pyproject.toml allows."""
    session.install("uv")
    session.run("uv", "pip", "install", "--resolution", "lowest-direct", "-e", ".[dev]")
    session.run("pytest", "-m", "not lab")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Compare 5,000 random edits and twice 1,000 saves under watch with builds from scratch."""
    session.install("-e", ".[dev]")
    tests = ("tests/staleness/test_fuzz.py", "tests/watch/test_saves_of_all_kinds.py", "tests/watch/test_saves.py")
    more = dict(word.split("=", 1) for word in session.posargs)  # STALENESS_SEED=99 for other edits
    env = {"STALENESS_EDITS": "5000", "STALENESS_SAVES": "1000", **more}
    session.run("pytest", "-n", "2", "--timeout", "3600", *tests, env=env)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the figures in the documentation, as ratios within one run."""
    session.install("-e", ".[dev]")
    for script in ("noop.py", "lab.py", "swap.py", "watch.py", "publish.py"):
        session.run("python", f"benchmarks/{script}")


@nox.session
def faults(session: nox.Session) -> None:
    """Interrupt runs at every step, and publish 1,000 times; the session `tests` takes a sample of both."""
    session.install("-e", ".[dev]")
    session.run("pytest", "--every-step", "tests/deploy/test_faults.py")
    session.run("pytest", "-n", "2", "tests/aws/test_publish_faults.py", env={"AWS_STORIES": "1000"})
