"""What AWS says when it refuses: a code, a sentence and a status; the protocols write it in their own shapes."""

from __future__ import annotations


class AwsError(Exception):
    """A refusal. ``fields`` are the further members of the error's shape (EBS direct: ``Reason``)."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.fields = code, message, status, fields


def invalid(message: str, reason: str = "INVALID_PARAMETER_VALUE") -> AwsError:
    """EBS direct's refusal of a parameter; the reasons are those of its ValidationExceptionReason."""
    return AwsError("ValidationException", message, Reason=reason)


def unknown_id(kind: str, resource: str) -> AwsError:
    """EC2's refusal of an id that it does not know: ``kind`` is "Snapshot", "AMIID", "InstanceID" ..."""
    words = {"Snapshot": "snapshot", "AMIID": "image id", "InstanceID": "instance ID"}.get(kind, kind)
    named = f"[{resource}]" if kind == "AMIID" else resource
    return AwsError(f"Invalid{kind}.NotFound", f"The {words} '{named}' does not exist")
