"""Tests of a unikernel in Python: the fixture ``domain`` is the project's unikernel, booted for one test.

docs/how-to/pytest.md describes it. Every pytest in an environment with unibuild imports this module, so it imports only
pytest until a test requests a fixture.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence
    from pathlib import Path
    from types import FrameType
    from typing import NoReturn

    from unibuild.graph.graph import Graph
    from unibuild.host.base import Host
    from unibuild.testing.domain_fixture import DomainHandle

    class BootDomain(Protocol):
        """Boots one more domain."""

        def __call__(
            self,
            *,
            args: Sequence[str] | Mapping[str, Any] | None = None,
            memory: int | None = None,
            project: str | os.PathLike[str] | None = None,
        ) -> DomainHandle: ...


__all__ = ["boot_domain", "domain"]

_BOOTED = pytest.StashKey[list["DomainHandle"]]()
_BUILD_LOCK_TIMEOUT = 1800.0  # seconds to wait for another process of the same test run (pytest-xdist) that builds


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add unibuild's options to pytest's."""
    group = parser.getgroup("unibuild", "unikernels (unibuild)")
    group.addoption("--unibuild-host", metavar="HOST", help="where the fixture `domain` boots: lab unless set")
    group.addoption("--unibuild-project", metavar="DIR", help="folder of the unikernel's unibuild.toml")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers", "unikernel(args=None, memory=None, project=None): how the fixture `domain` boots the unikernel"
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the console of a failing test's domains in its report."""
    report = yield
    if report.failed:
        for booted in item.stash.get(_BOOTED, []):
            with contextlib.suppress(Exception):  # the host may be unreachable: pytest reports the failure in any case
                report.sections.append((f"console of {booted.name}", booted.report()))
    return report


class _Builds:
    """The projects of a test run, each built once, and the host."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._built: dict[Path, tuple[Graph, Host]] = {}

    def get(self, folder: Path) -> tuple[Graph, Host]:
        """Return the graph of the project that a folder belongs to, after bringing it up to date, and the host."""
        import sys

        from unibuild.graph.graph import graph
        from unibuild.settings.loader import load, state_dir
        from unibuild.testing import scratch_domain
        from unibuild.util import files, process

        words = {"host": self._host}
        root = load(folder, words).root
        if root not in self._built:
            run = "import sys; from unibuild._fast_path import main; sys.exit(main())"
            with files.lock(state_dir(root) / "test" / "lock", f"the build in {root}", timeout=_BUILD_LOCK_TIMEOUT):
                process.run([sys.executable, "-c", run, "xl", "--host", self._host], cwd=root)
            project = load(root, words)
            self._built[root] = graph(project), scratch_domain.open_host(project.settings)
        return self._built[root]


@pytest.fixture(scope="session")
def _unibuild_builds(pytestconfig: pytest.Config) -> Iterator[_Builds]:
    host = pytestconfig.getoption("--unibuild-host") or os.environ.get("UNIBUILD_HOST") or "lab"
    with _orderly_end():
        yield _Builds(host)


@pytest.fixture
def boot_domain(request: pytest.FixtureRequest, _unibuild_builds: _Builds) -> Iterator[BootDomain]:
    """A function that boots a domain of its own; it takes what the marker ``unikernel`` takes."""
    booted: list[DomainHandle] = []
    request.node.stash[_BOOTED] = booted
    with contextlib.ExitStack() as stack:

        def boot(
            *,
            args: Sequence[str] | Mapping[str, Any] | None = None,
            memory: int | None = None,
            project: str | os.PathLike[str] | None = None,
        ) -> DomainHandle:
            from unibuild.graph import xl_file
            from unibuild.testing import scratch_domain
            from unibuild.testing.domain_fixture import DomainHandle

            found, host = _unibuild_builds.get(_folder(request, project))
            name = xl_file.domain_name(found.project, found.start)
            test = "".join(char if char.isalnum() or char in "_.-" else "-" for char in request.node.name)[:100]
            log = scratch_domain.log_path(found.project.root, f"{test}-{len(booted) + 1}" if booted else test)
            changed = scratch_domain.with_memory(scratch_domain.with_args(found, args), memory)
            one = stack.enter_context(DomainHandle(changed, host, scratch_domain.fresh_name(name), log))
            booted.append(one)
            return one

        yield boot


@pytest.fixture
def domain(request: pytest.FixtureRequest, boot_domain: BootDomain) -> DomainHandle:
    """The project's unikernel, booted for this test; the marker ``unikernel`` says how."""
    marker = request.node.get_closest_marker("unikernel")
    return boot_domain(**(marker.kwargs if marker else {}))


def _folder(request: pytest.FixtureRequest, project: str | os.PathLike[str] | None) -> Path:
    """Return the folder where the search for unibuild.toml begins."""
    if project is not None:
        return request.path.parent / project
    asked = request.config.getoption("--unibuild-project")
    if asked is not None:
        return request.config.invocation_params.dir / str(asked)
    from unibuild.settings.loader import FILE
    from unibuild.util.files import find_upward

    beside = find_upward(FILE, request.path.parent)
    return beside.parent if beside else request.config.rootpath


@contextlib.contextmanager
def _orderly_end() -> Iterator[None]:
    """During the block, TERM and HUP end pytest as Ctrl-C does, so that no domain is left behind."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        pytest.exit(f"ended by {signal.Signals(number).name}", returncode=128 + number)

    is_main = threading.current_thread() is threading.main_thread()
    own = [n for n in (signal.SIGTERM, signal.SIGHUP) if is_main and signal.getsignal(n) is signal.SIG_DFL]
    for number in own:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in own:
            signal.signal(number, signal.SIG_DFL)
