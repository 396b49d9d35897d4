"""Writing values in the language of xl.cfg(5)."""

from __future__ import annotations

from unibuild.errors import SettingsError

__all__ = ["quote", "write"]

# Neither \x.. nor octal: xl cannot read them. Other control characters may stand as they are.
_ESCAPES = {"\\": r"\\", "\a": r"\a", "\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", "\v": r"\v"}


def quote(text: str) -> str:
    """Return a string as it stands in an .xl file, in the quotes that need the fewer backslashes.

    Raises:
        SettingsError: it has a NUL character, which no .xl file can hold.
    """
    if "\0" in text:
        raise SettingsError(f"{text!r} has a NUL character, which no .xl file can hold")
    mark = '"' if text.count("'") > text.count('"') else "'"
    return mark + "".join(f"\\{mark}" if char == mark else _ESCAPES.get(char, char) for char in text) + mark


def write(value: str | int | bool | list[str]) -> str:
    """Return a value as it stands in an .xl file; xl's booleans are 1 and 0.

    Raises:
        SettingsError: a string has a NUL character.
    """
    if isinstance(value, str):
        return quote(value)
    if isinstance(value, list):
        return f"[ {', '.join(map(quote, value))} ]"
    return str(int(value)) if value >= 0 else quote(str(value))  # a minus sign stands in quotes only
