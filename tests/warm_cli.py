"""Run `unibuild` and `doit` in forks of one process that has loaded their modules.

A new interpreter needs a quarter of a second of CPU time to import them, a fork a fiftieth of a second. The program
runs in its own process, with the environment, folder and arguments of the request. Tests of the start itself use a new
interpreter.

The server reads a request from each line, as JSON, and answers with the exit code. It ends at the end of its standard
input.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

PROGRAMS = ("unibuild", "doit")
AT_START = ("PYTHON", "LANG", "LC_", "LD_", "TZ")
"""The prefixes of environment variables that an interpreter reads when it starts."""


MODULES = Path("modules")
"""The file with the names of the modules that the last program loaded, in the server's folder."""

TEMPORARY = tempfile.gettempdir()  # tests set other values


class WarmCli:
    """The client, which starts the server at the first request."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._folder = ""

    def run(self, argv: list[str], cwd: Path, environ: dict[str, str], timeout: float) -> tuple[int, str] | None:
        """Run a program of ``PROGRAMS`` to its end; return exit code and output, or None if it needs a new interpreter.

        Raises:
            subprocess.TimeoutExpired: it did not end in time, and was killed.
        """
        if argv[0] not in PROGRAMS or not self._lock.acquire(blocking=False):
            return None
        try:
            if self._server is None:
                self._start(environ)
            return self._ask(argv, cwd, environ, timeout) if _at_start(environ) == self._environ else None
        finally:
            self._lock.release()

    def _start(self, environ: dict[str, str]) -> None:
        self._folder = tempfile.mkdtemp(prefix="unibuild-warm-", dir=TEMPORARY)
        self._environ = _at_start(environ)
        self._server = subprocess.Popen(
            [sys.executable, __file__, str(Path(sys.executable).parent)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # so that select shows whether there is a line to read
            cwd=self._folder,
            env=environ,
            start_new_session=True,
        )

    def _ask(self, argv: list[str], cwd: Path, environ: dict[str, str], timeout: float) -> tuple[int, str]:
        output = Path(self._folder) / "output"
        umask = os.umask(0)
        os.umask(umask)
        request = {"argv": argv, "cwd": str(cwd), "environ": environ, "output": str(output), "umask": umask}
        self._server.stdin.write(f"{json.dumps(request)}\n".encode())
        pid = int(self._server.stdout.readline())
        has_ended = bool(select.select([self._server.stdout], [], [], timeout)[0])
        if not has_ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        code = int(self._server.stdout.readline())
        printed = output.read_text()
        output.unlink()  # programs that are still running may write to it
        if not has_ended:
            raise subprocess.TimeoutExpired(argv, timeout, printed)
        return code, printed

    def end(self) -> None:
        """End the server."""
        if self._server:
            self._server.stdin.close()
            self._server.wait()
            self._server.stdout.close()
            shutil.rmtree(self._folder)
            self._server = None


WARM = WarmCli()


def run(*argv: str, cwd: Path, timeout: float = 200, **environ: str) -> tuple[int, str]:
    """Run a program to its end, in a session of its own; return its exit code and what it printed.

    Args:
        argv: the name of a program in this interpreter's folder, or of any other program, and its arguments.
        cwd: the folder in which it runs.
        timeout: seconds.
        environ: variables in addition to those of this process.

    Raises:
        subprocess.TimeoutExpired: it did not end in time, and was killed.
    """
    environment = {**os.environ, **environ}
    found = WARM.run([*argv], cwd, environment, timeout)
    if found is not None:
        return found
    program = Path(sys.executable).parent / argv[0]  # argv[0] itself if that is an absolute path
    done = subprocess.run(
        [str(program) if program.exists() else argv[0], *argv[1:]],
        cwd=cwd,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        start_new_session=True,
        check=False,
    )
    return done.returncode, done.stdout


def _at_start(environ: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if name.startswith(AT_START)}


def serve(folder: str) -> None:
    """Run the server of the programs in a folder."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _child(json.loads(line), folder)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)
        if MODULES.exists():
            for name in MODULES.read_text().split():
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)
            MODULES.unlink()
            gc.collect()
            gc.freeze()


def _child(request: dict, folder: str) -> None:
    """Run the program, record the modules that it has loaded, and never return."""
    modules = MODULES.absolute()
    os.setsid()
    os.chdir(request["cwd"])
    os.umask(request["umask"])
    os.environ.clear()
    os.environ.update(request["environ"])
    before = {*sys.modules}
    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    for there, here in ((null, 0), (output, 1), (output, 2)):
        os.dup2(there, here)
    os.closerange(3, 64)
    name, *words = request["argv"]
    sys.argv = [f"{folder}/{name}", *words]
    sys.path[0] = folder
    code = _run(name)
    loaded = [one for one in {*sys.modules} - before if _is_installed(one)]
    if loaded:
        modules.write_text("\n".join(sorted(loaded)))
    os._exit(code)


def _run(name: str) -> int:
    """Run a program as a console script does; return its exit code."""
    code: object = 1
    try:
        if name == "unibuild":
            from unibuild._fast_path import main
        else:
            from doit.__main__ import main
        code = main()
    except SystemExit as error:
        code = error.code
    except BaseException:  # as an interpreter does
        sys.excepthook(*sys.exc_info())
    threading._shutdown()
    atexit._run_exitfuncs()
    if not isinstance(code, int | None):
        print(code, file=sys.stderr)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return 0 if code is None else code & 255 if isinstance(code, int) else 1


def _is_installed(name: str) -> bool:
    """Return whether a module does not belong to a project, as its dodo.py does."""
    root = name.partition(".")[0]
    path = getattr(sys.modules[name], "__file__", None) or ""
    return root == "unibuild" or root in sys.stdlib_module_names or path.startswith(f"{sys.prefix}/lib/")


if __name__ == "__main__":
    serve(sys.argv[1])
