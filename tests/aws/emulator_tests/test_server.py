"""The emulator's signatures, policies, faults, delays and record."""

from __future__ import annotations

import contextlib
import time

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from emulator import Delay, ManualClock, World

ONCE = Config(retries={"total_max_attempts": 1}, read_timeout=120)


def refusal(function, **params):
    with pytest.raises(ClientError) as caught:
        function(**params)
    return caught.value.response["Error"]["Code"]


@pytest.mark.parametrize(
    ("service", "operation", "expected"),
    [
        ("ec2", "describe_images", "AuthFailure"),
        ("ebs", "list_changed_blocks", "InvalidSignatureException"),
        ("sts", "get_caller_identity", "SignatureDoesNotMatch"),
    ],
)
def test_wrong_secret_is_refused(aws, service, operation, expected):
    params = {"SecondSnapshotId": "snap-1"} if service == "ebs" else {}
    keys = {"aws_access_key_id": aws.owner.access_key, "aws_secret_access_key": "x" * 40}
    stranger = boto3.client(service, **keys, config=ONCE)
    assert refusal(getattr(stranger, operation), **params) == expected


def test_unknown_key_is_refused(aws):
    stranger = boto3.client("sts", aws_access_key_id="AKIAX", aws_secret_access_key="x", config=ONCE)
    assert refusal(stranger.get_caller_identity) == "InvalidClientTokenId"


def test_expired_session_token_is_refused(aws):
    guest = aws.new_principal(session_token="token", expires=time.time() - 1)
    keys = {"aws_access_key_id": guest.access_key, "aws_secret_access_key": guest.secret_key}
    stranger = boto3.client("sts", **keys, aws_session_token="token", config=ONCE)
    assert refusal(stranger.get_caller_identity) == "ExpiredToken"


def test_policy_is_enforced(aws):
    policy = {"Statement": [{"Effect": "Allow", "Action": ["ebs:Start*"], "Resource": "*"}]}
    guest = aws.new_principal(policy)
    keys = {"aws_access_key_id": guest.access_key, "aws_secret_access_key": guest.secret_key}
    ebs, ec2 = (boto3.client(service, **keys, config=ONCE) for service in ("ebs", "ec2"))
    made = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    assert refusal(ebs.complete_snapshot, SnapshotId=made, ChangedBlocksCount=0) == "AccessDeniedException"
    assert refusal(ebs.start_snapshot, VolumeSize=1, Tags=[{"Key": "a", "Value": "b"}]) == "AccessDeniedException"
    assert refusal(ec2.describe_images, DryRun=True) == "UnauthorizedOperation"


def test_calls_are_recorded(aws, client):
    client("ebs").start_snapshot(VolumeSize=1)
    assert refusal(client("ec2").delete_snapshot, SnapshotId="snap-1") == "InvalidSnapshot.NotFound"
    assert aws.calls.counts == {"StartSnapshot": 1, "DeleteSnapshot": 1}
    assert [(call.done, call.error) for call in aws.calls] == [(True, None), (False, "InvalidSnapshot.NotFound")]


@pytest.mark.parametrize(
    ("kind", "expected", "made"),
    [
        ("throttle", "RequestThrottledException", 0),
        ("500", "InternalServerException", 0),
        ("503", "ServiceUnavailableException", 0),
        ("502", "502", 0),
        ("cut-before", BotoCoreError, 0),
        ("stall", BotoCoreError, 0),
        ("cut-upload", BotoCoreError, 0),
        ("cut-after", BotoCoreError, 1),
        ("cut-answer", (KeyError, BotoCoreError), 1),  # newer botocore versions accept half of an answer
        ("garbage", UnicodeDecodeError, 1),
        ("slow", None, 1),
    ],
)
def test_fault_has_its_error_and_effect(aws, client, kind, expected, made):
    ebs = client("ebs")
    aws.faults.add(kind, "StartSnapshot", times=1)
    if isinstance(expected, str):
        assert refusal(ebs.start_snapshot, VolumeSize=1) == expected
    elif expected is not None:
        with pytest.raises(expected):
            ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    else:
        ebs.start_snapshot(VolumeSize=1)
    assert (len(aws.region().snapshots), aws.faults.hits) == (made, {kind: 1})
    assert ebs.start_snapshot(VolumeSize=1)["Status"] == "pending"


def test_same_requests_get_the_same_faults(aws, client):
    def fates():
        aws.reset()
        aws.faults.add("500", rate=0.5)
        for token in range(20):
            with contextlib.suppress(ClientError):
                client("ebs").start_snapshot(VolumeSize=1, ClientToken=str(token))
        return [call.error for call in aws.calls]

    first = fates()
    assert first == fates()
    assert set(first) == {None, "InternalServerException"}


def test_new_snapshot_appears_late(aws, client):
    aws.reset(World(clock := ManualClock()))
    aws.world.timing.snapshot_completes = 60
    aws.world.timing.tags_appear = Delay(calls=2)
    ebs, ec2 = client("ebs"), client("ec2")
    made = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
    assert [len(ec2.describe_snapshots()["Snapshots"]) for _ in range(3)] == [0, 0, 1]
    ebs.complete_snapshot(SnapshotId=made, ChangedBlocksCount=0)
    assert ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] == "pending"
    clock.advance(60)
    assert ec2.describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] == "completed"


def test_pending_snapshot_without_writes_fails(aws, client):
    aws.reset(World(clock := ManualClock()))
    made = client("ebs").start_snapshot(VolumeSize=1, Timeout=10)["SnapshotId"]
    clock.advance(601)
    assert client("ec2").describe_snapshots(SnapshotIds=[made])["Snapshots"][0]["State"] == "error"
