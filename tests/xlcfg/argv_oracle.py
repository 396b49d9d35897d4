"""How Mirage unikernels divide their command line into arguments: the two parsers that were ever released.

Told from the descriptions and the test vectors of mirage/parse-argv (0.0.1 to 0.2.0, used up to Mirage 4.3) and of
mirage-bootvar (1.x, and parse-argv 0.3.0).
"""

from __future__ import annotations

BLANKS = " \t\n\v\f\r"


class RefusedError(Exception):
    """The unikernel does not start: the line is not complete."""


def parse_argv(line: str) -> list[str]:
    """Divide at blanks; both quotes hold them; a backslash holds the next character, but not between single quotes."""
    words, word, quote, at = [], "", "", 0
    while at < len(line):
        char = line[at]
        at += 1
        if char == "\\" and quote != "'":
            if at == len(line):
                raise RefusedError
            word += line[at]
            at += 1
        elif char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        elif char in BLANKS and not quote:
            words.append(word)
            word = ""
        else:
            word += char
    return [found for found in [*words, word] if found]


def bootvar(line: str) -> list[str]:
    """Divide at spaces; double quotes hold them; a backslash holds the next character."""
    words, word, quoted, escaped = [], "", False, False
    for char in line:
        if escaped:
            word += char
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == '"':
            quoted = not quoted
        elif char == " " and not quoted:
            words.append(word)
            word = ""
        else:
            word += char
    if quoted or escaped:
        raise RefusedError
    return [found for found in [*words, word] if found]
