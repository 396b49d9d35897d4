"""Snapshots: EC2's operations on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.snapshot import BLOCK
from emulator.tagging import tag_list
from emulator.world import ACCOUNT

from . import EC2
from .choose import filtered, known, page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.snapshot import Snapshot
    from emulator.world import Region

FILTERS = {
    "description": "Description",
    "encrypted": "Encrypted",
    "owner-id": "OwnerId",
    "progress": "Progress",
    "snapshot-id": "SnapshotId",
    "start-time": "StartTime",
    "status": "State",
    "storage-tier": "StorageTier",
    "volume-id": "VolumeId",
    "volume-size": "VolumeSize",
}


def view(region: Region, snapshot: Snapshot) -> Params:
    state = snapshot.state(region.now)
    return {
        "SnapshotId": snapshot.id,
        "State": state,
        "VolumeSize": snapshot.size,
        "Description": snapshot.description,
        "OwnerId": ACCOUNT,
        "StartTime": snapshot.started,
        "Progress": "100%" if state == "completed" else "",
        "VolumeId": "vol-ffffffff",
        "Encrypted": snapshot.key is not None,
        "KmsKeyId": snapshot.key,
        "StorageTier": "standard",
        "FullSnapshotSizeInBytes": len(snapshot.blocks) * BLOCK,
        "Tags": tag_list(region, snapshot.id),
    }


@EC2.operation
def describe_snapshots(region: Region, params: Params) -> Params:
    ids = params.get("SnapshotIds")
    known(ids, region.snapshots, "Snapshot", "snap")
    owners = {ACCOUNT if owner == "self" else owner for owner in params.get("OwnerIds", [])}
    shown = [one for one in region.snapshots.values() if not ids or one.id in ids]
    if not ids:
        shown = [one for one in shown if not region.unseen.hides(f"tags:{one.id}")]
    views = [view(region, one) for one in shown] if not owners or ACCOUNT in owners else []
    found, more = page(filtered(views, params.get("Filters"), FILTERS), params, "SnapshotIds")
    return {"Snapshots": found, **more}


@EC2.operation
def delete_snapshot(region: Region, params: Params) -> None:
    known([params["SnapshotId"]], region.snapshots, "Snapshot", "snap")
    remove(region, params["SnapshotId"])


def remove(region: Region, snapshot_id: str) -> None:
    """Delete a snapshot that no AMI needs; its children keep the shared blocks."""
    snapshot = region.snapshot(snapshot_id)
    for image in region.images.values():
        if snapshot_id in image.snapshot_ids:
            raise AwsError("InvalidSnapshot.InUse", f"The snapshot {snapshot_id} is currently in use by {image.id}")
    for child in region.snapshots.values():
        if child.parent is snapshot:
            child.orphan()
    del region.snapshots[snapshot_id]
    region.tags.pop(snapshot_id, None)


@EC2.operation
def modify_snapshot_attribute(region: Region, params: Params) -> None:
    """Share a snapshot with accounts, or stop sharing it."""
    known([params["SnapshotId"]], region.snapshots, "Snapshot", "snap")
    snapshot, change = region.snapshot(params["SnapshotId"]), params.get("CreateVolumePermission", {})
    if params.get("OperationType"):
        given = [*params.get("UserIds", []), *params.get("GroupNames", [])]
        added, removed = (given, []) if params["OperationType"] == "add" else ([], given)
    else:
        added, removed = (
            [one.get("UserId") or one["Group"] for one in change.get(key, [])] for key in ("Add", "Remove")
        )
    if "all" in added and snapshot.key:
        raise AwsError("OperationNotPermitted", "Encrypted snapshots cannot be shared publicly")
    if added and snapshot.key == region.kms["alias/aws/ebs"]:
        raise AwsError("OperationNotPermitted", "Encrypted snapshots with EBS default key cannot be shared")
    if "all" in added and region.block_snapshot_access:
        raise AwsError("OperationNotPermitted", "Block public access for snapshots is enabled in this Region")
    kept = [one for one in snapshot.permissions if one not in removed]
    snapshot.permissions = [*kept, *(one for one in added if one not in kept)]


@EC2.operation
def describe_snapshot_attribute(region: Region, params: Params) -> Params:
    known([params["SnapshotId"]], region.snapshots, "Snapshot", "snap")
    snapshot = region.snapshot(params["SnapshotId"])
    shared = [{"Group": "all"} if one == "all" else {"UserId": one} for one in snapshot.permissions]
    return {"SnapshotId": snapshot.id, "CreateVolumePermissions": shared}
