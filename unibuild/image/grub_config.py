r"""Writes the kernel's command line for the boot loaders: ``menu.lst`` for PV-GRUB, ``grub.cfg`` for the others.

Each reads it in a way of its own:

    PV-GRUB (GRUB 0.97)     the rest of the line in menu.lst; a tab becomes a blank, a backslash at the end joins lines
    pygrub                  the rest of the line that begins with "linux" in grub.cfg, whatever GRUB 2 sees there
    GRUB 2                  words, quoted as in a shell; hands them over with one blank between, but writes a backslash
                            before every \, ' and ", and "..." around a word with a blank (its lib/cmdline.c)

So GRUB 2 alone cannot hand over quotes and backslashes as they stand. A Mirage unikernel takes back what it adds, and
gets the same arguments; ``Line.is_exact`` says whether another kernel does too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unibuild.errors import SettingsError
from unibuild.util import templates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["CommandLine", "files"]

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PLAIN = re.compile(r"[\w.,:/@%^+~=-]+", re.ASCII)  # a word that GRUB 2 takes as it stands
_PLAIN_WORDS = re.compile(r"[\w.,:/@%^+~= -]*", re.ASCII)


@dataclass(frozen=True)
class CommandLine:
    """A kernel's command line.

    Attributes:
        text: as it shall arrive.
        words: what the kernel makes of it, as GRUB 2 shall hand it over; None: what stands between its blanks.

    Raises:
        SettingsError: ``menu.lst`` cannot hold it.
    """

    text: str
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if found := _CONTROL.search(self.text):
            raise SettingsError(
                f"the kernel's command line has the character {found[0]!r}, and a line in menu.lst cannot hold that"
            )
        if self.text.endswith("\\") or self.text != self.text.strip(" "):
            what = "ends in a backslash" if self.text.endswith("\\") else "begins or ends with a blank"
            raise SettingsError(f"the kernel's command line {what}, which the boot loaders do not keep")

    @property
    def is_exact(self) -> bool:
        """Whether GRUB 2 hands it over byte for byte."""
        return not re.search(r"""["'\\]""", self.text)

    @property
    def for_grub(self) -> str:
        """It as words in the language of GRUB 2, each with a blank before it."""
        words = self.text.split(" ") if self.words is None else self.words
        return "".join(f" {_quoted(word)}" for word in words) if self.text else ""

    def for_pygrub(self, *lines: str) -> str:
        """Return one word of GRUB 2, over several lines, in which pygrub finds these lines and this text at their end.

        Empty where there is no such word: then pygrub shall find nothing, rather than something else.
        """
        for quote, special in (("'", ""), ('"', "\\$`")):
            text = "\n".join(lines) + self.text
            inside, outside = text.split(quote)[::2], text.split(quote)[1::2]
            if all(map(_PLAIN_WORDS.fullmatch, outside)) and not set(special) & set("".join(inside)):
                return f"{quote}\n{text}\n" + (quote if len(inside) > len(outside) else "")
        return ""


def _quoted(word: str) -> str:
    return word if _PLAIN.fullmatch(word) else "'" + word.replace("'", r"'\''") + "'"


def files(
    kind: Literal["pv", "pvh"],
    line: CommandLine,
    kernel: str,
    modules: Sequence[str],
    project: Path,
    *,
    bios: bool = False,
) -> dict[str, bytes]:
    """Return ``menu.lst`` and ``grub.cfg`` by their paths in the image, made of the templates.

    Args:
        kind: what the kernel is.
        line: its command line.
        kernel: its path in the image.
        modules: the paths of ramdisks and modules there.
        project: the folder whose ``dodo_templates`` go before ours.
        bios: whether GRUB for a BIOS is in the image.

    Raises:
        InputError: a template is wrong.
    """
    # One ramdisk is what xl's `ramdisk` is; several, in a PV domain, are modules as those of a multiboot loader.
    module = "initrd" if kind == "pv" and len(modules) == 1 else "module"
    initrd = [f"initrd {modules[0]}"] if len(modules) == 1 else []
    values = {
        "kind": kind,
        "bios": bios,
        "kernel": kernel,
        "cmdline": line.text,
        "arguments": line.for_grub,
        "modules": [f"{module} {path}" for path in modules],
        "pygrub": line.for_pygrub(*initrd, f"linux {kernel} ") if len(modules) < 2 else "",
    }
    texts = {name: templates.render(f"{name}.j2", project, **values) for name in ("grub.cfg", "menu.lst")}
    return {f"/boot/grub/{name}": text.encode(errors="surrogateescape") for name, text in texts.items()}
