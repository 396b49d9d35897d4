"""The body that the terminal and the watch loop share: follow a console until the domain ends for good."""

import contextlib

import pytest

from unibuild.deploy import console_session
from unibuild.deploy.console_session import ConsoleSession
from unibuild.domain.exit_status import DomainExit
from unibuild.errors import DomainError

REBOOTED, POWERED_OFF = DomainExit("rebooted", None), DomainExit("powered off", 0)


class Session(ConsoleSession):
    """A session with a domain that stops as in ``ends``; None: the reader detached."""

    def __init__(self, *ends, is_stopped=False):
        super().__init__("first", None, contextlib.ExitStack())
        self.calls = []
        self._ends = [*ends]
        self._is_stopped = is_stopped

    def read(self):
        self.calls.append(f"read {self.attached}")
        return self._ends.pop(0)

    def pause(self, seconds):
        self.calls.append(f"pause {seconds:g}")

    @contextlib.contextmanager
    def exclusive(self):
        self.calls.append("lock")
        yield
        self.calls.append("unlock")

    @property
    def is_stopped(self):
        return self._is_stopped

    def recreated(self):
        self.calls.append(f"recreated {self.attached}")


@pytest.fixture(autouse=True)
def exits(monkeypatch):
    """Recreate a domain that rebooted, after a second from the second time on."""

    def handle(attached, end, reboots, *_):
        reboots.append(1.0)
        return "next" if end is REBOOTED else None

    monkeypatch.setattr(console_session, "_handle_exit", handle)
    monkeypatch.setattr(console_session, "_reboot_delay", lambda attached, end, reboots, report: float(len(reboots)))


def test_end_is_handled_once_and_under_the_lock():
    session = Session(POWERED_OFF)
    session.follow()
    assert session.calls == ["read first", "lock", "unlock"]


def test_recreated_domain_is_followed_and_later_reboots_are_delayed():
    session = Session(REBOOTED, REBOOTED, POWERED_OFF)
    session.follow()
    once = ["lock", "recreated next", "unlock", "read next"]
    assert session.calls == ["read first", *once, "pause 1", *once, "pause 2", "lock", "unlock"]


def test_end_is_not_handled_if_the_reading_was_left_or_another_domain_replaces_it(monkeypatch):
    monkeypatch.setattr(console_session, "_handle_exit", lambda *_: pytest.fail("handled"))
    Session(None).follow()
    Session(POWERED_OFF, is_stopped=True).follow()


def test_failure_is_raised_unless_the_session_answers_it(monkeypatch):
    def fail(*_):
        raise DomainError("crashed")

    monkeypatch.setattr(console_session, "_handle_exit", fail)
    with pytest.raises(DomainError, match="crashed"):
        Session(POWERED_OFF).follow()
