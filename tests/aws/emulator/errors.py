"""AWS errors: a code, a message and an HTTP status; each protocol writes them in its own shape."""

from __future__ import annotations


class AwsError(Exception):
    """An AWS error. ``fields`` are the further members of the error's shape (EBS direct: ``Reason``)."""

    def __init__(self, code: str, message: str, status: int = 400, **fields: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.status, self.fields = code, message, status, fields


def invalid(message: str, reason: str = "INVALID_PARAMETER_VALUE") -> AwsError:
    """Return EBS direct's error for a parameter; the reasons are those of its ValidationExceptionReason."""
    return AwsError("ValidationException", message, Reason=reason)


def unknown_id(kind: str, resource: str) -> AwsError:
    """Return EC2's error for an unknown id: ``kind`` is "Snapshot", "AMIID", "InstanceID" ..."""
    words = {"Snapshot": "snapshot", "AMIID": "image id", "InstanceID": "instance ID"}.get(kind, kind)
    named = f"[{resource}]" if kind == "AMIID" else resource
    return AwsError(f"Invalid{kind}.NotFound", f"The {words} '{named}' does not exist")
