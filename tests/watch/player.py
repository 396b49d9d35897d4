"""Plays a script of events on the real screen: ``python player.py SCRIPT [--json]``; it replaces the loop.

The script holds one thing a line: an event as JSON (without ``at``), ``wait SECONDS``, ``until COMMAND``, ``flood N``,
``print WORDS``, ``raise``. Then commands are answered until QUIT: PAUSE pauses, REBUILD and REBOOT are
reported, CONSOLE gives up the terminal for one line. INT and TERM end it as they end the loop.
"""

import json
import os
import queue
import signal
import sys
import time
from pathlib import Path

from unibuild.settings.model import Watch
from unibuild.watch import events
from unibuild.watch.run import open_screen
from unibuild.watch.ui import base


class Inbox:
    def __init__(self):
        self.commands = queue.SimpleQueue()

    def put(self, command):
        self.commands.put(command)

    def get(self):
        while True:  # a signal is answered between two waits only
            try:
                return self.commands.get(timeout=0.05)
            except queue.Empty:
                pass


def event(line):
    return events.decode(json.dumps({"at": time.time(), **json.loads(line)}))


def note(message):
    return events.Note(at=time.time(), message=message)


def answer(command, shown):
    if command is base.Command.CONSOLE:
        with shown.lent():
            os.write(1, b"<console>\n")
            os.write(1, b"<said " + os.read(0, 100).strip() + b">\n")
    elif command is base.Command.PAUSE:
        shown.show(events.Paused(at=time.time()))
    else:
        shown.show(note(f"<{command.value}>"))


def play(line, shown, inbox):
    word, _, rest = line.partition(" ")
    match word:
        case "wait":
            time.sleep(float(rest))
        case "until":
            while (command := inbox.get()).value != rest:
                answer(command, shown)
        case "flood":
            for number in range(int(rest)):
                shown.show(events.Output(at=time.time(), origin="console", of="hello", text=f"line {number}"))
        case "print":
            print(rest)
            print(rest, file=sys.stderr)
        case "raise":
            raise ZeroDivisionError
        case _:
            shown.show(event(line))


def end(number, _):
    raise SystemExit(128 + number)


def main(script, *words):
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    inbox = Inbox()
    settings = Watch(**json.loads(os.environ.get("PLAYER_SETTINGS", "{}")))
    try:
        with open_screen(inbox, settings, as_json="--json" in words) as shown:
            try:
                for line in Path(script).read_text().splitlines():
                    play(line, shown, inbox)
                while (command := inbox.get()) is not base.Command.QUIT:
                    answer(command, shown)
                shown.show(events.Ended(at=time.time(), exit_code=0, why="q"))
            except SystemExit as ending:
                shown.show(events.Ended(at=time.time(), exit_code=ending.code, why="a signal"))
                raise
    except BrokenPipeError:
        return 141
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
