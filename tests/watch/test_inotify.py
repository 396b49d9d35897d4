"""Reports of the kernel about folders, and its limits."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unibuild.util import inotify as inotify_events
from unibuild.watch import inotify
from unibuild.watch.inotify import InotifyWatcher

TIMEOUT = 20


class Woken:
    def __init__(self):
        self.event = threading.Event()

    def __call__(self):
        self.event.set()

    def by(self, act):
        """Return whether an action wakes the loop."""
        self.event.clear()
        act()
        return self.event.wait(TIMEOUT)


@pytest.fixture
def woken():
    return Woken()


@pytest.fixture
def watched(tmp_path, woken):
    with InotifyWatcher(woken) as found:
        found.watch([str(tmp_path)])
        yield found


def test_every_change_in_a_folder_wakes(tmp_path, woken, watched):
    file = tmp_path / "a"
    assert woken.by(file.touch)
    assert woken.by(lambda: file.write_text("x"))
    assert woken.by(lambda: os.utime(file))
    assert woken.by(lambda: file.rename(tmp_path / "b"))
    assert woken.by((tmp_path / "b").unlink)
    assert woken.by((tmp_path / "folder").mkdir)


def test_subfolder_is_not_watched(tmp_path, woken, watched):
    assert woken.by((tmp_path / "in").mkdir)
    time.sleep(0.2)  # more events of the same change
    woken.event.clear()
    (tmp_path / "in" / "a").touch()
    assert not woken.event.wait(0.3)
    watched.watch([str(tmp_path), str(tmp_path / "in")])
    assert woken.by((tmp_path / "in" / "b").touch)


@pytest.mark.parametrize("gone", ["moved", "removed"])
def test_replaced_folder_is_watched_again(tmp_path, woken, gone):
    folder = tmp_path / "folder"
    folder.mkdir()
    with InotifyWatcher(woken) as watched:
        watched.watch([str(folder)])
        assert woken.by(lambda: folder.rename(tmp_path / "other") if gone == "moved" else folder.rmdir())
        folder.mkdir()
        watched.watch([str(folder)])
        assert woken.by((folder / "a").touch)


def test_two_names_of_one_folder_and_a_missing_folder_are_accepted(tmp_path, woken, watched):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    names = [str(tmp_path / name) for name in ("folder", "link", "nowhere")]
    watched.watch(names)
    watched.watch(names[1:])
    assert not watched.is_polling
    assert woken.by((tmp_path / "folder" / "a").touch)


def test_nothing_is_watched_with_poll(tmp_path, woken):
    with InotifyWatcher(woken, poll=True) as watched:
        watched.watch([str(tmp_path)])
        assert (watched.is_polling, watched.folders) == (True, frozenset())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_death_of_the_thread_is_a_failure(tmp_path):
    with InotifyWatcher(sys.exit) as watched:
        watched.watch([str(tmp_path)])
        watched.check()
        assert not watched.is_polling
        (tmp_path / "a").touch()
        watched._inotify._thread.join(TIMEOUT)
        watched.check()
        assert watched.is_polling


def test_watch_that_was_removed_makes_nothing_stale(tmp_path, woken, watched):
    (tmp_path / "folder").mkdir()
    watched.watch([str(tmp_path), str(tmp_path / "folder")])
    woken.event.clear()
    watched.watch([str(tmp_path / "folder")])
    assert woken.by((tmp_path / "folder" / "a").touch)
    assert not watched.is_stale


def test_other_name_of_a_folder_stays_watched(tmp_path, woken, watched):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    watched.watch([str(tmp_path / "folder"), str(tmp_path / "link")])
    watched.watch([str(tmp_path / "link")])
    woken.event.wait(0.1)
    assert woken.by((tmp_path / "folder" / "a").touch)


def test_overflow_of_the_kernels_queue_wakes(woken, watched):
    woken.event.clear()
    watched._receive([inotify_events.InotifyEvent(-1, inotify_events.OVERFLOW, "")])
    assert woken.event.is_set()
    assert not watched.is_stale


def test_folder_that_is_moved_while_folders_are_watched_again_is_stale(tmp_path, watched):
    passes = []

    class Events(tuple):
        def __iter__(self):
            if not passes:
                watched.watch([str(tmp_path)])  # as the loop does in its own thread
            passes.append(1)
            return super().__iter__()

    watched._receive(Events([inotify_events.InotifyEvent(1, inotify_events.MOVE_SELF, "")]))
    assert watched.is_stale


def test_python_without_ctypes_polls(tmp_path, woken, monkeypatch):
    monkeypatch.setitem(sys.modules, "ctypes", None)
    with InotifyWatcher(woken) as watched:
        watched.watch([str(tmp_path)])
        assert watched.is_polling


def test_limit_of_open_files_is_not_taken_for_a_limit_of_inotify(tmp_path, woken, monkeypatch):
    def refuse():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "pipe", refuse)
    with InotifyWatcher(woken) as watched:
        watched.watch([str(tmp_path)])
        assert watched.is_polling
        assert "sysctl" not in watched.hint


LIMITED = """
import sys
from pathlib import Path
from unibuild.watch.inotify import InotifyWatcher
Path("/proc/sys/user/max_inotify_{what}").write_text("{number}")
found = InotifyWatcher(lambda: None)
found.watch(sys.argv[1:])
print(found.failure)
print(found.hint)
"""


@pytest.mark.parametrize(
    ("what", "number", "hint"),
    [
        ("watches", 3, "sudo sysctl user.max_inotify_watches=80"),
        ("instances", 0, "sudo sysctl user.max_inotify_instances=128"),
    ],
)
def test_limits_of_the_kernel_are_reported_with_the_command_that_raises_them(tmp_path, what, number, hint):
    folders = [str(tmp_path / str(number)) for number in range(10)]
    for folder in folders:
        Path(folder).mkdir()
    program = LIMITED.format(what=what, number=number)
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", sys.executable, "-c", program, *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "Permission" in done.stderr:
        pytest.skip("no namespaces of one's own here")
    assert done.returncode == 0, done.stderr
    failure, told = done.stdout.splitlines()
    assert str(number) in failure
    assert told == hint


def test_lower_limit_counts():
    key, number = inotify.limit("watches")
    assert key in ("fs.inotify.max_user_watches", "user.max_inotify_watches")
    assert number > 0
