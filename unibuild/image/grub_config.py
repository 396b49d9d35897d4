r"""Write the kernel's command line for the boot loaders: ``menu.lst`` for PV-GRUB, ``grub.cfg`` for the others.

Each reads it in its own way:

    PV-GRUB (GRUB 0.97)     the rest of the line in menu.lst; a tab becomes a space, a backslash at the end joins lines
    pygrub                  the rest of the line that begins with "linux" in grub.cfg, whatever GRUB 2 sees there
    GRUB 2                  words, quoted as in a shell; it passes them with one space between, but writes a backslash
                            before every \, ' and ", and "..." around a word with a space (its lib/cmdline.c)

So only GRUB 2 cannot pass quotes and backslashes unchanged. A Mirage unikernel removes what it adds, and gets the same
arguments; ``CommandLine.is_exact`` is whether another kernel does too.
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
_PLAIN = re.compile(r"[\w.,:/@%^+~=-]+", re.ASCII)  # a word that needs no quotes for GRUB 2
_PLAIN_WORDS = re.compile(r"[\w.,:/@%^+~= -]*", re.ASCII)


@dataclass(frozen=True)
class CommandLine:
    """A kernel's command line.

    Attributes:
        text: the command line that the kernel shall get.
        words: its words for GRUB 2; None: split at spaces.

    Raises:
        SettingsError: ``menu.lst`` cannot contain it.
    """

    text: str
    words: Sequence[str] | None = None

    def __post_init__(self) -> None:
        if found := _CONTROL.search(self.text):
            raise SettingsError(
                f"the kernel's command line has the character {found[0]!r}, which a line in menu.lst cannot contain"
            )
        if self.text.endswith("\\") or self.text != self.text.strip(" "):
            what = "ends in a backslash" if self.text.endswith("\\") else "begins or ends with a space"
            raise SettingsError(f"the kernel's command line {what}, which the boot loaders do not keep")

    @property
    def is_exact(self) -> bool:
        """Whether GRUB 2 passes it byte for byte."""
        return not re.search(r"""["'\\]""", self.text)

    @property
    def for_grub(self) -> str:
        """The words in the language of GRUB 2, each with a space before it."""
        words = self.text.split(" ") if self.words is None else self.words
        return "".join(f" {_quoted(word)}" for word in words) if self.text else ""

    def for_pygrub(self, *lines: str) -> str:
        """Return one word of GRUB 2, over several lines, in which pygrub finds these lines and then this text.

        Return "" if there is no such word: pygrub shall find nothing rather than something else.
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
    """Return ``menu.lst`` and ``grub.cfg`` by their paths in the image, rendered from the templates.

    Args:
        kind: the kernel's kind.
        line: its command line.
        kernel: its path in the image.
        modules: the paths of ramdisks and modules there.
        project: the folder with ``dodo_templates`` that override unibuild's own.
        bios: whether GRUB for a BIOS is in the image.

    Raises:
        InputError: a template is wrong.
    """
    # One ramdisk equals xl's `ramdisk`; several, in a PV domain, are modules like those of a multiboot loader.
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
