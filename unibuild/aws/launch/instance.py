"""Start, describe and terminate EC2 instances, and read their consoles."""

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

_OVERLAP = 4096  # bytes at the end of the old output to search in the new one


def new_output(before: bytes, now: bytes) -> bytes:
    """Return the console output of an instance since it was last read; in doubt a line appears twice.

    Args:
        before: the output of the last read.
        now: the current output. If nothing of ``before`` is in it, the instance printed more than EC2 keeps, or it
            started again: then all of it is new.
    """
    if now.startswith(before):
        return now[len(before) :]
    end = before[-_OVERLAP:]
    place = now.find(end)
    if place >= 0:
        return now[place + len(end) :]
    # EC2 may have kept less of the old output than the searched bytes.
    longest = next((size for size in range(min(len(end), len(now)), 0, -1) if now.startswith(end[-size:])), 0)
    return now[longest:]


GONE = ("shutting-down", "terminated")
"""States from which no instance comes back."""
_METADATA: Mapping[str, Mapping[str, str]] = {  # EC2 refuses HttpTokens if the endpoint is disabled
    "off": {"HttpEndpoint": "disabled"},
    "v2": {"HttpEndpoint": "enabled", "HttpTokens": "required"},
    "on": {"HttpEndpoint": "enabled", "HttpTokens": "optional"},
}
APPEARS = 180.0
"""Seconds for which EC2 may not know what it has just created."""


@dataclass(frozen=True)
class Instance:
    """An instance, as EC2 describes it.

    Attributes:
        id: ``i-...``.
        state: ``pending``, ``running``, ``shutting-down``, ``terminated``, ``stopping`` or ``stopped``.
        ami: the id of its AMI.
        public: its public address, which may be an Elastic IP.
        private: its address in its VPC.
        reason: why it is in this state; empty: EC2 gives no reason.
    """

    id: str
    state: str
    ami: str
    public: str | None = None
    private: str | None = None
    reason: str = ""

    @property
    def is_alive(self) -> bool:
        """Whether it runs or starts."""
        return self.state in ("pending", "running")


def launch_parameters(
    settings: Launch, ami: Ami, kind: str, unikernel: str, groups: Sequence[str], user_data: bytes | None
) -> dict[str, Any]:
    """Return the parameters of RunInstances, without the ClientToken.

    Args:
        settings: ``[launch]``.
        ami: the AMI to launch.
        kind: the instance type.
        unikernel: the unikernel's name, the value of unibuild's tag.
        groups: the ids of its security groups; empty: the VPC's default one.
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
    """Return the hash of the parameters of RunInstances. They are not kept themselves: user data may be secret."""
    return hashlib.sha256(json.dumps(asked, sort_keys=True, default=bytes.hex).encode()).hexdigest()


def start(aws: Aws, region: str, asked: Mapping[str, Any], token: str) -> str:
    """Start an instance, or find the one that was started with this token; return its id.

    Raises:
        AwsError: AWS refused; ``IdempotentInstanceTerminated``: the instance of this token was terminated.
    """
    answer = aws.client("ec2", region).call(
        "RunInstances", appears=APPEARS, wants=("Instances",), **asked, ClientToken=token
    )
    return str(answer["Instances"][0]["InstanceId"])


def describe(aws: Aws, region: str, name: str) -> Instance | None:
    """Return an instance by its id; None if EC2 no longer knows it.

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
    """Return the instance that was started with a ClientToken, if there is one.

    Raises:
        AwsError: AWS refused.
    """
    wanted = [{"Name": "client-token", "Values": [token]}]
    return next(iter(_instances(aws.client("ec2", region).call("DescribeInstances", Filters=wanted))), None)


def terminate(aws: Aws, region: str, names: Sequence[str], *, appears: float = 0.0) -> None:
    """Terminate instances; those that EC2 no longer knows count as terminated.

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
    """Return the console output that EC2 has of an instance: nothing at first, later the last 64 KiB.

    ``Latest`` works only on Nitro, which cannot run a Xen kernel.

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
