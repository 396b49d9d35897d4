"""Write the reference page of the watch events from their docstrings: ``python tools/docs_watch_events.py [FILE]``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from unibuild.util.files import PUBLIC, write_atomic
from unibuild.watch import events

__all__ = ["main", "markdown"]

_HEAD = """\
# Events of `unibuild watch --json`

<!-- Written by `tools/docs_watch_events.py` from unibuild/watch/events.py: change it there. -->

`unibuild watch --json` writes one event a line to standard output, each a JSON object. `event` says which kind it is,
`at` when it happened. Moments (`at`, `since`) are seconds since the epoch, all else that is a time is in seconds. A
field that has its default (below, where one is given) is written too. A reader must ignore fields
that it does not know: they are added without notice. When a name changes, `version` of `started` goes up.

The first event is `started`, the last one `ended`. A cycle begins with `changed` and ends with `cycle`; between them
come `stage`, `output`, `domain` and `problem`. `output` of a console comes at any time.

    {"event":"changed","at":1795528800.123,"paths":["main.c"],"first":"main.c","what":"save"}
"""


def markdown() -> str:
    """Return the reference page."""
    parts = [_HEAD]
    for kind in events.AnyEvent.__args__:
        (about, fields), defaults = _said(kind), _defaults(kind)
        parts.append(f"## `{kind.__struct_config__.tag}`\n\n{about}\n")
        rows = [f"| `{name}` | {_type(name, kind)} | {what}{defaults.get(name, '')} |" for name, what in fields.items()]
        if rows:
            parts.append("\n".join(("| field | type | |", "|---|---|---|", *rows)) + "\n")
    parts.append("## Words\n")
    for heading, name in {"Phases": "Phase", "Outcomes": "Outcome", "States of a domain": "State"}.items():
        parts.append(f"### {heading}\n\n{_tidy(_after(f'{name} = '))}\n")
    return "\n".join(parts)


def main(argv: list[str]) -> int:
    """Write the page to the file that ``argv`` names; return the exit code."""
    write_atomic(Path(argv[0] if argv else "docs/reference/watch.md"), markdown().encode(), mode=PUBLIC)
    return 0


def _said(kind: type) -> tuple[str, dict[str, str]]:
    """Return what a kind's docstring says: of itself, and of each field."""
    about, _, rest = (kind.__doc__ or "").partition("Attributes:")
    found = re.findall(r"^ {8}(\w+): (.*(?:\n {9,}.*)*)", rest, re.MULTILINE)
    return _tidy(about), {name: _tidy(what) for name, what in found}


def _defaults(kind: type) -> dict[str, str]:
    found = {field.name: field.default for field in msgspec.structs.fields(kind)}
    return {
        name: f" Default: `{msgspec.json.encode(value).decode()}`."
        for name, value in found.items()
        if value is not msgspec.NODEFAULT
    }


def _type(name: str, kind: type) -> str:
    """Return a field's type in the words of JSON."""
    schema = msgspec.json.schema(kind)
    field = schema["$defs"][kind.__name__]["properties"][name]
    return " or ".join(_word(option) for option in field.get("anyOf", [field]))


def _word(schema: dict[str, object]) -> str:
    if "enum" in schema:
        return ", ".join(f"`{word}`" for word in sorted(map(str, schema["enum"])))  # type: ignore[call-overload]
    word = str(schema.get("type"))
    if word == "array":
        return "strings"
    return {"number": "number", "integer": "whole number", "object": "object", "null": "null"}.get(word, word)


def _after(name: str) -> str:
    """Return the string below an assignment, which documents it."""
    source = Path(events.__file__).read_text(encoding="utf-8")
    found = re.search(rf'^{re.escape(name)}[^\n]*\n"""(.*?)"""', source, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def _tidy(text: str) -> str:
    """Return a docstring's text on one line, as Markdown has it, and in the words of JSON."""
    text = re.sub(r"``(.+?)``", r"`\1`", " ".join(text.split())).replace("|", "\\|").replace("None:", "`null`:")
    for name, heading in {"Outcome": "Outcomes", "State": "States of a domain", "PHASES": "Phases"}.items():
        text = text.replace(f"`{name}`", f"[{heading}](#{heading.lower().replace(' ', '-')})")
    for kind in events.AnyEvent.__args__:
        text = text.replace(f"`{kind.__name__}`", f"`{kind.__struct_config__.tag}`")
    return text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
