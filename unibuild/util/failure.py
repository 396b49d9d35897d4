"""Send an error to another process: its kind and fields, from which the receiver rebuilds the same error."""

from __future__ import annotations

import msgspec

from unibuild import errors

__all__ = ["Failure"]

Value = str | int | float | bool | list[str] | None


class Failure(msgspec.Struct, frozen=True):
    """An error of the other process.

    Attributes:
        kind: the name of its class in ``unibuild.errors``.
        message: its sentence.
        hint: what to do next.
        exit_code: the exit code that it stands for.
        fields: its other attributes.
    """

    kind: str
    message: str
    hint: str | None
    exit_code: int
    fields: dict[str, Value] = {}

    @classmethod
    def of(cls, error: errors.UnibuildError) -> Failure:
        """Return the fields of an error to send."""
        return cls(error.kind, error.message, error.hint, error.exit_code, error.fields)

    def rebuild(self) -> errors.UnibuildError:
        """Return the error with its class, or as ``UnibuildError`` if this unibuild lacks that class."""
        kind = errors.KINDS.get(self.kind, errors.UnibuildError)
        error = kind.__new__(kind)
        errors.UnibuildError.__init__(error, self.message, hint=self.hint)
        vars(error).update(self.fields)
        error.exit_code = self.exit_code
        return error
