"""The types of values and free keys that several settings share.

The description of a type completes the sentence "... must be"; the title of a key is its placeholder in the reference.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

__all__ = [
    "DISK_KEYS",
    "VIF_KEYS",
    "Account",
    "Argument",
    "CaseName",
    "Cidr",
    "Count",
    "Disk",
    "DiskKey",
    "DomainName",
    "HostName",
    "Network",
    "OpenPort",
    "Pattern",
    "Port",
    "Scalar",
    "Seconds",
    "TagKey",
    "TagValue",
    "UrlPath",
    "Value",
    "Variable",
    "Vif",
    "VifKey",
    "XenstoreKey",
    "XlKey",
]

Network = Literal["closed", "internet", "open"]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Pattern = Annotated[
    str,
    Meta(min_length=1, description="a regular expression, as Python's `re` reads it", extra={"form": "pattern"}),
]
DomainName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.+-]{0,199}$",
        description="a name of at most 200 letters, digits and `_ . + -` that starts with none of the last three",
    ),
]
Scalar = str | int | bool
Value = Scalar | list[str]

# "case" kept: the name of the environment variable has the unchanged key, not in capitals.
Variable = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$",
        title="NAME",
        description="the name of an environment variable",
        extra={"case": "kept"},
    ),
]
XlKey = Annotated[
    str,
    Meta(pattern=r"^[a-z][a-z0-9_]*$", title="KEY", description="a key of xl.cfg(5), which has no capitals"),
]
# xl-network-configuration(5) and xl-disk-configuration(5); xl itself ignores a vif's sub-key that it does not know.
VIF_KEYS = (
    *("accel", "backend", "bridge", "devid", "forwarddev", "gatewaydev", "ip", "mac", "model", "mtu", "netdev"),
    *("rate", "script", "trusted", "type", "vifname", "vlan"),
)
DISK_KEYS = (
    *("access", "active-disk", "backend", "backendtype", "colo", "colo-export", "colo-host", "colo-port", "devtype"),
    *("direct-io-safe", "discard", "format", "grant_usage", "hidden-disk", "script", "specification", "target"),
    *("trusted", "vdev"),
)
VifKey = Annotated[
    str,
    Meta(
        pattern=rf"^({'|'.join(VIF_KEYS)}|remove|colo_\w+)$",
        title="KEY",
        description="a sub-key of a vif",
        extra={"words": (*VIF_KEYS, "remove")},
    ),
]
DiskKey = Annotated[
    str,
    Meta(
        pattern=f"^({'|'.join(DISK_KEYS)}|remove)$",
        title="KEY",
        description="a sub-key of a disk",
        extra={"words": (*DISK_KEYS, "remove")},
    ),
]
Vif = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x20,@]+$",
        title="VIF",
        description="the device's number, from 0, or the name that the unikernel has for it",
    ),
]
Disk = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f]+$",
        title="DISK",
        description="the disk's `vdev` (as `xvda`), its number, from 0, or the name that the unikernel has for it",
    ),
]
Argument = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$",
        title="NAME",
        description="the name of an argument, without the dashes before it",
    ),
]
XenstoreKey = Annotated[
    str,
    Meta(pattern=r"^[^\s=]+(=.*)?$", description="a key of XenStore, or `KEY=VALUE`"),
]
UrlPath = Annotated[str, Meta(pattern=r"^/", description="a path that starts with `/`")]
HostName = Annotated[
    str,
    Meta(
        pattern=r"^(?!(?:auto|all|others)$)[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        title="HOST",
        description="a name for a host: letters, digits and `_ . -`, and none of `auto`, `all`, `others`",
    ),
]
CaseName = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$",
        title="CASE",
        description="a name for a test: letters, digits and `_ . -`",
    ),
]
Account = Annotated[
    str,
    Meta(
        pattern=r"^(all|\d{12}|arn:aws[a-z-]*:organizations::\d{12}:(organization|ou)/[a-z0-9/-]+)$",
        description="the 12 digits of an account, the ARN of an organization or organizational unit, or `all`",
    ),
]
OpenPort = Annotated[
    str,
    Meta(
        pattern=r"^\d{1,5}(-\d{1,5})?(/(tcp|udp))?$|^icmp$",
        description="a port, or a first and last one, with `/tcp` or `/udp`; or `icmp`",
    ),
]
Cidr = Annotated[
    str, Meta(pattern=r"^[0-9a-fA-F.:]+/\d{1,3}$", description="a network, as `198.51.100.0/24` or `2001:db8::/32`")
]
TagValue = Annotated[str, Meta(pattern=r"^[\s\S]{0,255}$", description="a tag's value, at most 255 characters")]
TagKey = Annotated[
    str,
    Meta(
        pattern=r"^(?!aws:|unibuild:).{1,127}$",
        title="KEY",
        description="a tag's key, at most 127 characters, which starts with neither `aws:` nor `unibuild:`",
        extra={"case": "kept"},
    ),
]
