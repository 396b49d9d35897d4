"""Run the commands on the host that read a console: ``xl console``, and a watch for any domain that stops.

They carry a token in their environment. A watchdog on the host kills every process with that token as soon as its
standard input ends, which happens when unibuild is killed or the connection breaks. The remote end of a shared SSH
connection gets no other sign of that. A terminal there hangs up when its first process is killed, so that root's
processes behind sudo end too. On this machine behind sudo there is no watchdog: xenconsole ends at its next output.

The token's value names the reader's process. So the next reader finds and terminates one that also lost its watchdog.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import tty
import uuid
from typing import TYPE_CHECKING

from unibuild.errors import DomainError, UnibuildError
from unibuild.host.toolstack import Console, ConsoleReader, Domain
from unibuild.util import process_identity
from unibuild.util.terminal import LEAVE, end_by_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.host.base import Host
    from unibuild.host.exchange import HostChild
    from unibuild.host.toolstack import Store
    from unibuild.util.process import Completed

__all__ = ["XlConsole"]

_INTERRUPT = b"\x03"  # Ctrl-C
_KEY_PAUSE = 0.1  # seconds before the key that detaches: if it arrives together with others, the domain gets it
_VARIABLE = "UNIBUILD_READER"
_WATCH = ("xenstore-watch", "@releaseDomain")
_MARK = b"\x1e"  # comes before the token, between the domain's output and the command's own

# Scripts for any POSIX shell, which any login shell passes on: without line ends, and without `!` for csh.
# busybox's grep -F matches only the first variable of an environment.
_END = (
    f"""for f in $(grep -ls "{_VARIABLE}=$1" /proc/[0-9]*/environ); do f=${{f#/proc/}}; kill "${{f%/environ}}"; done"""
)
_FIND = (
    f"""for f in $(grep -ls {_VARIABLE}= /proc/[0-9]*/environ); do """
    f"""tr "\\0" "\\n" < "$f" | sed -n "s/^{_VARIABLE}=/reader /p"; done"""
)
# The watch is started first and by a shell that handles no TERM: `kill` always terminates it.
_WATCHDOG = (
    f"""g() {{ read -r said <&3; case $said in bye) kill "$2" ;; *) {_END}; sleep 1; {_END} ;; esac; }}; """
    """t=$1; v=$2; shift 2; trap "" HUP; exec 3<&0; if [ $# -gt 0 ]; then """
    f"""{_VARIABLE}="$v" "$@" </dev/null 3<&- & p=$!; """
    """g "$t" "$p" >/dev/null & wait "$p"; echo ended; wait; else g "$t" "" >/dev/null; fi"""
)
_REPORT_END = (
    """t=$1; shift; exec 3>&1; e=$("$@" 2>&1 >&3 3>&-); s=$?; printf "\\036%s %s %s" "$t" "$s" "$e"; exit $s"""
)


class XlConsole(Console):
    """A console that ``xl console`` reads, from the moment this object is created.

    Over SSH the command gets a terminal on the host, and unibuild types on a local one, which ssh passes on: no key is
    echoed or changed. Normally a key makes the command detach, so that no output is lost.

    Args:
        host: the domain's host.
        store: its XenStore.
        domain: the domain.
        kind: which console of an HVM domain, ``serial`` or ``pv``; None: the one that xl uses first.
        on_close: called with this object while output on its way can still be read.
    """

    def __init__(
        self, host: Host, store: Store, domain: Domain, kind: str | None, on_close: Callable[[Console], None]
    ) -> None:
        self._host = host
        self._store = store
        self._domain = domain
        self._stack = contextlib.ExitStack()
        self._keys: int | None = None  # the file descriptor that keys are written to
        self._token = uuid.uuid4().hex
        self._value = f"{self._token} {domain.uuid} {process_identity.here()} {process_identity.user_and_host()}"
        self._mark = _MARK + self._token.encode() if host.has_ttys else None
        self._last_key = -_KEY_PAUSE  # when the last key was typed
        self._ended: Completed | None = None
        self._held = b""  # output that is, or may be, the mark
        self._has_started = False  # whether there is a command: Ctrl-C or a lost host may come before
        try:
            which = ["-t", kind] if kind else []
            self._watch = self._start_watch()
            self._start(["xl", "console", *which, str(domain.domid)], LEAVE, on_close)
        except BaseException:
            self._stack.close()
            raise

    @property
    def fd(self) -> int:
        """See ``Console``."""
        return _fd(self._console)

    @property
    def watch_fd(self) -> int:
        """See ``Console``."""
        return _fd(self._watch)

    def close(self) -> None:
        """See ``Console``."""
        self._stack.close()

    def stop(self) -> None:
        """See ``Console``."""
        self._console.end()

    def read(self) -> tuple[bytes, bool]:
        """See ``Console``."""
        raw = os.read(_fd(self._console), 65536)
        data = self._console.feed(raw)
        goes_on = bool(raw) and self._console.out.status is None
        if self._mark is None:
            return data, goes_on
        text, self._held = self._held + data, b""
        at = text.find(self._mark)
        if at < 0 and goes_on:
            ends = (size for size in range(min(len(text), len(self._mark) - 1), 0, -1))
            at = len(text) - next((size for size in ends if text.endswith(self._mark[:size])), 0)
        if at >= 0:
            text, self._held = text[:at], text[at:]
        return text, goes_on

    def read_watch(self) -> tuple[bool, bool]:
        """See ``Console``."""
        raw = os.read(_fd(self._watch), 65536)
        data = self._watch.feed(raw)
        return bool(data), bool(raw) and self._watch.out.status is None and not data.endswith(b"ended\n")

    def check(self) -> None:
        """See ``Console``."""
        self._completed()

    @property
    def is_refused(self) -> bool:
        """See ``Console``; the message is xenconsole's (tools/console/client/main.c)."""
        with contextlib.suppress(UnibuildError):  # `check` raises it
            done = self._completed()
            return done is not None and b"Could not lock" in done.stderr
        return False

    def _completed(self) -> Completed | None:
        """Return the command's exit status and its own output; None: it still runs."""
        if self._mark and self._held.startswith(self._mark):
            self._console.err.data += self._held.split(b" ", 2)[2]
            self._held = b""
        if self._ended is None:
            self._ended = self._console.finish(1.0)
        return self._ended

    def readers(self) -> tuple[ConsoleReader, ...]:
        """See ``Console``."""
        said = self._host.run(["sh", "-c", _FIND], root=False, check=False, background=True, question=True).text
        found = set()
        for line in said.splitlines():
            words = line.split(" ", 4)
            process = process_identity.parse(words[3]) if len(words) == 5 and words[0] == "reader" else None
            if process and words[2] == self._domain.uuid and words[1] != self._token:
                found.add(ConsoleReader(words[1], words[2], process, words[4]))
        return tuple(found)

    def end_reader(self, reader: ConsoleReader) -> None:
        """See ``Console``."""
        self._host.run(["sh", "-c", _END, "sh", reader.token], root=False, check=False, background=True)

    def send(self, data: bytes) -> None:
        """See ``Console``.

        `xl console` takes keys only from a terminal. On this machine behind sudo it has none, because sudo would put
        its own in between. So the keys go to the terminal in dom0 that xenconsoled created (its name is in xenstore).
        """
        if self._keys is None:
            path = f"/local/domain/{self._domain.domid}/console/tty"
            there = self._store.read(path)
            if there is None:
                raise DomainError(f"the console of {self._domain.name} on {self._host.name} lacks a terminal")
            child = self._host.start(["tee", "-a", there], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
            self._stack.enter_context(child)
            assert child.stdin is not None
            self._keys = child.stdin.fileno()
        self._last_key = time.monotonic()
        with contextlib.suppress(BrokenPipeError):
            os.write(self._keys, data)

    def _start_watch(self) -> HostChild:
        """Start the watchdog, if possible, and the watch; the watchdog starts the watch if it may kill it."""
        host = self._host
        if host.needs_sudo and not host.has_ttys:
            return self._start(list(_WATCH), _INTERRUPT)
        argv = ["sh", "-c", _WATCHDOG, "sh", self._token, self._value]
        if not host.needs_sudo:
            argv += _WATCH if host.has_ttys else host.call(_WATCH).argv
        watchdog = host.start(argv, root=not host.needs_sudo, stdin=subprocess.PIPE)
        self._stack.enter_context(watchdog)
        self._stack.callback(self._dismiss, watchdog)
        return self._start(list(_WATCH), _INTERRUPT) if host.needs_sudo else watchdog

    def _dismiss(self, watchdog: HostChild) -> None:
        """Stop the watchdog; it searches for no processes if the console's command ended by itself."""
        assert watchdog.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            if self._has_started and self._console.poll() is not None:
                watchdog.stdin.write(b"bye\n")
            watchdog.stdin.close()
        watchdog.wait(1.0)

    def _start(self, argv: list[str], leave: bytes, on_close: Callable[[Console], None] | None = None) -> HostChild:
        """Start a command; ``leave`` is the key that ends it."""
        host = self._host
        if not host.has_ttys:
            marked = ["env", f"{_VARIABLE}={self._value}", *host.call(argv).argv]
            child = host.start(argv) if host.needs_sudo else host.start(marked, root=False)
            return self._keep(child, on_close)
        keys, terminal = os.openpty()
        self._stack.callback(os.close, keys)
        self._stack.callback(os.close, terminal)
        if on_close:
            tty.setraw(terminal)
            self._keys = keys
        shell = ["env", f"{_VARIABLE}={self._value}", "sh", "-c", _REPORT_END, "sh", self._token]
        child = host.start([*shell, *host.as_root, *argv], tty=True, root=not host.needs_sudo, stdin=terminal)
        self._keep(child, on_close)
        self._stack.callback(self._leave, child, keys, leave)
        return child

    def _leave(self, child: HostChild, keys: int, key: bytes) -> None:
        time.sleep(max(0.0, self._last_key + _KEY_PAUSE - time.monotonic()))
        end_by_key(child, keys, key)

    def _keep(self, child: HostChild, on_close: Callable[[Console], None] | None) -> HostChild:
        self._stack.enter_context(child)
        if on_close:
            self._console, self._has_started = child, True
            self._stack.callback(on_close, self)
        return child


def _fd(child: HostChild) -> int:
    """Return the file descriptor of the child's output."""
    assert child.stdout is not None
    return child.stdout.fileno()
