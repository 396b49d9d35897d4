"""Checks that are tried in threads: none is left, whatever happens."""

import select
import threading

import pytest

from unibuild.domain import probes
from unibuild.errors import HostError
from unibuild.util.wakeup import Waker


class Fake:
    """A check that gives these answers, one after the other, the last for ever; or waits until it is cut off."""

    def __init__(self, *answers: str | Exception | None, hangs: bool = False) -> None:
        self.what, self.answers, self.hangs = "it", list(answers), hangs
        self.tries = 0
        self.cut = threading.Event()

    def attempt(self) -> str | None:
        self.tries += 1
        if self.hangs:
            self.cut.wait()
            return "cut off"
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def cancel(self) -> None:
        self.cut.set()


@pytest.fixture
def waker(monkeypatch):
    monkeypatch.setattr(probes, "AGAIN", 0.01)
    with Waker() as waker:
        yield waker
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("unibuild asks")]


def test_waker_is_woken_when_a_probe_passes(waker):
    check = Fake("absent", "absent", None)
    with probes.ProbeRunner([check], waker) as asked:
        assert select.select([waker.fd], [], [], 20)[0]
        assert asked.missing == []
    assert check.tries == 3


def test_last_result_is_reported(waker):
    check = Fake("one", "two")
    with probes.ProbeRunner([check, Fake(None)], waker) as asked:
        while check.tries < 4:
            pass
        assert asked.missing == ["it: two"]


def test_hanging_attempt_is_cancelled_and_ignored(waker):
    check = Fake(hangs=True)
    with probes.ProbeRunner([check], waker) as asked:
        assert asked.missing == ["it: not tried yet"]
    assert asked.missing == ["it: not tried yet"]


def test_ctrl_c_leaves_no_thread(waker):
    with pytest.raises(KeyboardInterrupt), probes.ProbeRunner([Fake(hangs=True), Fake("no")], waker):
        raise KeyboardInterrupt


def test_error_of_a_probe_is_raised_to_the_caller(waker):
    with probes.ProbeRunner([Fake(HostError("refused"))], waker) as asked:
        assert select.select([waker.fd], [], [], 20)[0]
        with pytest.raises(HostError, match="refused"):
            _ = asked.missing


def test_waking_too_often_does_not_block(waker):
    for _ in range(100_000):
        waker.wake()
    while select.select([waker.fd], [], [], 0)[0]:
        waker.clear()
