"""A signal handler that raises at any moment of a wait in the main thread leaves nothing broken."""

import contextlib
import queue
import re
import signal
import threading
import time
from pathlib import Path

import pytest

import unibuild
from unibuild.util import waits

SIGNALS = 400


class SignalError(Exception):
    """The exception that the handler raises."""


@pytest.fixture
def storm():
    """Run a function repeatedly; each time a signal ends it a moment later than the time before."""

    def strike(number, frame):
        raise SignalError

    def run(wait):
        for number in range(SIGNALS):
            with contextlib.suppress(SignalError):
                signal.setitimer(signal.ITIMER_REAL, 1e-5 + 2e-6 * number)
                try:
                    wait()
                    time.sleep(1)
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)

    before = signal.signal(signal.SIGALRM, strike)
    yield run
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_event_can_be_waited_for_and_set_afterwards(storm):
    event = threading.Event()
    storm(lambda: waits.wait(event, 0.0005))
    event.set()
    assert waits.wait(event, 0)


def test_simple_queue_can_be_read_afterwards(storm):
    answers = queue.SimpleQueue()

    def get():
        with contextlib.suppress(queue.Empty):
            answers.get(timeout=0.0005)

    storm(get)
    answers.put("one")
    assert answers.get(timeout=60) == "one"


def test_thread_continues_and_can_be_joined_afterwards(storm):
    over = threading.Event()
    thread = threading.Thread(target=over.wait, daemon=True)
    thread.start()
    storm(lambda: waits.join(thread, 0.0005))
    assert (thread.is_alive(), waits.join(thread, 0)) == (True, False)
    over.set()
    assert waits.join(thread, 60)


def test_other_threads_wait_as_usual():
    event, found = threading.Event(), []
    thread = threading.Thread(target=lambda: found.append(waits.wait(event, 60)))
    thread.start()
    event.set()
    assert (waits.join(thread, 60), found) == (True, [True])


def test_no_module_uses_a_queue_that_a_signal_can_break():
    modules = Path(unibuild.__file__).parent.rglob("*.py")
    assert [path.name for path in modules if re.search(r"queue\.Queue\(|\bLifoQueue\(", path.read_text())] == []
