"""The terminal is restored whatever happens."""

import os
import signal
import termios

import pytest

from unibuild.util.terminal import Keyboard


@pytest.fixture
def pair():
    ours, theirs = os.openpty()
    yield ours, theirs
    os.close(ours)
    os.close(theirs)


def flags(fd: int) -> list[int]:
    return [int(flag) for flag in termios.tcgetattr(fd)[:4]]


def test_keys_arrive_singly_and_settings_are_restored(pair):
    ours, theirs = pair
    before = flags(theirs)
    with Keyboard(theirs) as keys:
        assert flags(theirs) != before
        os.write(ours, b"\x03\r")
        assert keys.read() == b"\x03\r"
    assert flags(theirs) == before


def test_restored_after_an_error(pair):
    before = flags(pair[1])
    with pytest.raises(ZeroDivisionError), Keyboard(pair[1]):
        raise ZeroDivisionError
    assert flags(pair[1]) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_settings_are_restored_before_a_signal_takes_effect(pair, number):
    before = flags(pair[1])
    seen = []

    def handler(*_: object) -> None:
        seen.append(flags(pair[1]))
        raise InterruptedError

    usual = signal.signal(number, handler)
    try:
        with pytest.raises(InterruptedError), Keyboard(pair[1]):
            os.kill(os.getpid(), number)
            signal.pause()
    finally:
        signal.signal(number, usual)
    assert seen == [before]
    assert flags(pair[1]) == before


def test_raw_mode_returns_when_a_stopped_process_continues(pair):
    with Keyboard(pair[1]):
        raw = flags(pair[1])
        termios.tcsetattr(pair[1], termios.TCSANOW, [*termios.tcgetattr(pair[1])[:3], 0xFFFF, 0, 0, [b"\0"] * 32])
        os.kill(os.getpid(), signal.SIGCONT)
        assert flags(pair[1]) == raw


def test_vanished_terminal_gives_no_keys():
    ours, theirs = os.openpty()
    with Keyboard(theirs) as keys:
        os.close(ours)
        assert keys.read() == b""
    os.close(theirs)
