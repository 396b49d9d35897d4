"""The world of the stand-ins: the folder $STANDIN with its domains and its store, held by one program at a time."""

import contextlib
import fcntl
import json
import os
import sys
from pathlib import Path


class _Folder:
    """The folder, looked up whenever it is used: tests play the programs in their own process too."""

    def __truediv__(self, name):
        return Path(os.environ["STANDIN"]) / name

    def __str__(self):
        return os.environ["STANDIN"]


WORLD = _Folder()


@contextlib.contextmanager
def world():
    """The state, held and then written; one that failed is not."""
    with (WORLD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        path = WORLD / "xen.json"
        if path.exists():
            before = path.read_text()
            state = json.loads(before)
        else:
            before, free = None, WORLD / "free"
            state = {"next": 1, "free": int(free.read_text()) if free.exists() else 512}
            state |= {"domains": {}, "store": {"/": "", "/local": "", "/local/domain": "", "/vm": ""}, "events": []}
        yield state
        after = json.dumps(state)
        if after != before:
            beside = WORLD / "xen.new"
            beside.write_text(after)
            beside.replace(path)


def is_over():
    """Say whether the test has ended that this is the world of, or was killed."""
    if (WORLD / "over").exists():
        return True
    try:
        os.kill(int((WORLD / "test").read_text()), 0)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def fail(text, status=1):
    print(text, file=sys.stderr)
    raise SystemExit(status)


def canned(name):
    """Do as the test wants it: $STANDIN/NAME holds words of refusal, $STANDIN/NAME.says an answer."""
    if (WORLD / name).exists():
        fail((WORLD / name).read_text().rstrip())
    if (WORLD / f"{name}.says").exists():
        print((WORLD / f"{name}.says").read_text(), end="")
        raise SystemExit
