"""Events of folders: none is held back or lost, and no descriptor leaks."""

import os
import subprocess
import sys
import threading

from unibuild.util import inotify

TIMEOUT = 60


def test_events_are_received_while_more_keep_coming(tmp_path, monkeypatch):
    received, read = threading.Event(), os.read

    def read_in_a_storm(fd, size):
        data = read(fd, size)
        if fd == reader._fd:
            (tmp_path / "a").touch()
        return data

    reader = inotify.Inotify(lambda _: received.set())
    reader.add(str(tmp_path), inotify.ATTRIB | inotify.CREATE)
    monkeypatch.setattr(os, "read", read_in_a_storm)
    (tmp_path / "a").touch()
    reader.start()
    assert received.wait(TIMEOUT)
    reader.close(TIMEOUT)
    assert not reader.is_alive


def test_events_before_the_end_are_received(tmp_path):
    names, held = [], threading.Event()

    def receive(events):
        held.wait(TIMEOUT)
        names.extend(event.name for event in events)

    reader = inotify.Inotify(receive)
    reader.add(str(tmp_path), inotify.CREATE)
    reader.start()
    expected = [f"{number:0200}" for number in range(1000)]  # more than one read returns
    for name in expected:
        (tmp_path / name).touch()
    held.set()
    reader.close(TIMEOUT)
    assert names == expected


LIMITED = """
import ctypes, errno, os, resource
from unibuild.util.inotify import Inotify, InstanceLimitError
before = os.listdir("/proc/self/fd")  # with the one that lists them
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
for free in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) - 1 + free, limits[1]))
    try:
        Inotify(print).close()
        print("created")
    except InstanceLimitError:
        print("instances")
    except OSError as error:
        print(errno.errorcode[error.errno])
resource.setrlimit(resource.RLIMIT_NOFILE, limits)
print(os.listdir("/proc/self/fd") == before)
"""


def test_limit_of_open_files_leaks_nothing_and_is_not_that_of_instances():
    argv = [sys.executable, "-c", LIMITED]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["EMFILE"] * 3 + ["created", "True"]
