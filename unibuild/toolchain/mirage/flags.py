"""Which arguments ``mirage configure`` takes, release by release; unibuild checks them before it runs mirage.

A failed configure of mirage 4 damages the tree, and that of mirage 3 says so below another error that is none.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from unibuild.errors import SettingsError
from unibuild.toolchain.mirage import config_ml
from unibuild.toolchain.mirage.releases import END, Version, before, dotted, parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["FLAGS", "Flag", "output_name", "refuse"]

OURS_TO_GIVE = {  # arguments of `mirage configure` that are not for [mirage] args
    "-t": "the target is always xen",
    "--target": "the target is always xen",
    "--xen": "the target is always xen",
    "--unix": "the target is always xen",
    "-f": 'name the file in [mirage] config = "..."',
    "--file": 'name the file in [mirage] config = "..."',
    "--config-file": 'name the file in [mirage] config = "..."',
    "-b": "the build is made in the tree",
    "--build-dir": "the build is made in the tree",
    "--context-file": "the arguments are in unibuild.toml",
    "--dry-run": "configure would write nothing",
    "--help": "configure would write nothing",
    "--version": "configure would write nothing",
}
FIRST: Version = (1, 0)


@dataclass(frozen=True)
class Flag:
    """Arguments of ``mirage configure`` that not every release has.

    Attributes:
        names: how they are written.
        ranges: the releases that have them: from the first, to before the second.
        instead: what to do where they are missing, with ``{}`` for the argument; empty: there is nothing like it.
    """

    names: tuple[str, ...]
    ranges: tuple[tuple[Version, Version], ...]
    instead: str = ""

    def has(self, version: Version) -> bool:
        """Say whether a release has them."""
        return any(first <= version < end for first, end in self.ranges)

    def releases(self) -> str:
        """Return which releases have them, in words."""
        return " and ".join(
            f"{dotted(first)} and later"
            if end == END
            else f"{dotted(before(end))} and earlier"
            if first == FIRST and len(self.ranges) == 1
            else f"{dotted(first)} to {dotted(before(end))}"
            for first, end in self.ranges
        )


_AT_BOOT = 'the unikernel takes it when it boots:\n  [boot]\n  args = ["{}"]'
FLAGS = (
    Flag(("--no-opam",), (((1, 0), (1, 2)), ((2, 0), (3, 0))), "configure installs nothing in this release"),
    Flag(("--no-opam-version-check",), (((2, 3), (3, 0)),)),
    Flag(("--no-depext",), (((2, 5, 1), (3, 0)), ((3, 3), END))),
    Flag(("--no-ocaml-version-check",), (((2, 7), (3, 0)),)),
    Flag(("-o", "--output"), (((3, 0), END),)),
    Flag(("--extra-repos", "--no-extra-repo", "--depext"), (((4, 0), END),)),
    Flag(
        (
            *("--ipv4", "--ipv4-gateway", "--ipv4-only", "--ipv6", "--ipv6-gateway", "--ipv6-only"),
            *("--accept-router-advertisements", "-l", "--logs", "--allocation-policy", "--backtrace"),
            *("--custom-major-ratio", "--custom-minor-max-size", "--custom-minor-ratio", "--gc-verbosity"),
            *("--gc-window-size", "--major-heap-increment", "--max-space-overhead", "--minor-heap-size"),
            *("--randomize-hashtables", "--space-overhead"),
        ),
        ((FIRST, (4, 5)),),
        _AT_BOOT,
    ),
    Flag(("--dhcp",), ((FIRST, (4, 11)),), "from 4.11 on DHCP is used unless --no-dhcp is given"),
    Flag(("--no-dhcp",), (((4, 11), END),), "before 4.11 it is --dhcp=false"),
)
"""What is known of them; an argument that is in no row is left to mirage."""


def refuse(args: Sequence[str], version: str, text: str) -> None:
    """See that a release takes the arguments.

    Args:
        args: those for ``mirage configure``.
        version: the release, as ``4.11.1``.
        text: the configuration file. An argument that it names in a string is its own.

    Raises:
        SettingsError: an argument is there that unibuild itself passes, or that the release does not have.
    """
    own = set(config_ml.strings(text))
    for word in args:
        option = _option(word)
        if option in OURS_TO_GIVE:
            raise SettingsError(f"[mirage] args: {word} cannot be given: {OURS_TO_GIVE[option]}")
        for flag in FLAGS:
            if option in flag.names and not flag.has(parsed(version)) and option.lstrip("-") not in own:
                raise SettingsError(
                    f"[mirage] args: `mirage configure` of {version} has no {option}; that of {flag.releases()} has it",
                    hint=flag.instead.format(word) or "leave it out, or install one of these releases",
                )


def output_name(args: Sequence[str]) -> str | None:
    """Return the argument of ``-o`` among those of ``mirage configure``."""
    output = None
    for word, after in itertools.pairwise((*args, "")):
        option, equals, value = word.partition("=") if word.startswith("--") else (word[:2], "", word[2:])
        if option in ("-o", "--output"):
            output = value if value or equals else after
    return output


def _option(word: str) -> str:
    return word.partition("=")[0] if word.startswith("--") else word[:2]
