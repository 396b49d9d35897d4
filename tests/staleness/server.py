"""Runs unibuild's command line as often as it is asked to, each time in a fork that finds all modules loaded.

A build that has little to do costs a tenth of a new interpreter this way. Each line on standard input is a request:
the folder, the words of the command line, the environment and the file for the output, as JSON. The answer is the
child's process number when it starts, and its exit code when it ends.
"""

import contextlib
import gc
import importlib
import importlib.metadata
import json
import os
import signal
import sys
from pathlib import Path


def main() -> None:
    is_warm = False
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGINT, signal.default_int_handler)
            _child(request)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        if not is_warm and os.path.exists(request["modules"]):  # noqa: PTH110
            _warm_up(request)
            is_warm = True


def _warm_up(request: dict) -> None:
    """Load what the child had loaded, and do once what comes out the same each time."""
    with open(request["modules"]) as file:  # noqa: PTH123
        for name in file.read().split():
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    found = importlib.metadata.entry_points()
    importlib.metadata.entry_points = found.select
    from unibuild.errors import UnibuildError
    from unibuild.settings import loader

    with contextlib.suppress(UnibuildError):  # the test may move or remove its project meanwhile
        loader.load(Path(request["folder"]), {}, {})
    gc.collect()
    gc.freeze()


def _child(request: dict) -> None:
    """Be `unibuild WORDS` in the folder of the request; never return."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ["unibuild", *request["words"]]
    code: object = 1
    try:
        from unibuild._fast_path import main as unibuild

        code = unibuild()
    except SystemExit as error:
        code = error.code
    except BaseException:
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    if "unibuild.cli.main" in sys.modules and not os.path.exists(request["modules"]):  # noqa: PTH110
        with open(request["modules"], "w") as file:  # noqa: PTH123
            file.write("\n".join(name for name in sys.modules if name != "__main__"))
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
