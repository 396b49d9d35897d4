"""Output to a reader that is slow or has closed the pipe."""

import contextlib
import os
import threading

import pytest

from unibuild.watch.ui.streams import BackgroundWriter


@pytest.fixture
def pipe():
    ends = os.pipe()
    yield ends
    for end in ends:
        with contextlib.suppress(OSError):
            os.close(end)


def read_all(fd: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += os.read(fd, 1 << 16)
    return data


def test_output_arrives_in_order(pipe):
    with BackgroundWriter(pipe[1]) as output:
        for number in range(100):
            output.write(b"%03d" % number)
    assert read_all(pipe[0], 300) == b"".join(b"%03d" % number for number in range(100))


def test_stopped_reader_blocks_nothing_and_gets_what_was_kept(pipe):
    output = BackgroundWriter(pipe[1], limit=1 << 17)
    with output:
        taken = [output.write(b"x" * 1000, always=False) for _ in range(1000)]
        assert not taken[-1] and output.is_behind
        assert output.write(b"end", always=True)
        assert not output.drain(0.01)
        reader = threading.Thread(target=lambda: got.append(read_all(pipe[0], 1000 * sum(taken) + 3)))
        got: list[bytes] = []
        reader.start()
        assert output.drain(30)
        reader.join()
    assert got[0].endswith(b"xend")


def test_end_waits_no_longer_than_its_timeout_for_a_stopped_reader(pipe):
    output = BackgroundWriter(pipe[1])
    with output:
        output.write(b"x" * 500_000)
        output.end(timeout=0.05)
        assert output.is_behind


def test_closed_reader_is_reported_once_and_later_output_is_dropped(pipe):
    gone = threading.Event()
    with BackgroundWriter(pipe[1], gone.set) as output:
        os.close(pipe[0])
        output.write(b"x")
        assert gone.wait(30)
        assert not output.write(b"y")
        assert not output.drain(30)
        assert not output.is_behind
