"""Frame a remote command's output, so that nothing else on the connection is taken for its answer.

The account's login shell runs a command on an SSH host, whatever shell that is. It first reads the user's startup
files, and their output is on the same two streams. So the login shell only starts ``/bin/sh``, which runs the command
between two markers on each stream:

    noise RS token "<"  the command's own bytes  RS token ">" status RS  noise

RS is the ASCII character 30. The token is random for each command. The text that goes through the login shell contains
no RS, so that a shell that echoes its input does not print a marker.
"""

from __future__ import annotations

import secrets
import string

__all__ = ["Frame", "Stream", "quote"]

_RS = b"\x1e"
_NOISE = 4096  # bytes of foreign output that are kept for error messages
_AS_IT_IS = frozenset((string.ascii_letters + string.digits + " #&()*+,-./:;<=>?@[]^_{|}~").encode())


def quote(program: str) -> str:
    r"""Return the command that makes any login shell run a program of POSIX sh.

    The text between the single quotes has nothing that bash, zsh, fish or tcsh interpret there: no quotes, ``!``, line
    ends, or backslashes except before a digit. It is a ``printf`` format, in which ``\NNN`` is an octal byte.

    Args:
        program: text for ``sh -c``.
    """
    data = program.encode(errors="surrogateescape")
    text = "".join(chr(byte) if byte in _AS_IT_IS else f"\\{byte:03o}" for byte in data)
    return f'exec /bin/sh -c \'eval "$(printf "{text}")"\''


class Frame:
    """The markers of one command.

    Args:
        token: unique to these markers; None: a random one.
    """

    def __init__(self, token: str | None = None) -> None:
        self.token = token or f"u{secrets.token_hex(8)}"
        self.begin = _RS + self.token.encode() + b"<"
        self.end = _RS + self.token.encode() + b">"

    def program(self, command: str, *, tty: bool = False) -> str:
        """Return the text for ``sh -c`` that runs a command between the markers and ends with its status.

        Args:
            command: a command of POSIX sh.
            tty: whether both streams are one terminal, which gets one pair of markers.
        """
        begin, end = rf"\036{self.token}<", rf"\036{self.token}>%s\036"
        marks = [f"printf '{begin}'", command, "s=$?", f"printf '{end}' $s"]
        if not tty:
            marks.insert(1, f"printf '{begin}' >&2")
            marks.append(f"printf '{end}' $s >&2")
        return "; ".join([*marks, "exit $s"])


class Stream:
    """Extract the command's own bytes from one stream, as they arrive.

    Args:
        frame: the markers; None: all bytes are the command's own.

    Attributes:
        data: the command's own bytes so far, if ``keep`` is set.
        noise: the last bytes before the first marker.
        has_begun: whether the command has started.
        status: its exit status, once it has ended; always None without a frame.
    """

    def __init__(self, frame: Frame | None, *, keep: bool = True) -> None:
        self.data = bytearray()
        self.noise = bytearray()
        self.has_begun = frame is None
        self.status: int | None = None
        self._frame = frame
        self._keep = keep
        self._held = b""  # what may be the beginning of a marker

    def feed(self, piece: bytes) -> bytes:
        """Add bytes that were read; return those of them, and of earlier ones held back, that are the command's own."""
        own = piece if self._frame is None else self._own(self._frame, self._held + piece)
        if self._keep:
            self.data += own
        return own

    def close(self) -> bytes:
        """Handle the end of the stream; return the command's own bytes that were held back."""
        own = self._held if self.has_begun and self.status is None else b""
        if not self.has_begun:
            self._note(self._held)
        self._held = b""
        if self._keep:
            self.data += own
        return own

    def _own(self, frame: Frame, text: bytes) -> bytes:
        self._held = b""
        if self.status is not None:
            return b""
        if not self.has_begun:
            before, found, text = text.partition(frame.begin)
            if not found:
                self._held = _partial(before, frame.begin)
                self._note(before[: len(before) - len(self._held)])
                return b""
            self._note(before)
            self.has_begun = True
        own, found, rest = text.partition(frame.end)
        if not found:
            self._held = _partial(own, frame.end)
            return own[: len(own) - len(self._held)]
        status, found, _ = rest.partition(_RS)
        if found:
            self.status = int(status)
        else:
            self._held = frame.end + rest
        return own

    def _note(self, noise: bytes) -> None:
        self.noise += noise
        del self.noise[:-_NOISE]


def _partial(text: bytes, marker: bytes) -> bytes:
    """Return the end of a text that may be the start of a marker."""
    at = text.rfind(_RS, max(0, len(text) - len(marker) + 1))
    return text[at:] if at >= 0 and marker.startswith(text[at:]) else b""
