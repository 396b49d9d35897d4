"""The state of the stand-ins: the folder $STANDIN with domains and store, locked by one program at a time."""

import fcntl
import marshal
import os
import sys


class Place(str):
    """A path, with the few methods of pathlib that are needed here."""

    __slots__ = ()

    def __truediv__(self, name):
        return Place(f"{self}/{name}")

    def exists(self):
        return os.path.exists(self)

    def open(self, mode="r", **how):
        return open(self, mode, **how)

    def read_text(self):
        with open(self) as file:
            return file.read()

    def read_bytes(self):
        with open(self, "rb") as file:
            return file.read()

    def write_bytes(self, data):
        with open(self, "wb") as file:
            file.write(data)

    def write_text(self, text):
        with open(self, "w") as file:
            file.write(text)


class _World:
    """The folder, looked up at each use, because tests also run the programs in their own process."""

    def __truediv__(self, name):
        return Place(os.environ["STANDIN"]) / name

    def __str__(self):
        return os.environ["STANDIN"]


WORLD = _World()


class world:  # noqa: N801 (it is called as a function is)
    """Lock the state during the block and write it afterwards, unless the block failed."""

    def __enter__(self):
        self.lock = (WORLD / "lock").open("w")
        fcntl.flock(self.lock, fcntl.LOCK_EX)
        self.path = WORLD / "xen.state"
        if self.path.exists():
            self.before = self.path.read_bytes()
            self.state = marshal.loads(self.before)
        else:
            self.before, free = None, WORLD / "free"
            self.state = {"next": 1, "free": int(free.read_text()) if free.exists() else 512}
            self.state |= {
                "domains": {},
                "store": {"/": "", "/local": "", "/local/domain": "", "/vm": ""},
                "events": [],
            }
        return self.state

    def __exit__(self, failed, *_):
        with self.lock:
            after = None if failed else marshal.dumps(self.state, 0)
            if after not in (None, self.before):
                beside = WORLD / "xen.new"
                beside.write_bytes(after)
                os.replace(beside, self.path)


class Reader:
    """Reads the state without locking it, and only if it has changed.

    The file is always replaced as a whole. While it is open here, no other file gets its inode.
    """

    def __init__(self):
        self.forget()

    def forget(self):
        """Forget the open file, as a process does that has closed its files."""
        self.fd, self.inode, self.path, self.state = -1, None, None, None

    def read(self):
        """Return the state, which the caller must not change."""
        path = f"{WORLD}/xen.state"
        try:
            inode = os.stat(path).st_ino
        except FileNotFoundError:
            return {"domains": {}, "store": {}, "events": []}
        if (path, inode) != (self.path, self.inode):
            if self.fd >= 0:
                os.close(self.fd)
            self.fd = os.open(path, os.O_RDONLY)
            found = os.fstat(self.fd)
            self.path, self.inode = path, found.st_ino
            self.state = marshal.loads(os.read(self.fd, found.st_size))
        return self.state


reader = Reader()


def note(program, *args):
    """Record a call for the tests to read."""
    words = ("'" + arg.replace("'", "'\"'\"'") + "'" for arg in args)
    with (WORLD / f"{program}.log").open("a") as log:
        log.write(" ".join(words) + "\n")


_tests = {}


def is_over():
    """Return whether the test that owns this state has ended, or was killed."""
    folder = os.environ["STANDIN"]
    if os.path.exists(f"{folder}/over") or not os.path.exists(folder):
        return True
    try:
        if folder not in _tests:
            _tests[folder] = int((WORLD / "test").read_text())
        os.kill(_tests[folder], 0)
    except (FileNotFoundError, PermissionError):  # another user's process is alive too
        return False
    except OSError:
        return True
    return False


def fail(text, status=1):
    print(text, file=sys.stderr)
    raise SystemExit(status)


def canned(name):
    """Fail or answer on the test's request: $STANDIN/NAME has an error message, $STANDIN/NAME.says an output."""
    if (WORLD / name).exists():
        fail((WORLD / name).read_text().rstrip())
    if (WORLD / f"{name}.says").exists():
        print((WORLD / f"{name}.says").read_text(), end="")
        raise SystemExit
