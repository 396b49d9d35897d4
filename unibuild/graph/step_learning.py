"""Learn which files a step before the build, such as ``./configure``, read and wrote.

Every file that the step read is its input. If an output of the step is missing, the step runs again. A file that
changed while the step ran is an output if the step created it. Otherwise the change counts as an edit, and the step
runs again, unless the file changes in each of ``OFTEN`` runs.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from unibuild import fingerprint
from unibuild.fingerprint import key, path_of
from unibuild.graph.build_learning import OFTEN, programs
from unibuild.toolchain import text_references
from unibuild.toolchain.build_knowledge import Prepared

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from unibuild.graph.graph import Stage
    from unibuild.graph.read_trace import Trace
    from unibuild.toolchain.build_knowledge import Learned

__all__ = ["learn_step", "note_build"]


def learn_step(
    learned: Learned, stage: Stage, before: Mapping[str, str], after: Iterable[str], trace: Trace
) -> list[str]:
    """Take what a run of a step showed into ``learned``.

    Args:
        learned: what is known; it is changed.
        stage: the step's stage.
        before: the files of the project before the run, absolute, with their fingerprints.
        after: those after it.
        trace: what the run read.

    Returns:
        The files that the step itself wrote; their state after the run counts.
    """
    root = stage.watch.root
    old = learned.prepared.get(stage.name, Prepared())
    now = {key(root, path): path for path in after if os.path.isfile(path)}  # noqa: PTH113
    made: dict[str, int] = {name: count for name, count in old.made.items() if name in now and not count}
    for name, path in now.items():
        if name not in made and before.get(path) != fingerprint.take(path):
            made[name] = old.made.get(name, 0) + 1 if path in before else 0
    read = _read(learned, root, now, trace)
    if read is not None and old.read is not None:
        read |= {*old.read, *(key(root, path) for path in stage.watch.inputs)}
    texts = [text_references.text_of(path_of(root, name)) for name in read or () if not text_references.is_code(name)]
    for text in texts:
        outside = text_references.outside(text.decode(errors="surrogateescape"), root, root)
        inputs = [path for path in outside if os.path.isfile(path) and not text_references.is_written(path, texts)]  # noqa: PTH113
        read = {*(read or ()), *(key(root, path) for path in inputs)}
    learned.prepared[stage.name] = Prepared(
        read=None if read is None else sorted(read),
        made=made,
        there=sorted(now.keys() - learned.outputs.keys()),
        variables=sorted(text_references.variables(texts)),
        programs=sorted(programs(trace, (text.decode(errors="replace") for text in texts))),
    )
    return [now[name] for name, count in made.items() if not count or count >= OFTEN]


def note_build(learned: Learned, root: str, own: Iterable[str]) -> None:
    """Note which files a build that succeeded wrote or removed: to the steps before it they are not edits.

    Args:
        learned: what is known; it is changed.
        root: the project's folder.
        own: the files that were there before the build, and those that it wrote, as ``fingerprint.key`` names them.
    """
    for prepared in learned.prepared.values():
        kept = {name: os.path.isfile(path_of(root, name)) for name in prepared.made}  # noqa: PTH113
        prepared.made = {name: count for name, count in prepared.made.items() if kept[name]}
        removed = kept.keys() - prepared.made.keys()
        prepared.there = sorted({*prepared.there, *own} - removed - learned.outputs.keys())


def _read(learned: Learned, root: str, now: Mapping[str, str], trace: Trace) -> set[str] | None:
    """Return the files of the project that the run read, without what the build writes; None: not known."""
    if not trace.is_complete:
        return None
    found = {key(root, path) for path in trace.read}
    found |= {source for name in found if (source := text_references.bytecode_source(name))}
    found &= now.keys()
    found |= {name for name, path in now.items() if os.path.islink(path)}  # noqa: PTH114 (its end was opened)
    return found - learned.outputs.keys()
