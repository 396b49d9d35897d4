"""Write the reference of the settings from the model: ``python -m unibuild.settings.reference [FOLDER]``.

It writes ``settings.md`` for users and ``unibuild.schema.json`` for editors, by default to ``docs/reference``.
``unibuild help settings`` prints the page.
"""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path
from typing import get_args

import msgspec

from unibuild.settings.deprecated import RENAMED
from unibuild.settings.loader import RESERVED
from unibuild.settings.model import Settings
from unibuild.settings.schema import Leaf, bare, child, expected, key_type, known, leaves, metas
from unibuild.util.files import PUBLIC, write_atomic
from unibuild.util.templates import toml_value

__all__ = ["main", "markdown", "schema"]

_HEAD = """\
# Settings

<!-- Written by `python -m unibuild.settings.reference` from unibuild/settings/model.py: change it there. -->

Settings come from four sources; each overrides those before it:

1. the defaults below;
2. `unibuild.toml`, in the current folder or the nearest above it: `[lab]` and below it `memory = 1024`;
3. the environment: `UNIBUILD_LAB_MEMORY=1024` (an empty variable counts as not set);
4. the command line: `unibuild boot lab.memory=2048`, `doit boot lab.memory=2048`,
   `make boot UNIBUILD_ARGS="lab.memory=2048"`.

Tables are merged key by key; a list replaces the earlier one. An unknown key or a value of the wrong type is an error,
which names the place, what was expected, and the most similar key.

## Values from the environment and the command line

These are text. The type of the setting decides how it is read:

- a string is the unchanged text, and a number is parsed;
- a list is split into words as in a shell (`mirage.args="--net direct"`), or is a TOML array
  (`mirage.args='["--net", "direct"]'`);
- below `xl.set`, `xl.vif` and `xl.disk`, `true`, `false` and whole numbers are those, `"..."` and `'...'` are TOML
  strings, `[...]` is a TOML array, and all else is an unchanged string. So `xl.set.serial='"5"'` is the string 5.

The keys in the name of a variable are in capitals; only the names below `build.env` keep their case
(`UNIBUILD_BUILD_ENV_CFLAGS=-O2` sets `CFLAGS`). A sub-key with a hyphen (`direct-io-safe`) has no variable.
"""


_RENAMED = """\
This release still accepts the old spellings and prints a hint. A file, the environment or a command line that has both
spellings of a setting is an error.
"""


def markdown() -> str:
    """Return the reference page."""
    parts = [_HEAD]
    parts += ["Variables with the prefix `UNIBUILD_` that are not settings:\n"]
    parts += ["\n".join(f"- `{name}`: {what}." for name, what in RESERVED.items()) + "\n"]
    every = list(leaves())
    parts += ["## The top level\n", _entries([leaf for leaf in every if len(leaf.path) == 1])]
    for table in (name for name in known(Settings) if any(leaf.path[0] == name for leaf in every if leaf.path[1:])):
        title, doc = _title(table)
        parts += [f"## `[{title}]`\n", f"{doc}\n"]
        parts += [_entries([leaf for leaf in every if leaf.path[0] == table and leaf.path[1:]])]
    renamed = "\n".join(f"| `{old}` | `{new}` |" for old, new in RENAMED.items())
    parts += [f"## Renamed settings and options\n\n{_RENAMED}\n| old | new |\n|---|---|\n{renamed}\n"]
    parts += [
        "## Help in the editor\n",
        "[`unibuild.schema.json`](unibuild.schema.json) is a JSON schema of `unibuild.toml`. Editors that use taplo\n"
        "(Even Better TOML) check and complete the file when its first line is `#:schema PATH/unibuild.schema.json`.\n",
    ]
    return "\n".join(parts)


def schema() -> str:
    """Return a JSON schema of ``unibuild.toml``, without references and without null, which TOML lacks."""
    raw = msgspec.json.schema(Settings)
    whole = {"$schema": "http://json-schema.org/draft-07/schema#", **_tidy(raw, raw["$defs"])}
    return json.dumps({**whole, "title": "unibuild.toml"}, indent=2, ensure_ascii=False) + "\n"


def main(argv: list[str]) -> int:
    """Write both files into the folder that ``argv`` names; return the exit code."""
    folder = Path(argv[0] if argv else "docs/reference")
    write_atomic(folder / "settings.md", markdown().encode(), mode=PUBLIC)
    write_atomic(folder / "unibuild.schema.json", schema().encode(), mode=PUBLIC)
    return 0


def _title(name: str) -> tuple[str, str]:
    """Return a table's name on the page, ``hosts.<HOST>``, and its description."""
    kind = child(Settings, name)
    keys = key_type(kind)
    if keys is None:
        return name, str(bare(kind).__doc__)
    title = next(meta.title for meta in metas(keys) if meta.title)
    return f"{name}.<{title}>", str(get_args(bare(kind))[1].__doc__)


def _entries(found: list[Leaf]) -> str:
    lines = []
    for leaf in found:
        default = "" if leaf.default in (None, msgspec.NODEFAULT) else f"; default `{toml_value(leaf.default)}`"
        lines += [f"### `{leaf.dotted}`\n", f"{_capital(expected(leaf.type))}{default}; `{leaf.variable}`.\n"]
        lines += ["\n".join(textwrap.wrap(leaf.doc, 120, break_on_hyphens=False)) + "\n"]
    return "\n".join(lines)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


def _tidy(node: object, structs: dict[str, object]) -> dict[str, object]:
    """Replace references by what they name, and remove null and defaults that TOML cannot express."""
    assert isinstance(node, dict)
    if "$ref" in node:
        named = structs[str(node["$ref"]).removeprefix("#/$defs/")]
        return _tidy(named, structs)
    out = {key: value for key, value in node.items() if key not in ("required", "title")}  # nothing is required
    if out.get("default", ...) is None:
        del out["default"]
    if "anyOf" in out:
        others = [_tidy(option, structs) for option in out.pop("anyOf") if option != {"type": "null"}]
        out = {**others[0], **out} if len(others) == 1 else {**out, "anyOf": others}
    if "properties" in out:
        out["properties"] = {key: _tidy(value, structs) for key, value in out["properties"].items()}
    for key in ("additionalProperties", "items"):
        if isinstance(out.get(key), dict):
            out[key] = _tidy(out[key], structs)
    return out


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
