"""A program that publishes a disk for each line on its standard input, in a process that it forks for that.

They are real processes, which signals reach and end, and boto3, of which the import and EC2's client take a second, is
there already. A line is a JSON object: "disk" (the numbers of a ``disks.Disk``), "folder" (its journal's), "log" (where
its output goes). The answer is the number of the process at once, and a second line when it has ended: its exit code,
negative where a signal ended it. Waits of the AWS client take no time, but are seen on its clock.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import boto3
from disks import Disk, publish_disk

from unibuild.aws.client import Aws, Clock, Stopped
from unibuild.errors import UnibuildError

MADE = {}
make_client = boto3.Session.client


class Hurried(Clock):
    """A clock whose waits pass at once."""

    def __init__(self) -> None:
        super().__init__()
        self._waited = 0.0

    def now(self) -> float:
        return time.monotonic() + self._waited

    def sleep(self, seconds: float) -> None:
        self._waited += seconds
        if self.stop.wait(0.001):
            raise Stopped


def shared_client(self, service, region_name=None, config=None):
    """Make a client once for all forked processes; each opens connections of its own."""
    key = (service, region_name, config.read_timeout)
    if key not in MADE:
        MADE[key] = make_client(self, service, region_name=region_name, config=config)
    return MADE[key]


def run(disk: list[int], folder: str) -> int:
    """Publish a disk as `unibuild publish_ami` does; return the exit code."""
    try:
        publish_disk(Aws(clock=Hurried()), Disk.of(*disk), Path(folder))
    except UnibuildError:
        traceback.print_exc()
        return 7
    except KeyboardInterrupt:
        return 130
    return 0


def child(disk: list[int], folder: str, log: str) -> int:
    """Be a process of its own; return the exit code."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(disk, folder)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return code


def warm_up() -> None:
    """Publish once, so that all is imported and each operation's model is read; leave no thread and no connection."""
    with tempfile.TemporaryDirectory() as folder:
        run([1], folder)
    while threading.active_count() > 1:
        time.sleep(0.01)
    for client in MADE.values():
        client.close()
    gc.freeze()  # what is there now stays, so that no collection makes a fork copy it


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the forked ones
    boto3.Session.client = shared_client
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        process = os.fork()
        if process == 0:
            os._exit(child(**asked))
        print(process, flush=True)
        _, status = os.waitpid(process, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


main()
