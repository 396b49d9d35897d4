"""The console log keeps every byte, and the time of every line."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unibuild.domain.console_log import KEEP, Log, log_path, rotate

NOON = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
STAMP = b"2026-11-23T12:00:00.123Z "


def written(tmp_path, *pieces: bytes) -> bytes:
    log = Log(tmp_path / "log" / "x.log", now=lambda: NOON)
    for piece in pieces:
        log.feed(piece)
    log.close()
    return log.path.read_bytes()


def test_lines_have_times_and_cr_lf_becomes_lf(tmp_path):
    assert written(tmp_path, b"one\r\ntwo\r", b"\nthr", b"ee\xff\r\n") == (
        STAMP + b"one\n" + STAMP + b"two\n" + STAMP + b"three\xff\n"
    )


@given(st.lists(st.binary(max_size=12).map(lambda data: data.replace(b"x", b"\r\n")), max_size=6))
def test_log_does_not_depend_on_chunking(tmp_path_factory, pieces):
    whole = b"".join(pieces)
    folder = tmp_path_factory.mktemp("log")
    at_once, in_pieces = written(folder / "a", whole) if whole else b"", b""
    if whole:
        in_pieces = written(folder / "b", *pieces)
    assert in_pieces == at_once
    lines = whole.replace(b"\r\n", b"\n").removesuffix(b"\n").split(b"\n") if whole else []
    assert at_once == b"".join(STAMP + line + b"\n" for line in lines)


def test_logs_rotate_per_boot(tmp_path):
    path = log_path(tmp_path, "hello")
    for boot in range(KEEP + 3):
        rotate(path)
        written_to = Log(path)
        written_to.feed(b"boot %d" % boot)
        written_to.close()
    names = sorted(found.name for found in path.parent.iterdir())
    assert names == sorted(["hello.log", *(f"hello.{n}.log" for n in range(1, KEEP + 1))])
    assert path.read_bytes().endswith(b"boot %d\n" % (KEEP + 2))
    assert (path.parent / "hello.1.log").read_bytes().endswith(b"boot %d\n" % (KEEP + 1))


def test_a_log_that_grows_too_long_is_continued_in_a_new_file(tmp_path):
    log = Log(tmp_path / "x.log", size=70)
    for number in range(5):
        log.feed(b"line %d\n" % number)
    log.close()
    parts = [tmp_path / "x.2.log", tmp_path / "x.1.log", tmp_path / "x.log"]
    assert re.findall(rb"line \d", b"".join(part.read_bytes() for part in parts)) == [b"line %d" % n for n in range(5)]


@pytest.mark.parametrize("chunk", [b"x" * 62 + b"\r\n", b"y" * 10 + b"x" * 70 + b"\r\nz", b"x" * 4096])
def test_no_file_exceeds_the_limit(tmp_path, chunk):
    log = Log(tmp_path / "x.log", size=2000)
    for _ in range(10000 // len(chunk)):
        log.feed(chunk)
    log.close()
    files = sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert max(path.stat().st_size for path in files) <= 2000
    assert len(files) >= 5
    kept = b"".join(
        path.read_bytes() for path in [tmp_path / f"x.{n}.log" for n in range(9, 0, -1)] + [log.path] if path.exists()
    )
    assert re.sub(rb"\d{4}-\S+Z ", b"", kept).rstrip(b"\n") in (chunk * (10000 // len(chunk))).replace(b"\r", b"")


def test_a_log_is_for_the_user_alone(tmp_path):
    (tmp_path / "console").mkdir()
    (tmp_path / "console" / "x.log").touch(0o644)
    log = Log(tmp_path / "console" / "x.log")
    log.feed(b"password\n")
    log.close()
    assert oct(log.path.stat().st_mode & 0o777) == "0o600"


def test_a_log_that_cannot_be_written_does_not_stop_the_console(tmp_path):
    (tmp_path / "console").write_text("a file where a folder should be")
    log = Log(tmp_path / "console" / "x.log")
    log.feed(b"a\n")
    log.close()
    assert "cannot write" in log.failure


@pytest.mark.parametrize(
    ("host", "name"),
    [("lab", "www.log"), ("local", "www.log"), ("ssh://ann@xen1:22", "www.log"), ("xen1", "www@xen1.log")],
)
def test_a_host_with_a_name_has_a_log_of_its_own(tmp_path, host, name):
    assert log_path(tmp_path, "www", host).name == name
