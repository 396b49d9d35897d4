"""EBS direct: the six operations, with the rules of its API reference.

Not documented, and assumed here: a wrong ChangedBlocksCount and an index behind the end of the volume are refused with
a ValidationException; a volume may not be smaller than its parent; the ClientToken of a deleted snapshot finds nothing.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import TYPE_CHECKING, Any

from .errors import AwsError, invalid
from .service import Service
from .snapshot import BLOCK, GIB, Block, Snapshot
from .tagging import read_tags, tag_list
from .world import ACCOUNT

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

EBS = Service("ebs")
MAX_SIZE = 65536
"""The size of the largest volume, in GiB."""
TOKEN_LIFE = 7 * 86400.0
"""Seconds for which a block token is valid."""


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def find(region: Region, snapshot_id: str, *, writing: bool = False) -> Snapshot:
    """Return a snapshot; a write may not find one that was just started."""
    missing = snapshot_id not in region.snapshots
    if missing or (writing and region.unseen.hides(snapshot_id)):
        raise AwsError(
            "ResourceNotFoundException",
            f"The snapshot '{snapshot_id}' does not exist.",
            404,
            Reason="SNAPSHOT_NOT_FOUND",
        )
    return region.snapshots[snapshot_id]


@EBS.operation
def start_snapshot(region: Region, params: Params) -> Params:
    mismatch = AwsError("ConflictException", "The client token was used with other parameters.", 409)
    snapshot = find(region, region.once("StartSnapshot", params, lambda: _start(region, params), mismatch))
    return {
        "SnapshotId": snapshot.id,
        "OwnerId": ACCOUNT,
        "Status": snapshot.state(region.now),
        "StartTime": snapshot.started,
        "VolumeSize": snapshot.size,
        "BlockSize": BLOCK,
        "Description": params.get("Description"),
        "Tags": tag_list(region, snapshot.id) or None,
        "ParentSnapshotId": params.get("ParentSnapshotId"),
        "KmsKeyArn": snapshot.key,
        "SseType": "sse-kms" if snapshot.key else "none",
    }


def _start(region: Region, params: Params) -> str:
    size, now, parent = params["VolumeSize"], region.now, None
    if size > MAX_SIZE:
        raise invalid(f"VolumeSize {size} is more than {MAX_SIZE}", "INVALID_VOLUME_SIZE")
    if "ParentSnapshotId" in params:
        parent = _parent(region, params)
        if region.encrypts_by_default and parent.key is None:
            raise invalid(f"The parent snapshot {parent.id} is not encrypted.", "INVALID_DEPENDENCY_REQUEST")
    tags = read_tags(params.get("Tags", []), "ValidationException")
    if sum(one.writable(now) for one in region.snapshots.values()) >= region.world.quotas.pending_snapshots:
        raise AwsError("ConcurrentLimitExceededException", "You have reached the limit for pending snapshots.")
    snapshot = Snapshot(
        region.new_id("snap"), size, now, params.get("Description", ""), parent,
        timeout=params.get("Timeout", 60) * 60.0, touched=now, key=_key(region, params, parent),
    )  # fmt: skip
    region.snapshots[snapshot.id] = snapshot
    region.tags[snapshot.id] = tags
    region.unseen.hide(snapshot.id, region.world.timing.snapshot_appears)
    region.unseen.hide(f"tags:{snapshot.id}", region.world.timing.tags_appear)
    return snapshot.id


def _parent(region: Region, params: Params) -> Snapshot:
    if "Encrypted" in params or "KmsKeyArn" in params:
        raise invalid("Encrypted and KmsKeyArn cannot be specified together with ParentSnapshotId")
    parent = find(region, params["ParentSnapshotId"])
    if parent.state(region.now) != "completed":
        raise invalid(f"The parent snapshot {parent.id} is not completed.", "INVALID_SNAPSHOT_ID")
    if params["VolumeSize"] < parent.size:
        raise invalid("The volume is smaller than its parent's.", "INVALID_VOLUME_SIZE")
    return parent


def _key(region: Region, params: Params, parent: Snapshot | None) -> str | None:
    if parent is not None:
        return parent.key
    if "KmsKeyArn" in params and not params.get("Encrypted"):
        raise invalid("KmsKeyArn is specified, and Encrypted is not true")
    if not params.get("Encrypted") and not region.encrypts_by_default:
        return None
    try:
        return region.kms_key(params.get("KmsKeyArn"))
    except AwsError as refused:
        raise AwsError(
            "ResourceNotFoundException", refused.message, 404, Reason="DEPENDENCY_RESOURCE_NOT_FOUND"
        ) from None


@EBS.operation(locked=False)
def put_snapshot_block(region: Region, params: Params) -> Params:
    """Check a block, hash it without the lock, and store it. A block may be put again: the last one counts."""
    with region.world.lock:
        snapshot = _writable(region, params)
        _count(region, snapshot)
    data = params["BlockData"]
    if not 0 <= params["BlockIndex"] < snapshot.size * GIB // BLOCK:
        raise invalid(f"The block index {params['BlockIndex']} is out of range.", "INVALID_BLOCK")
    if len(data) != BLOCK or params["DataLength"] != BLOCK:
        raise invalid(
            f"The block has {len(data)} bytes, DataLength is {params['DataLength']}, not {BLOCK}", "INVALID_BLOCK"
        )
    block = Block.of(data)
    if params["Checksum"] != encoded(block.digest):
        raise invalid("The checksum of the block does not match.", "INVALID_BLOCK")
    with region.world.lock:
        snapshot = _writable(region, params)
        snapshot.own[params["BlockIndex"]] = region.world.keep(block)
        snapshot.touched = region.now
        snapshot.puts += 1
    return {"Checksum": encoded(block.digest), "ChecksumAlgorithm": "SHA256"}


def _writable(region: Region, params: Params) -> Snapshot:
    snapshot = find(region, params["SnapshotId"], writing=True)
    if not snapshot.writable(region.now):
        raise invalid(f"The snapshot {snapshot.id} is not in the pending state.", "INVALID_SNAPSHOT_ID")
    return snapshot


def _count(region: Region, snapshot: Snapshot) -> None:
    second, puts = snapshot.window
    snapshot.window = (int(region.now), puts + 1 if second == int(region.now) else 1)
    if snapshot.window[1] > region.world.quotas.puts_per_second:
        raise AwsError("RequestThrottledException", "Rate exceeded", 400, Reason="RESOURCE_LEVEL_THROTTLE")


@EBS.operation
def complete_snapshot(region: Region, params: Params) -> Params:
    snapshot = _writable(region, params)
    if params["ChangedBlocksCount"] != len(snapshot.own):
        raise invalid(f"ChangedBlocksCount is {params['ChangedBlocksCount']}, {len(snapshot.own)} blocks were put.")
    if "Checksum" in params:
        if not {"ChecksumAlgorithm", "ChecksumAggregationMethod"} <= params.keys():
            raise invalid("Checksum needs ChecksumAlgorithm and ChecksumAggregationMethod")
        digests = b"".join(snapshot.own[index].digest for index in sorted(snapshot.own))
        if params["Checksum"] != encoded(hashlib.sha256(digests).digest()):
            raise invalid("The checksum of the snapshot does not match.")
    snapshot.sealed, snapshot.delay = region.now, region.world.timing.snapshot_completes
    return {"Status": "pending"}


def _readable(region: Region, snapshot_id: str) -> Snapshot:
    snapshot = find(region, snapshot_id)
    if snapshot.state(region.now) != "completed":
        raise invalid(f"The snapshot {snapshot_id} is not completed.", "INVALID_SNAPSHOT_ID")
    return snapshot


@EBS.operation
def list_snapshot_blocks(region: Region, params: Params) -> Params:
    snapshot = _readable(region, params["SnapshotId"])
    blocks, rest = _page(list(snapshot.blocks), params)
    listed = [{"BlockIndex": index, "BlockToken": _token(region, snapshot, index)} for index in blocks]
    return {"Blocks": listed, **rest, **_about(region, snapshot)}


@EBS.operation
def list_changed_blocks(region: Region, params: Params) -> Params:
    """List the blocks in which two snapshots differ; without a first snapshot, all blocks of the second."""
    second = _readable(region, params["SecondSnapshotId"])
    first = _readable(region, params["FirstSnapshotId"]) if "FirstSnapshotId" in params else None
    if first is not None and not second.descends_from(first):
        raise invalid(f"{first.id} and {second.id} are not of one lineage.", "UNRELATED_SNAPSHOTS")
    old, new = first.blocks if first else {}, second.blocks
    changed, rest = _page(
        [index for index in sorted(old.keys() | new.keys()) if old.get(index) != new.get(index)], params
    )
    listed: list[dict[str, Any]] = []
    for index in changed:
        entry: dict[str, Any] = {"BlockIndex": index}
        if first is not None and index in old:
            entry["FirstBlockToken"] = _token(region, first, index)
        if index in new:
            entry["SecondBlockToken"] = _token(region, second, index)
        listed.append(entry)
    return {"ChangedBlocks": listed, **rest, **_about(region, second)}


def _about(region: Region, snapshot: Snapshot) -> Params:
    return {"VolumeSize": snapshot.size, "BlockSize": BLOCK, "ExpiryTime": region.now + TOKEN_LIFE}


def _page(indices: list[int], params: Params) -> tuple[list[int], Params]:
    """Return a page of block indices, and the token of the next page: the index that it begins with."""
    start = params.get("StartingBlockIndex", 0)
    if "NextToken" in params:
        try:
            start = int(base64.b64decode(params["NextToken"]))
        except ValueError:
            raise invalid("The page token is not valid.", "INVALID_PAGE_TOKEN") from None
    wanted = [index for index in indices if index >= start]
    size = params.get("MaxResults", 10000)
    rest = {"NextToken": encoded(str(wanted[size]).encode())} if len(wanted) > size else {}
    return wanted[:size], rest


def _token(region: Region, snapshot: Snapshot, index: int, issued: int | None = None) -> str:
    """Return the token for reading one block: its time, and a signature."""
    issued = int(region.now) if issued is None else issued
    seal = hmac.digest(region.world.seal, f"{snapshot.id}/{index}/{issued}".encode(), "sha256")
    return encoded(issued.to_bytes(8, "big") + seal)


@EBS.operation(locked=False)
def get_snapshot_block(region: Region, params: Params) -> Params:
    with region.world.lock:
        snapshot = _readable(region, params["SnapshotId"])
        block = snapshot.find(params["BlockIndex"])
        if block is None:
            raise AwsError("ResourceNotFoundException", "There is no such block.", 404, Reason="BLOCK_NOT_FOUND")
        _check_token(region, snapshot, params)
    return {
        "BlockData": block.data,
        "DataLength": BLOCK,
        "Checksum": encoded(block.digest),
        "ChecksumAlgorithm": "SHA256",
    }


def _check_token(region: Region, snapshot: Snapshot, params: Params) -> None:
    try:
        issued = int.from_bytes(base64.b64decode(params["BlockToken"])[:8], "big")
    except ValueError:
        issued = -1
    if issued < 0 or params["BlockToken"] != _token(region, snapshot, params["BlockIndex"], issued):
        raise invalid("The block token is not valid.", "INVALID_BLOCK_TOKEN")
    if region.now - issued > TOKEN_LIFE:
        raise invalid("The block token has expired.", "INVALID_BLOCK_TOKEN")
