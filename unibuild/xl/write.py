"""Writing values in the language of xl.cfg(5)."""

from __future__ import annotations

from unibuild.errors import SettingsError

__all__ = ["quote", "write"]

# Not \\x.. nor octal: xl cannot read them. Other control characters may stand as they are.
_ESCAPES = {"\\": "\\\\", "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def quote(text: str) -> str:
    """Return a string as it is written in an .xl file, quotes included.

    Raises:
        SettingsError: it has a NUL character, which no .xl file can hold.
    """
    if "\0" in text:
        raise SettingsError(f"{text!r} holds a NUL character, which no .xl file can")
    mark = '"' if "'" in text and '"' not in text else "'"
    return mark + text.translate(str.maketrans({**_ESCAPES, mark: "\\" + mark})) + mark


def write(value: str | int | bool | list[str]) -> str:
    """Return a value as it is written in an .xl file; xl's booleans are 1 and 0.

    Raises:
        SettingsError: a string has a NUL character.
    """
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[ {', '.join(map(quote, value))} ]"
    return str(int(value)) if value >= 0 else quote(str(value))  # xl has no minus sign outside of quotes
