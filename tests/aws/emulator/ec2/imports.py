"""ImportSnapshot: a raw disk image in S3 becomes a snapshot."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.s3 import Bucket
from emulator.service import commit
from emulator.snapshot import BLOCK, GIB, Block, Snapshot
from emulator.tagging import specified, tag_list

from . import EC2
from .choose import page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region

CONCURRENT_TASKS = 20


@EC2.operation(validates=True)
def import_snapshot(region: Region, params: Params) -> Params:
    mismatch = AwsError("IdempotentParameterMismatch", "The client token was used with other parameters.")
    task = region.once("ImportSnapshot", params, lambda: _import(region, params), mismatch)
    return {"Description": params.get("Description"), **_view(region, task)}


def _import(region: Region, params: Params) -> str:
    """Begin a task. A missing role is refused at once; an error in the object is reported later."""
    disk, role = params.get("DiskContainer", {}), params.get("RoleName", "vmimport")
    bucket, key = _source(disk)
    if role not in region.world.roles:
        raise AwsError(
            "InvalidParameter",
            f"The service role {role} provided does not exist or does not have sufficient permissions",
        )
    tags = specified(params, "import-snapshot-task")["import-snapshot-task"]
    if sum(one["failed"] is None and not _done(region, one) for one in region.imports.values()) >= CONCURRENT_TASKS:
        raise AwsError("ResourceCountLimitExceeded", "The import task limit has been reached")
    commit(params)
    made = region.new_id("import-snap")
    region.tags[made] = tags
    task = {"id": made, "started": region.now, "disk": disk, "failed": None, "snapshot": None, "params": params}
    region.imports[made] = task
    data = region.world.buckets.get(bucket, Bucket("", 0.0)).objects.get(key)
    allowed = fnmatch.fnmatch(bucket, region.world.roles[role])
    if data is None or not allowed:
        reason = "404 Not Found" if allowed else "403 Forbidden"
        message = f"We do not have access to the given resource. Reason {reason}"
        task["failed"] = f"ClientError: Disk validation failed [{message}]"
    elif disk.get("Format", "").upper() != "RAW" or len(data) % 512:
        task["failed"] = "ClientError: Disk validation failed [Unsupported or invalid disk format]"
    else:
        task["snapshot"] = _snapshot(region, made, data, params).id
    return made


def _source(disk: Params) -> tuple[str, str]:
    """Return the bucket and the key of a disk: of a UserBucket, or of an s3:// address."""
    if "UserBucket" in disk:
        return disk["UserBucket"].get("S3Bucket", ""), disk["UserBucket"].get("S3Key", "")
    found = re.fullmatch(r"s3://([^/]+)/(.+)", disk.get("Url", ""))
    if not found:
        raise AwsError("InvalidParameter", "The disk container needs a UserBucket or an s3:// Url")
    return found[1], found[2]


def _snapshot(region: Region, task: str, data: bytes, params: Params) -> Snapshot:
    size = max(1, -(-len(data) // GIB))
    key = region.kms_key(params.get("KmsKeyId")) if params.get("Encrypted") or region.encrypts_by_default else None
    snapshot = Snapshot(region.new_id("snap"), size, region.now, f"Created by AWS-VMImport service for {task}", key=key)
    for index in range(-(-len(data) // BLOCK)):
        block = Block.of(data[index * BLOCK : (index + 1) * BLOCK].ljust(BLOCK, b"\0"))
        snapshot.own[index] = region.world.keep(block)
    snapshot.sealed, snapshot.delay = region.now, region.world.timing.import_completes
    region.snapshots[snapshot.id] = snapshot
    region.tags[snapshot.id] = {}
    return snapshot


def _done(region: Region, task: Params) -> bool:
    return bool(region.now >= task["started"] + region.world.timing.import_completes)


def _view(region: Region, name: str) -> Params:
    task, done = region.imports[name], _done(region, region.imports[name])
    state = "active" if not done else "deleted" if task["failed"] else "completed"
    message = None if state == "completed" else task["failed"] if state == "deleted" else "pending"
    detail = {
        "Status": state,
        "StatusMessage": message,
        "Progress": None if done else "3",
        "SnapshotId": task["snapshot"] if state == "completed" else None,
        "Format": task["disk"].get("Format"),
        "UserBucket": task["disk"].get("UserBucket"),
        "Url": task["disk"].get("Url"),
    }
    return {"ImportTaskId": name, "SnapshotTaskDetail": detail, "Tags": tag_list(region, name)}


@EC2.operation
def describe_import_snapshot_tasks(region: Region, params: Params) -> Params:
    wanted = params.get("ImportTaskIds", [])
    for one in wanted:
        if one not in region.imports:
            raise AwsError("InvalidConversionTaskId.Malformed", f"Invalid import task id: {one}")
    told = [_view(region, one) for one in region.imports if not wanted or one in wanted]
    found, more = page(told, params, "ImportTaskIds", low=1)
    return {"ImportSnapshotTasks": found, **more}
