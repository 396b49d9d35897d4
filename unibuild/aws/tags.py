"""The tags of what we make in AWS, and how EC2 writes tags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = [
    "DEPRECATED",
    "PROTECTED",
    "REVISION",
    "SHA256",
    "SHARED",
    "TOOLCHAIN",
    "UNIKERNEL",
    "VERIFIED",
    "VERSION",
    "read",
    "write",
]

UNIKERNEL = "unibuild:unikernel"
"""The unikernel's name. All that we make carries it from the call on that makes it: what does not is not ours."""
SHA256 = "unibuild:sha256"
"""The hash of the image's content."""
REVISION = "unibuild:revision"
"""The revision of the sources."""
TOOLCHAIN = "unibuild:toolchain"
"""What built the kernel."""
VERSION = "unibuild:version"
"""The version of unibuild."""
SHARED = "unibuild:shared"
"""With whom unibuild shared an AMI: the words of ``[publish] share``; goes on in ``unibuild:shared-2`` ..."""
DEPRECATED = "unibuild:deprecate-after"
"""The ``[publish] deprecate_after`` that unibuild deprecated an AMI by."""
PROTECTED = "unibuild:protected"
"""``yes`` where unibuild turned the deregistration protection of an AMI on."""
VERIFIED = "unibuild:verified"
"""When an instance of the AMI was ready: UTC, as ISO 8601 has it."""


def read(said: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return tags as EC2 tells them: a list of ``Key`` and ``Value``."""
    return {tag["Key"]: tag.get("Value", "") for tag in said}


def write(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags as EC2 takes them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
