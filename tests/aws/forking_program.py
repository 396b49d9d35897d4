"""A program that runs a task for each line on its standard input, in a forked process.

The forks are real processes that signals reach and end, and they have boto3 already, because its import and EC2's
client take a second. A line is a JSON object: "task" (one of ``TASKS``), "log" (where its output goes), and the task's
arguments. The program answers at once with the number of the process, and at its end with a second line: the exit code,
negative if a signal ended it. Waits of the AWS client take no time, but advance its clock.
"""

from __future__ import annotations

import gc as garbage
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from disks import Disk, publish_disk

from unibuild.aws import inventory
from unibuild.aws.client import Aws, Clock, Stopped
from unibuild.aws.garbage_collection import execute, plan_collection
from unibuild.ec2.launch import locked_launch
from unibuild.errors import UnibuildError
from unibuild.settings.loader import load

if TYPE_CHECKING:
    from collections.abc import Sequence

MADE = {}
make_client = boto3.Session.client


class Hurried(Clock):
    """A clock with waits that take no time."""

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
    """Create a client once for all forked processes; each process opens its own connections."""
    key = (service, region_name, config.read_timeout)
    if key not in MADE:
        MADE[key] = make_client(self, service, region_name=region_name, config=config)
    return MADE[key]


def publish(disk: list[int], folder: str, bucket: str | None = None, regions: Sequence[str] = ()) -> None:
    """Publish a disk as `unibuild publish_ami` does; ``folder`` is the folder of its journal."""
    publish_disk(Aws(clock=Hurried()), Disk.of(*disk), Path(folder), bucket, regions)


def gc(now: float) -> None:
    """Remove abandoned imports as `unibuild ami gc` does; ``now`` is the world's time."""
    aws = Aws(clock=Hurried())
    found = inventory.take_inventory(aws, aws.region)
    errors = execute(aws, plan_collection(found, "hello", 99, datetime.fromtimestamp(now, UTC), timedelta()))
    for error in errors.values():
        raise error


def launch(folder: str, image: str) -> None:
    """Replace the running instance by one of an AMI, as `unibuild redeploy` does in this folder."""
    project = load(Path(folder))
    aws = Aws(region=project.settings.publish.region, clock=Hurried())
    ami = next(one for one in inventory.list_amis(aws, aws.region) if one.id == image)
    with locked_launch(project, aws, aws.region) as instances:
        instances.run(ami, replace=True, terminate=False)


TASKS = {"publish": publish, "gc": gc, "launch": launch}


def run(task: str, **asked: Any) -> int:
    """Run a task; return its exit code."""
    try:
        TASKS[task](**asked)
    except UnibuildError:
        traceback.print_exc()
        return 7
    except KeyboardInterrupt:
        return 130
    return 0


def child(log: str, **asked: Any) -> int:
    """Run a task in the forked process; return the exit code."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = run(**asked)
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
    """Publish once, to import all modules and read each operation's model; leave no thread and no connection."""
    with tempfile.TemporaryDirectory() as folder:
        for how in ({}, {"bucket": "nowhere"}, {"regions": ["eu-west-1"]}):
            run("publish", disk=[1], folder=folder, **how)
            run("gc", now=0.0)
    while threading.active_count() > 1:
        time.sleep(0.01)
    for client in MADE.values():
        client.close()
    garbage.freeze()  # a collection in a fork would touch, and so copy, all existing objects


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is for the forked processes
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
