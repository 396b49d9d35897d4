"""An instance of EC2: what it is asked for with, how it is found again, and how it ends."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.settings.ami import Launch

__all__ = [
    "APPEARS",
    "GONE",
    "Instance",
    "console_output",
    "describe",
    "digest",
    "find_by_token",
    "launch_parameters",
    "new_output",
    "start",
    "terminate",
]

_OVERLAP = 4096  # bytes of the end that are sought in what came later


def new_output(before: bytes, now: bytes) -> bytes:
    """Return what an instance said since its console was asked for before; rather a line twice than none.

    Args:
        before: what came then.
        now: what came now. Where nothing of ``before`` is in it, more was said meanwhile than EC2 keeps, or the
            instance started again: all of it is new.
    """
    if now.startswith(before):
        return now[len(before) :]
    end = before[-_OVERLAP:]
    place = now.find(end)
    if place >= 0:
        return now[place + len(end) :]
    # what EC2 kept of the older output may be less than what is sought
    longest = next((size for size in range(min(len(end), len(now)), 0, -1) if now.startswith(end[-size:])), 0)
    return now[longest:]


GONE = ("shutting-down", "terminated")
"""States from which no instance comes back."""
_METADATA: Mapping[str, Mapping[str, str]] = {  # EC2 takes no HttpTokens where the endpoint is disabled
    "off": {"HttpEndpoint": "disabled"},
    "v2": {"HttpEndpoint": "enabled", "HttpTokens": "required"},
    "on": {"HttpEndpoint": "enabled", "HttpTokens": "optional"},
}
APPEARS = 180.0
"""Seconds for which EC2 may not know what it has just made."""


@dataclass(frozen=True)
class Instance:
    """An instance as EC2 tells of it.

    Attributes:
        id: ``i-...``.
        state: ``pending``, ``running``, ``shutting-down``, ``terminated``, ``stopping`` or ``stopped``.
        ami: the id of its AMI.
        public: its public address, an Elastic IP too.
        private: its address in its VPC.
        reason: why it is in this state, where EC2 tells.
    """

    id: str
    state: str
    ami: str
    public: str | None = None
    private: str | None = None
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is about to."""
        return self.state in ("pending", "running")


def launch_parameters(
    settings: Launch, ami: Ami, kind: str, unikernel: str, groups: Sequence[str], user_data: bytes | None
) -> dict[str, Any]:
    """Return what RunInstances is asked for, but for the ClientToken.

    Args:
        settings: ``[launch]``.
        ami: what is launched.
        kind: the instance type.
        unikernel: the name that our tag has.
        groups: the ids of its security groups; none: the VPC's default one.
        user_data: the bytes of ``user_data``; botocore encodes them.
    """
    given = {tags.UNIKERNEL: unikernel, "Name": unikernel, **settings.tags}
    return {
        "ImageId": ami.id,
        "InstanceType": kind,
        "MinCount": 1,
        "MaxCount": 1,
        **({"KeyName": settings.key} if settings.key else {}),
        **({"SubnetId": settings.subnet} if settings.subnet else {}),
        **({"SecurityGroupIds": list(groups)} if groups else {}),
        **({"UserData": user_data} if user_data else {}),
        "MetadataOptions": dict(_METADATA[settings.metadata]),
        "TagSpecifications": [{"ResourceType": kind, "Tags": tags.write(given)} for kind in ("instance", "volume")],
    }


def digest(asked: Mapping[str, Any]) -> str:
    """Return the hash of what RunInstances is asked for: user data may be secret, so none of it is kept."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=bytes.hex).encode()).hexdigest()


def start(aws: Aws, region: str, asked: Mapping[str, Any], token: str) -> str:
    """Ask for an instance, or for the one that this token stands for already; return its id.

    Raises:
        AwsError: AWS refused; ``IdempotentInstanceTerminated``: the one of this token has ended.
    """
    answer = aws.client("ec2", region).call(
        "RunInstances", appears=APPEARS, wants=("Instances",), **asked, ClientToken=token
    )
    return str(answer["Instances"][0]["InstanceId"])


def describe(aws: Aws, region: str, name: str) -> Instance | None:
    """Return an instance by its id; None: EC2 knows none such any more.

    Raises:
        AwsError: AWS refused.
    """
    try:
        answer = aws.client("ec2", region).call("DescribeInstances", InstanceIds=[name], appears=0.0)
    except AwsError as error:
        if error.code == "InvalidInstanceID.NotFound":
            return None
        raise
    return next(iter(_instances(answer)), None)


def find_by_token(aws: Aws, region: str, token: str) -> Instance | None:
    """Return the instance that a ClientToken stands for, if there is one.

    Raises:
        AwsError: AWS refused.
    """
    wanted = [{"Name": "client-token", "Values": [token]}]
    return next(iter(_instances(aws.client("ec2", region).call("DescribeInstances", Filters=wanted))), None)


def terminate(aws: Aws, region: str, names: Sequence[str], *, appears: float = 0.0) -> None:
    """End instances; those that EC2 does not know any more have ended.

    Args:
        aws: the account.
        region: where.
        names: their ids.
        appears: seconds for which EC2 may not know them yet.

    Raises:
        AwsError: AWS refused.
    """
    for name in names:
        try:
            aws.client("ec2", region).call("TerminateInstances", InstanceIds=[name], appears=appears)
        except AwsError as error:
            if error.code != "InvalidInstanceID.NotFound":
                raise


def console_output(aws: Aws, region: str, name: str) -> bytes:
    """Return what EC2 has of an instance's console: nothing at first, later the last 64 KiB.

    ``Latest`` is only for Nitro, which no Xen kernel runs on.

    Raises:
        AwsError: AWS refused.
    """
    answer = aws.client("ec2", region).call("GetConsoleOutput", InstanceId=name, appears=APPEARS)
    return str(answer.get("Output") or "").encode(errors="replace")


def _instances(answer: Mapping[str, Any]) -> list[Instance]:
    return [
        Instance(
            id=one["InstanceId"],
            state=one["State"]["Name"],
            ami=one.get("ImageId", ""),
            public=one.get("PublicIpAddress") or None,
            private=one.get("PrivateIpAddress") or None,
            reason=(one.get("StateReason") or {}).get("Message", ""),
        )
        for reservation in answer.get("Reservations", ())
        for one in reservation["Instances"]
    ]
