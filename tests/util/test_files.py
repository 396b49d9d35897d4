"""Atomic writes: a file is complete or absent."""

import errno
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from unibuild import fingerprint
from unibuild.errors import BusyError, FileError
from unibuild.util import files


def test_same_bytes_leave_the_file_and_its_mtime_alone(tmp_path):
    path = tmp_path / "a"
    assert files.write_atomic(path, b"x")
    before = fingerprint.take(str(path))
    assert not files.write_atomic(path, b"x")
    assert fingerprint.take(str(path)) == before


def test_new_bytes_are_written_by_rename(tmp_path):
    path = tmp_path / "a"
    files.write_atomic(path, b"x")
    inode = path.stat().st_ino
    with path.open("rb") as reader:
        assert files.write_atomic(path, b"yy")
        assert reader.read() == b"x"
    assert (path.read_bytes(), path.stat().st_ino == inode) == (b"yy", False)


def test_mode_is_exact_whatever_the_umask(tmp_path):
    before = os.umask(0o077)
    try:
        files.write_atomic(tmp_path / "open", b"", mode=0o644)
        files.write_atomic(tmp_path / "key", b"", mode=0o600)
    finally:
        os.umask(before)
    assert [oct((tmp_path / name).stat().st_mode & 0o777) for name in ("open", "key")] == ["0o644", "0o600"]


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(FileError, match=str(tmp_path)), files.writing(path) as beside:
        beside.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (path.read_bytes(), [p.name for p in tmp_path.iterdir()]) == (b"old", ["a"])


def test_full_disk_is_an_error():
    full = Path("/dev/full")
    with pytest.raises(FileError, match="disk is full"), files.writing_errors(full):
        full.write_bytes(b"x")


def test_copy_returns_whether_the_target_changed(tmp_path):
    source, target = tmp_path / "s", tmp_path / "t"
    source.write_bytes(b"kernel")
    assert [files.copy_atomic(source, target), files.copy_atomic(source, target)] == [True, False]
    source.write_bytes(b"KERNEL")
    assert files.copy_atomic(source, target)
    assert target.read_bytes() == b"KERNEL"


def test_missing_source_is_an_error(tmp_path):
    with pytest.raises(FileError, match=str(tmp_path / "nothing")):
        files.copy_atomic(tmp_path / "nothing", tmp_path / "t")


def test_find_upward_returns_the_nearest(tmp_path):
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "here.toml").touch()
    (tmp_path / "a" / "here.toml").touch()
    assert files.find_upward("here.toml", deep) == tmp_path / "a" / "here.toml"
    assert files.find_upward("not-there.toml", deep) is None


def test_lock_names_its_holder_and_is_released_when_it_ends(tmp_path):
    path = tmp_path / "lock"
    script = textwrap.dedent("""
        import sys, pathlib, unibuild.util.files
        with unibuild.util.files.lock(pathlib.Path(sys.argv[1]), "the test"):
            print("held", flush=True)
            sys.stdin.read()
    """)
    with subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(BusyError, match=rf"\b{holder.pid}\b"),
            files.lock(path, "the test"),
        ):
            pass
        holder.kill()
    with files.lock(path, "the test", timeout=30):
        pass


def test_lock_of_a_killed_holder_is_free_once_its_child_begins_its_program(tmp_path):
    path = tmp_path / "lock"
    script = textwrap.dedent("""
        import os, pathlib, signal, sys, time, unibuild.util.files
        with unibuild.util.files.lock(pathlib.Path(sys.argv[1]), "the test"):
            if os.fork():
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(0.5)
            os.execvp("true", ["true"])
    """)
    subprocess.run([sys.executable, "-c", script, str(path)], check=False)
    with files.lock(path, "the test"):
        pass


def test_is_locked_without_creating_the_file(tmp_path):
    path = tmp_path / "x.lock"
    assert not files.is_locked(path)
    with files.lock(path, "x"):
        assert files.is_locked(path)
    assert not files.is_locked(path)
