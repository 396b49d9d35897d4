"""Elastic IPs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.network import Address
from emulator.tagging import specified, tag_list

from . import EC2
from .choose import filtered
from .instances import find

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

FILTERS = {
    "allocation-id": "AllocationId",
    "association-id": "AssociationId",
    "domain": "Domain",
    "instance-id": "InstanceId",
    "public-ip": "PublicIp",
}


@EC2.operation
def allocate_address(region: Region, params: Params) -> Params:
    if len(region.network.addresses) >= region.world.quotas.addresses:
        raise AwsError("AddressLimitExceeded", "The maximum number of addresses has been reached.")
    tags = specified(params, "elastic-ip")
    one = Address(region.new_id("eipalloc"), region.world.new_public_ip())
    region.network.addresses[one.id] = one
    region.tags[one.id] = tags["elastic-ip"]
    return {"AllocationId": one.id, "PublicIp": one.ip, "Domain": "vpc"}


def _address(region: Region, params: Params) -> Address:
    addresses = region.network.addresses
    if "AllocationId" in params:
        if params["AllocationId"] not in addresses:
            raise AwsError(
                "InvalidAllocationID.NotFound", f"The allocation ID '{params['AllocationId']}' does not exist"
            )
        return addresses[params["AllocationId"]]
    for one in addresses.values():
        if one.ip == params.get("PublicIp"):
            return one
    raise AwsError("InvalidAddress.NotFound", f"Address '{params.get('PublicIp')}' not found.")


@EC2.operation
def associate_address(region: Region, params: Params) -> Params:
    """Associate an address with an instance; unless forbidden, it is taken from another instance."""
    address, (instance,) = _address(region, params), find(region, [params["InstanceId"]])
    state = instance.state(region.now)
    if state not in ("running", "stopped", "stopping"):
        raise AwsError(
            "InvalidInstanceID", f"The {state} instance '{instance.id}' is not in a valid state for this operation."
        )
    if address.instance not in (None, instance.id) and params.get("AllowReassociation") is False:
        raise AwsError(
            "Resource.AlreadyAssociated",
            f"resource {address.id} is already associated with associate-id {address.association}",
        )
    for other in region.network.addresses.values():
        if other.instance == instance.id:
            other.instance = other.association = None
    _renew(region, address.instance)
    address.instance, address.association = instance.id, region.new_id("eipassoc")
    return {"AssociationId": address.association}


def _renew(region: Region, instance_id: str | None) -> None:
    """Give an instance that loses its Elastic IP another public address, if it was launched with one."""
    if instance_id is not None and region.instances[instance_id].public:
        region.instances[instance_id].public_ip = region.world.new_public_ip()


@EC2.operation
def disassociate_address(region: Region, params: Params) -> None:
    for one in region.network.addresses.values():
        if (
            one.association is not None
            and params.get("AssociationId", one.association) == one.association
            and params.get("PublicIp", one.ip) == one.ip
        ):
            _renew(region, one.instance)
            one.association = one.instance = None
            return
    raise AwsError(
        "InvalidAssociationID.NotFound", f"The association ID '{params.get('AssociationId')}' does not exist"
    )


@EC2.operation
def release_address(region: Region, params: Params) -> None:
    one = _address(region, params)
    if one.instance is not None:
        raise AwsError("InvalidIPAddress.InUse", f"Address {one.ip} is in use.")
    del region.network.addresses[one.id]
    region.tags.pop(one.id)


@EC2.operation
def describe_addresses(region: Region, params: Params) -> Params:
    wanted = [_address(region, {"AllocationId": one}).id for one in params.get("AllocationIds", [])]
    wanted += [_address(region, {"PublicIp": one}).id for one in params.get("PublicIps", [])]
    told = [
        {
            "AllocationId": one.id,
            "PublicIp": one.ip,
            "Domain": "vpc",
            "AssociationId": one.association,
            "InstanceId": one.instance,
            "PrivateIpAddress": region.instances[one.instance].private_ip if one.instance else None,
            "Tags": tag_list(region, one.id),
        }
        for one in region.network.addresses.values()
        if not wanted or one.id in wanted
    ]
    return {"Addresses": filtered(told, params.get("Filters"), FILTERS)}
