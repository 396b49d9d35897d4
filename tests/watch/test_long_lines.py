"""Long lines from a hostile unikernel or compiler take time in proportion to their length."""

import time

import pytest

from unibuild.domain.crash import console_patterns, render
from unibuild.testing.capture import ConsoleCapture
from unibuild.util.escape_sequences import Escapes, colours_only, of_a_console
from unibuild.watch import diagnostics
from unibuild.watch.console_thread import EventConsoleOutput, PassthroughFlag
from unibuild.watch.ui.render import Renderer, plain_line
from unibuild.watch.ui.view import Line

SHORT = 2048
UNITS = [
    "a",
    "0",
    ":",
    ":1",
    "a:1 ",
    "a:1:",
    "\r",
    "\t",
    " ",
    "\x1b",
    "\x1b[",
    "\x1b[1;",
    "\x1b]",
    "\x1b]0;",
    "\x1b[31m",
    "\x1b[1mé",
]
UNITS += [
    'File "',
    'File "a", line 1',
    "ld.",
    "ld: ",
    "a(",
    "é",
    "\N{ZERO WIDTH JOINER}",
    "字",
    "/a.c",
    "error: ",
    "fatal ",
    "\x9b",
    "\\x1bP",
]
LOOKED = Renderer(width=80, hyperlink="file://{path}", root="/nonexistent")


def to_events(line: str) -> None:
    EventConsoleOutput(lambda _: None, PassthroughFlag(), "hello").show(line.encode())


READERS = {
    "places": lambda line: list(diagnostics.places(line)),
    "problems": lambda line: diagnostics.problems([line]),
    "plain": diagnostics.plain,
    "on a terminal": lambda line: LOOKED.rows(Line("hello", line, "console")),
    "as prose": lambda line: LOOKED.rows(Line("hello", line, "said")),
    "in colours": lambda line: Renderer(hyperlink="file://{path}").rows(Line("hello", line, "console")),
    "in a log": lambda line: plain_line(Line("hello", line, "console")),
    "as events": to_events,
    "in a test": lambda line: ConsoleCapture(lambda: None).feed(line.encode()),
    "colours only": lambda line: Escapes(colours_only).feed(line),
    "console": lambda line: Escapes(of_a_console).feed(line),
    "banners": lambda line: console_patterns.read(b"Fatal error\n" + line.encode()),
    "last lines": lambda line: render.last_lines(line.encode()),
}


def seconds(read, line: str) -> float:
    def once() -> float:
        began = time.process_time()
        read(line)
        return time.process_time() - began

    return min(once(), once())


@pytest.mark.parametrize("reader", READERS)
def test_time_grows_with_the_length_and_not_with_its_square(reader):
    read = READERS[reader]
    for unit in UNITS:
        short, long = ((unit * (length // len(unit)) + "x\n") for length in (SHORT, 8 * SHORT))
        base = seconds(read, short)
        assert seconds(read, long) < 24 * base + 0.05, repr(unit)


def test_long_line_is_cut():
    rows = Renderer(width=80).rows(Line("hello", "x" * 60000, "console"))
    assert 8000 < sum(row.count("x") for row in rows) < 9000
    assert rows[-1].endswith("…")
