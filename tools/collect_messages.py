"""Collect the wording of all errors, hints and findings of the package into one snapshot file.

    python tools/collect_messages.py            compare with tests/snapshots/messages.txt
    python tools/collect_messages.py --write    update it after a rewording

Each value in a message is written as {}, so that renaming a variable changes nothing.
"""

from __future__ import annotations

import ast
import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "snapshots" / "messages.txt"
_HEAD = "# Updated by `python tools/collect_messages.py --write`.\n"


def error_classes(source: str) -> frozenset[str]:
    """Return the names of the classes in the source of unibuild/errors.py."""
    return frozenset(node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef))


def collect(source: str, errors: frozenset[str]) -> list[str]:
    """Return the messages in a module's source, in the order of the source.

    Args:
        source: the text of the module.
        errors: the names of the error classes.
    """
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    return [line for call in calls for line in _lines(call, errors)]


def _lines(call: ast.Call, errors: frozenset[str]) -> Iterator[str]:
    """Yield a line for the message of a call, and one for its hint."""
    match call.func:
        case ast.Name(name) | ast.Attribute(attr=name):
            pass
        case _:
            return
    hint = next((word.value for word in call.keywords if word.arg == "hint"), None)
    if name in errors:
        yield from _rendered(name, call.args[:1])
        yield from _rendered("  hint", [hint] if hint else [])
    elif name in ("Finding", "ConsoleFinding"):
        yield from _rendered(name, call.args[2:3])
        yield from _rendered("  fix", call.args[3:4])
    elif name == "add" and isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value).endswith("error"):
        yield from _rendered("  hint", call.args[:1])


def _rendered(name: str, nodes: list[ast.expr]) -> Iterator[str]:
    for text in (_render(node) for node in nodes):
        if text.strip("{}"):
            yield f"{name}: {text!r}"


def _render(node: ast.expr) -> str:
    """Return the text of an expression: every non-literal part as {}, alternatives with a bar between them."""
    match node:
        case ast.Constant(str(text)):
            return text
        case ast.Constant(None):
            return ""
        case ast.JoinedStr(parts):
            return "".join(_render(part) for part in parts)
        case ast.BinOp(left, ast.Add(), right):
            return _render(left) + _render(right)
        case ast.FormattedValue(value=ast.IfExp() as value) | (ast.IfExp() as value):
            return f"{{{_render(value.body)}|{_render(value.orelse)}}}"
        case _:
            return "{}"


def snapshot(root: Path = ROOT) -> str:
    """Return what the snapshot file must hold."""
    package = root / "unibuild"
    errors = error_classes((package / "errors.py").read_text())
    parts = [_HEAD]
    for path in sorted(package.rglob("*.py")):
        found = collect(path.read_text(), errors)
        if found:
            parts.append("\n".join((path.relative_to(root).as_posix(), *(f"    {line}" for line in found))) + "\n")
    return "\n".join(parts)


def main(argv: list[str]) -> int:
    """Compare or update the snapshot; return the exit status."""
    new, old = snapshot(), SNAPSHOT.read_text() if SNAPSHOT.exists() else ""
    if argv == ["--write"]:
        SNAPSHOT.write_text(new)
        return 0
    print(*difflib.unified_diff(old.splitlines(), new.splitlines(), "snapshot", "package", lineterm="", n=1), sep="\n")
    return int(new != old)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
