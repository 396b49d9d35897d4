"""Which arguments a Mirage unikernel knows, from the manual page that it prints for ``--help=plain``.

The page is cmdliner's (``pp_plain_page`` in its cmdliner_manpage.ml, ``arg_man_item_label`` in cmdliner_docgen.ml):
headings in column 1, and below them, indented by seven, what is explained:

    OPTIONS
           -l LEVEL, --logs=LEVEL
               Be more or less verbose.
           --port=INT (absent=8080)
               The TCP port.
           --help[=FMT] (default=auto)
"""

from __future__ import annotations

import re

__all__ = ["known_arguments"]

_LABEL = re.compile(r"^ {7}(?:\(Deprecated\) )?(-\S.*)$", re.MULTILINE)
_NAME = re.compile(r"(?:^|, )(--[^\s=,\[]+|-[^\s=,\[-])(?=[\s=,\[]|$)")


def known_arguments(said: bytes) -> frozenset[str] | None:
    """Return the names of the arguments, with their dashes.

    Args:
        said: what the console said.

    Returns:
        The names; None where there is no such page in it.
    """
    text = said.decode(errors="replace").replace("\r", "")
    # In a label of one letter the explanation follows on the same line, after two blanks.
    labels = [re.split(r" \(|  ", label)[0] for label in _LABEL.findall(text)]
    names = frozenset(name for label in labels for name in _NAME.findall(label))
    return names if "--help" in names else None
