"""Format of ``.unibuild/fast``, and the check whether a goal is up to date by it.

``unibuild build`` with nothing stale should cost what an interpreter's start costs; importing json alone costs half as
much again. So this module imports what the interpreter has loaded anyway. It believes ``.unibuild/fast`` (written by
``unibuild.cli.fast_path_cache``) as long as every fingerprint in it is still that of the file.

That file may be damaged, or come with a repository that somebody else made. It is FORMAT, a line feed, the hash of the
rest (8 bytes), and the rest: fields with a NUL between them. Reading it takes time and memory by its length alone.
"""

import _imp
import os

import unibuild

__all__ = ["FORMAT", "GOALS", "LIMIT", "PASSED_ON", "current", "pack", "signature", "unpack"]

FORMAT = f"unibuild {unibuild.__version__} fast 5"
LIMIT = 64 << 20  # bytes of the file; 50,000 sources take 4 MiB
GOALS = ("configure", "depend", "build", "xl")
PASSED_ON = (  # what decides which programs run, and what `mirage configure` reads
    *("HOME", "PATH", "OPAMROOT", "OPAMSWITCH", "OPAM_SWITCH_PREFIX", "OCAMLPATH"),
    *("MODE", "MIRAGE_EXTRA_REPOS"),
)


def current(goal: str) -> bool:
    """Say whether nothing has changed since the file was written that says that ``goal`` is up to date."""
    stat = os.stat
    try:
        folder = os.getcwd()
    except OSError:  # it was removed meanwhile
        return False
    while True:  # the nearest unibuild.toml above decides, as in settings.sources
        try:
            stat(folder + "/unibuild.toml")
            break
        except OSError:
            if folder in ("/", ""):
                return False
            folder = folder[: folder.rindex("/")]
    try:
        with open(folder + "/.unibuild/fast", "rb") as file:
            fields = unpack(file.read(LIMIT))
        if fields[0] != folder:  # the tree was copied from there
            return False
        count = int(fields[1])
        variables, at = fields[2 : 2 + count], 2 + count
        environment = signature(os.environ, tuple(variables))
        count = int(fields[at])
        if fields[at + 1 : at + 1 + count] != environment:
            return False
        at += 1 + count
        count = int(fields[at])
        for path in fields[at + 1 : at + 1 + count]:
            try:
                stat(path)
            except OSError:
                continue
            return False
        at += 1 + count
        while True:
            name, count = fields[at], int(fields[at + 1])
            if count < 0:
                return False
            middle, at = at + 2 + count, at + 2 + 2 * count
            paths, stamps = fields[middle - count : middle], fields[middle:at]
            if [f"{s.st_mtime_ns}:{s.st_size}:{s.st_ino}:{s.st_ctime_ns}" for s in map(stat, paths)] != stamps:
                return False
            if name == goal:
                return at <= len(fields)
    except Exception:  # no such file, or not in this format: the slow path finds out
        return False


def pack(fields: list[str]) -> bytes:
    """Return the content of the file."""
    body = os.fsencode("\0".join(fields))
    return FORMAT.encode() + b"\n" + _imp.source_hash(0, body) + body


def unpack(content: bytes) -> list[str]:
    """Return the fields that ``pack`` was given.

    Raises:
        ValueError: another program or release wrote it, or it is damaged.
    """
    start = len(FORMAT) + 9
    body = content[start:]
    if content[:start] != FORMAT.encode() + b"\n" + _imp.source_hash(0, body):
        raise ValueError
    return os.fsdecode(body).split("\0")


def signature(environ: "os._Environ[str]", variables: tuple[str, ...]) -> list[str]:
    """Return the part of the environment that decides what the settings, the programs and the build's results are.

    Each variable is a word NAME=VALUE; they are sorted.

    Args:
        environ: the environment.
        variables: names of variables that the project's build reads.
    """
    names = {*PASSED_ON, *variables}
    return sorted(f"{key}={environ[key]}" for key in environ if key.startswith("UNIBUILD_") or key in names)
