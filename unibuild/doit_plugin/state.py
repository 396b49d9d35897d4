"""Keep doit's state between runs in one JSON file: a backend for doit (entry point ``doit.BACKEND``).

doit's own backends write when the whole run ends. So a killed run forgets what it had finished, and one of two
simultaneous runs loses its state. This backend writes a task's state when the task ends: it reads the file again,
merges and replaces it under a lock. A damaged file counts as empty: everything is stale then, and nothing else is lost.
The file of a newer unibuild is left alone, and the run ends.

Every doit in an environment with unibuild imports this module, so it imports next to nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from unibuild.errors import FileError
from unibuild.util import files
from unibuild.util.output import print_error

if TYPE_CHECKING:
    from typing import Protocol

    class Codec(Protocol):
        """The type of the codec that doit passes to a backend to write values: JSON."""

        def encode(self, data: object) -> str: ...
        def decode(self, data: str) -> Any: ...  # noqa: ANN401


__all__ = ["VERSION", "StateFile"]

VERSION = 1
_LOCK_TIMEOUT = 30.0  # seconds to wait for another doit that is writing
_LAST = "deps:"  # the key that doit sets last when it saves a task's success

Tasks = dict[str, dict[str, Any]]


class _Json:
    """The codec for reading the state without doit."""

    def encode(self, data: object) -> str:
        return json.dumps(data)

    def decode(self, data: str) -> Any:  # noqa: ANN401 (whatever was set)
        return json.loads(data)


class StateFile:
    """doit's backend protocol (``doit.dependency``: ``JsonDB`` is the model) over one JSON file.

    Args:
        name: the file's path.
        codec: how values are written: doit's, which is JSON too.
        module_name: passed by doit, and not used.
    """

    desc = "one JSON file, written as each task ends (unibuild's)"

    def __init__(self, name: str, codec: Codec | None = None, *, module_name: str | None = None) -> None:  # noqa: ARG002
        self.changed: set[str] = set()
        self.removed: set[str] = set()
        self.emptied = False
        self.name = name
        self.path = Path(name)
        self.codec = codec or _Json()
        try:
            self.tasks = self._read()
        except FileError as error:
            self._give_up(error)

    def get(self, task_id: str, dependency: str) -> Any:  # noqa: ANN401 (whatever was set)
        """Return a value of a task, or None."""
        return self.tasks.get(task_id, {}).get(dependency)

    def set(self, task_id: str, dependency: str, value: object) -> None:
        """Set a value of a task; the last one that doit sets after a success writes the file."""
        self.tasks.setdefault(task_id, {})[dependency] = value
        self.changed.add(task_id)
        if dependency == _LAST:
            self.dump()

    def drop(self, task_id: str, dependency: str) -> None:
        """Forget one value of a task; the next ``set`` of the last one writes the file."""
        self.tasks.get(task_id, {}).pop(dependency, None)

    def in_(self, task_id: str) -> bool:
        """Return whether the state has anything about a task."""
        return task_id in self.tasks

    def remove(self, task_id: str) -> None:
        """Forget a task."""
        self.tasks.pop(task_id, None)
        self.changed.discard(task_id)
        self.removed.add(task_id)

    def remove_all(self) -> None:
        """Forget all tasks."""
        self.tasks = {}
        self.changed.clear()
        self.emptied = True

    def dump(self) -> None:
        """Write this run's changes to the file, and keep those of other runs.

        If nothing changed, the folder may be read-only.
        """
        if not (self.changed or self.removed or self.emptied):
            return
        try:
            if self._merged() is not None:
                with files.lock(self.path.with_suffix(".lock"), f"the state in {self.path}", timeout=_LOCK_TIMEOUT):
                    text = self._merged()
                    if text is not None:
                        files.write_atomic(self.path, text.encode())
        except FileError as error:
            self._give_up(error)
        except OSError as error:
            self._give_up(FileError(f"cannot write {self.path}: {error.strerror}"))
        self.changed.clear()
        self.removed.clear()
        self.emptied = False

    def _merged(self) -> str | None:
        """Return the new text of the file; None: it would be unchanged."""
        there = self._read()
        tasks = {} if self.emptied else {name: task for name, task in there.items() if name not in self.removed}
        changed = {name: self.tasks[name] for name in self.changed}
        tasks.update({name: task for name, task in changed.items() if name in tasks or _has_results(task)})
        text = self._encode(tasks)
        return None if text == self._encode(there) else text

    def _encode(self, tasks: Tasks) -> str:
        return self.codec.encode({"version": VERSION, "tasks": tasks})

    def _read(self) -> Tasks:
        try:
            content = self.codec.decode(self.path.read_text())
            files.refuse_newer(self.path, content["version"], VERSION)
            if content["version"] == VERSION:
                return {name: task for name, task in content["tasks"].items() if isinstance(task, dict)}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or not written by unibuild
            pass
        return {}

    def _give_up(self, error: FileError) -> NoReturn:
        """End the run with ``SystemExit``: doit would print the traceback of any other exception, twice."""
        self.changed.clear()
        self.removed.clear()
        self.emptied = False
        raise SystemExit(print_error(error))


def _has_results(task: dict[str, Any]) -> bool:
    """Return whether the state has more about a task than that it ran: a task that always runs leaves nothing else."""
    return any(value for key, value in task.items() if key != "checker:")
