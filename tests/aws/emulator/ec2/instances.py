"""Operations on running instances: description, console, stop and termination."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from emulator.errors import AwsError, unknown_id
from emulator.instance import Instance, state_view
from emulator.tagging import tag_list
from emulator.world import ACCOUNT

from . import EC2
from .choose import filtered, known, page
from .types import TYPES

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

REMEMBERED = 3600.0
"""Seconds for which a terminated instance is described."""
CONSOLE_SIZE = 65536

FILTERS = {
    "architecture": "Architecture",
    "client-token": "ClientToken",
    "image-id": "ImageId",
    "instance-id": "InstanceId",
    "instance-state-name": lambda view: view["State"]["Name"],
    "instance-type": "InstanceType",
    "ip-address": "PublicIpAddress",
    "kernel-id": "KernelId",
    "key-name": "KeyName",
    "private-ip-address": "PrivateIpAddress",
    "instance.group-id": lambda view: [one["GroupId"] for one in view["SecurityGroups"]],
    "subnet-id": "SubnetId",
    "virtualization-type": "VirtualizationType",
    "vpc-id": "VpcId",
}


def view(region: Region, one: Instance) -> Params:
    state, groups = one.state(region.now), region.network.groups
    alive, elastic = one.alive(region.now), elastic_ip(region, one)
    public = elastic or one.public_ip if state == "running" else elastic if alive else None
    return {
        "InstanceId": one.id,
        "ImageId": one.image.id,
        "State": state_view(state),
        "InstanceType": one.type,
        "KeyName": one.params.get("KeyName"),
        "KernelId": one.image.kernel,
        "LaunchTime": one.launched,
        "Placement": {"AvailabilityZone": one.subnet.zone, "Tenancy": "default"},
        "AmiLaunchIndex": one.index,
        "ClientToken": one.params.get("ClientToken"),
        "Architecture": one.image.architecture,
        "VirtualizationType": one.image.virtualization,
        "Hypervisor": "xen",
        "RootDeviceName": one.image.root_device,
        "RootDeviceType": "ebs",
        "SubnetId": one.subnet.id if alive else None,
        "VpcId": one.subnet.vpc if alive else None,
        "PrivateIpAddress": one.private_ip if alive else None,
        "PublicIpAddress": public,
        "SecurityGroups": [{"GroupId": group, "GroupName": groups[group].name} for group in one.groups]
        if alive
        else [],
        "StateReason": None
        if alive
        else {
            "Code": "Client.UserInitiatedShutdown",
            "Message": "Client.UserInitiatedShutdown: User initiated shutdown",
        },
        "Tags": tag_list(region, one.id),
    }


def elastic_ip(region: Region, one: Instance) -> str | None:
    return next((address.ip for address in region.network.addresses.values() if address.instance == one.id), None)


def reservations(region: Region, instances: list[Instance]) -> list[Params]:
    """Return instances in the shape of DescribeInstances; those of one RunInstances share a reservation."""
    ids = dict.fromkeys(one.reservation for one in instances)
    return [
        {
            "ReservationId": name,
            "OwnerId": ACCOUNT,
            "Instances": [view(region, one) for one in instances if one.reservation == name],
        }
        for name in ids
    ]


def find(region: Region, ids: list[str] | None) -> list[Instance]:
    """Return the instances with these ids, or all if none is given, without those terminated long ago."""
    ended = {one.id: one.since("terminated") for one in region.instances.values()}
    there = {
        key: one
        for key, one in region.instances.items()
        if (when := ended[key]) is None or region.now < when + REMEMBERED
    }
    known(ids, there, "InstanceID", "i")
    hidden = {key for key in there if region.unseen.hides(key)}
    for one in ids or []:
        if one in hidden:
            raise unknown_id("InstanceID", one)
    return [one for key, one in there.items() if key not in hidden and (not ids or key in ids)]


@EC2.operation
def describe_instances(region: Region, params: Params) -> Params:
    instances = {one.id: one for one in find(region, params.get("InstanceIds"))}
    views = filtered([view(region, one) for one in instances.values()], params.get("Filters"), FILTERS)
    found, more = page(views, params, "InstanceIds")
    return {"Reservations": reservations(region, [instances[one["InstanceId"]] for one in found]), **more}


@EC2.operation
def describe_instance_status(region: Region, params: Params) -> Params:
    """Return the status checks of the running instances, or of all with ``IncludeAllInstances``."""
    told = [_status(region, one) for one in find(region, params.get("InstanceIds"))]
    if not params.get("IncludeAllInstances"):
        told = [one for one in told if one["InstanceState"]["Name"] == "running"]
    fields = {"instance-state-name": lambda one: one["InstanceState"]["Name"]}
    found, more = page(filtered(told, params.get("Filters"), fields), params, "InstanceIds")
    return {"InstanceStatuses": found, **more}


def _status(region: Region, one: Instance) -> Params:
    """Return the status checks of an instance: "initializing" in its first ``timing.instance_checks`` seconds."""
    state = one.state(region.now)
    waits = state == "pending" or not _runs_for(region, one, region.world.timing.instance_checks)
    status = {"Status": "not-applicable" if state not in ("pending", "running") else "initializing" if waits else "ok"}
    return {
        "InstanceId": one.id,
        "AvailabilityZone": one.subnet.zone,
        "InstanceState": state_view(state),
        "InstanceStatus": status,
        "SystemStatus": status,
    }


def _runs_for(region: Region, one: Instance, seconds: float) -> bool:
    running = one.since("running")
    return running is not None and region.now >= running + seconds


@EC2.operation
def get_console_output(region: Region, params: Params) -> Params:
    """Return the output of ``world.console``, and nothing in the first ``timing.console_appears`` seconds."""
    (one,) = find(region, [params["InstanceId"]])
    if params.get("Latest") and TYPES[one.type].hypervisor == "xen":
        raise AwsError(
            "UnsupportedOperation",
            "This instance type does not support retrieving the latest console logs.",
        )
    posted = _runs_for(region, one, region.world.timing.console_appears)
    text = region.world.console(one).encode()[-CONSOLE_SIZE:] if posted else b""
    return {"InstanceId": one.id, "Timestamp": region.now, "Output": base64.b64encode(text).decode() or None}


def _change(
    region: Region, params: Params, allowed: tuple[str, ...], states: tuple[str, str], after: float
) -> list[Params]:
    """Take instances through two states; those already in one of them stay, and any other state is refused."""
    told = []
    for one in find(region, params["InstanceIds"]):
        before = one.state(region.now)
        if before not in (*allowed, *states):
            raise AwsError("IncorrectInstanceState", f"The instance '{one.id}' is {before} and cannot be {states[1]}.")
        if before in allowed:
            one.become(region.now, *states, after)
        now = state_view(states[0] if before in allowed else before)
        told.append({"InstanceId": one.id, "PreviousState": state_view(before), "CurrentState": now})
    return told


@EC2.operation
def terminate_instances(region: Region, params: Params) -> Params:
    for one in find(region, params["InstanceIds"]):
        if one.params.get("DisableApiTermination"):
            raise AwsError(
                "OperationNotPermitted",
                f"The instance '{one.id}' may not be terminated.",
            )
    allowed, ends = ("pending", "running", "stopping", "stopped"), region.world.timing.instance_ends
    told = _change(region, params, allowed, ("shutting-down", "terminated"), ends)
    for address in region.network.addresses.values():
        if address.instance in {one["InstanceId"] for one in told}:
            address.instance = address.association = None
    return {"TerminatingInstances": told}


@EC2.operation
def stop_instances(region: Region, params: Params) -> Params:
    ends = region.world.timing.instance_ends
    return {"StoppingInstances": _change(region, params, ("running",), ("stopping", "stopped"), ends)}


@EC2.operation
def start_instances(region: Region, params: Params) -> Params:
    runs = region.world.timing.instance_runs
    return {"StartingInstances": _change(region, params, ("stopped",), ("pending", "running"), runs)}
