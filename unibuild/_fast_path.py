"""Entry point of the console script: prints "up to date" before it imports anything else.

``unibuild._fast_path_file`` says whether it may; this module imports nothing else for it, for the sake of time.
"""

import os
import sys

from unibuild._fast_path_file import GOALS, current

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["main", "script"]


def script() -> int:
    """Run the command line and end the process; the console script's entry point.

    Where nothing is stale, the process ends at once: to take the interpreter apart costs a sixth of its start.
    """
    return main(end=os._exit)


def main(end: "Callable[[int], object] | None" = None) -> int:
    """Run the command line.

    Args:
        end: what to call with the exit code where the fast path has said all.

    Returns:
        The exit code.
    """
    try:
        _open_standard_files()
        if len(sys.argv) == 2 and sys.argv[1] in GOALS and current(sys.argv[1]):
            try:
                sys.stdout.write(f"{sys.argv[1]}: up to date\n")
                sys.stdout.flush()
                if end is not None:
                    end(0)
                return 0
            except OSError:  # the reader has gone, or the disk is full: the slow path reports it
                pass
        from unibuild.util import interrupts

        interrupts.install()
        from unibuild.cli.main import main as slow
        from unibuild.util import standard_streams

        standard_streams.install()
        code = slow(sys.argv[1:])
        interrupts.restore()
        return code
    except KeyboardInterrupt:
        if "--debug" in sys.argv:
            raise
        sys.stderr.write("error: interrupted\n")
        return 130


def _open_standard_files() -> None:
    """Open /dev/null where standard input, output or error is closed: another file would get its number."""
    for fd, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(fd)
        except OSError:
            os.open("/dev/null", os.O_RDWR)  # gets the lowest free number
        if getattr(sys, name) is None:
            setattr(sys, name, open(fd, "w" if fd else "r", closefd=False))  # noqa: SIM115 (it stays open)
