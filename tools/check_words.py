"""Refuse words of the project's former private language, and name the plain ones to use.

Usage: python tools/check_words.py [--all | PATH...]

Without arguments, the files and folders under `clean` in tools/words.toml are checked. `--all` checks every file that
git tracks; PATH... checks these. Each finding is a line `FILE:LINE: "what was found": say "what to say"`, and the exit
code is 1 if there are any.

In Markdown, code spans and code blocks are not checked, because they quote programs. In Python, comments, docstrings,
strings and the names of modules, classes and functions are checked; other names are not.
"""

import argparse
import io
import re
import subprocess
import sys
import tokenize
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TEXT = {".md", ".py", ".toml", ".c", ".h", ".S", ".ml", ".mk", ".j2", ".sh", ""}


class Rule(NamedTuple):
    """A pattern to refuse, and what to say instead."""

    pattern: re.Pattern[str]
    say: str


class Finding(NamedTuple):
    """One refused word."""

    path: str
    line: int
    found: str
    say: str


def load(path: Path) -> tuple[list[Rule], list[str], list[str]]:
    """Return the rules, the paths to check and the paths to skip."""
    data = tomllib.loads(path.read_text())
    rules = [Rule(re.compile(word["pattern"], re.IGNORECASE), word["say"]) for word in data["word"]]
    return rules, data["clean"], data["skip"] + data["quoting"]


def markdown(text: str) -> Iterator[tuple[int, str]]:
    """Yield the paragraphs of a Markdown page, each with its first line's number, without code."""
    fenced = listed = False
    start, lines = 0, list[str]()
    for number, line in enumerate([*text.splitlines(), ""], 1):
        bare = line.strip()
        fence = bare.startswith("```")
        fenced ^= fence
        item = re.match(r"([-*]|\d+\.) ", bare) is not None
        if bare and not line.startswith(" "):
            listed = item
        code = fence or fenced or (line.startswith("    ") and not listed and not lines)
        alone = bare.startswith(("|", "#"))
        if lines and (code or item or alone or not bare):
            yield start, "\n".join(lines)
            lines = []
        if bare and not code:
            start = start if lines else number
            lines.append(line)
        if alone and lines:
            yield start, "\n".join(lines)
            lines = []


def without_code(text: str) -> str:
    """Blank out code spans, addresses and link targets, and keep the line ends."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", "·", match[0])

    text = re.sub(r"``.+?``|`[^`]*`", blank, text, flags=re.DOTALL)
    return re.sub(r"\]\([^)]*\)|https?://\S+|<!--.*?-->", blank, text, flags=re.DOTALL)


def python(text: str) -> Iterator[tuple[int, str]]:
    """Yield the comments, strings and defined names of a Python file, each with its line's number."""
    after_def = False
    block: list[tuple[int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not text.splitlines()[token.start[0] - 1][: token.start[1]].strip():
            block.append((token.start[0], token.string))
            continue
        if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT) and block:
            yield block[0][0], "\n".join(part for _, part in block)
            block = []
        if token.type in (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1)):
            yield token.start[0], without_code(token.string)
        elif token.type == tokenize.NAME and after_def:
            yield token.start[0], re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", token.string)
        after_def = token.type == tokenize.NAME and token.string in ("def", "class")
    if block:
        yield block[0][0], "\n".join(part for _, part in block)


def pieces(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the pieces of English in a file, each with its first line's number."""
    text = path.read_text(errors="replace")
    if path.suffix == ".md":
        yield from ((number, without_code(piece)) for number, piece in markdown(text))
    elif path.suffix == ".py":
        yield 1, path.stem.replace("_", " ")
        yield from python(text)
    else:
        yield 1, text


def check(path: Path, name: str, rules: list[Rule]) -> Iterator[Finding]:
    """Yield what the rules refuse in the file `path`, under the name `name`."""
    for number, piece in pieces(path):
        flat = re.sub(r"\n(?:[ \t]*(?:#|//|\*)[ \t]?)?", "\n", piece)
        for rule in rules:
            for match in rule.pattern.finditer(flat.replace("\n", " ")):
                line = number + flat[: match.start()].count("\n")
                yield Finding(name, line, match[0].strip(), rule.say)


def tracked(wanted: list[str]) -> list[str]:
    """Return the files that git tracks at or below the paths `wanted`, relative to the root."""
    found = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *wanted],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in found.stdout.split("\0") if name]


def main(arguments: list[str]) -> int:
    """Check the files and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("paths", nargs="*", metavar="PATH")
    parser.add_argument("--all", action="store_true", help="check every file that git tracks")
    options = parser.parse_args(arguments)
    rules, clean, skip = load(ROOT / "tools" / "words.toml")
    names = tracked(["."] if options.all else options.paths or clean)
    findings = [
        finding
        for name in names
        if name not in skip and (ROOT / name).suffix in TEXT and (ROOT / name).is_file()
        for finding in check(ROOT / name, name, rules)
    ]
    for finding in findings:
        print(f'{finding.path}:{finding.line}: "{finding.found}": say "{finding.say}"')
    if findings:
        print(f"{len(findings)} words to replace; see tools/words.toml", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
