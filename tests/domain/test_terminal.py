"""The terminal is restored whatever happens."""

import os
import signal
import termios

import pytest

from unibuild.util.terminal import Keyboard


@pytest.fixture
def pair():
    own, other = os.openpty()
    yield own, other
    os.close(own)
    os.close(other)


def flags(fd: int) -> list[int]:
    return [int(flag) for flag in termios.tcgetattr(fd)[:4]]


def test_keys_arrive_singly_and_settings_are_restored(pair):
    own, other = pair
    before = flags(other)
    with Keyboard(other) as keys:
        assert flags(other) != before
        os.write(own, b"\x03\r")
        assert keys.read() == b"\x03\r"
    assert flags(other) == before


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
    own, other = os.openpty()
    with Keyboard(other) as keys:
        os.close(own)
        assert keys.read() == b""
    os.close(other)
