"""The tags of unibuild's resources in AWS, and the format of tags in EC2."""

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
"""The unikernel's name. Every resource gets this tag in the call that creates it; the tag marks it as unibuild's."""
SHA256 = "unibuild:sha256"
"""The hash of the image's content."""
REVISION = "unibuild:revision"
"""The revision of the sources."""
TOOLCHAIN = "unibuild:toolchain"
"""What built the kernel."""
VERSION = "unibuild:version"
"""The version of unibuild."""
SHARED = "unibuild:shared"
"""The accounts that unibuild shared an AMI with, as in ``[publish] share``; continues in ``unibuild:shared-2`` ..."""
DEPRECATED = "unibuild:deprecate-after"
"""The ``[publish] deprecate_after`` that unibuild deprecated an AMI by."""
PROTECTED = "unibuild:protected"
"""``yes`` if unibuild turned on the deregistration protection of an AMI."""
VERIFIED = "unibuild:verified"
"""When an instance of the AMI was ready: UTC, in ISO 8601."""


def read(said: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Parse tags as EC2 returns them: a list of ``Key`` and ``Value``."""
    return {tag["Key"]: tag.get("Value", "") for tag in said}


def write(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Return tags in the form that EC2 accepts."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]
