"""Settings of the account in a region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import EC2

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region


@EC2.operation
def get_ebs_encryption_by_default(region: Region, params: Params) -> Params:
    on = region.encrypts_by_default
    return {"EbsEncryptionByDefault": on, "SseType": "sse-kms" if on else "none"}


@EC2.operation
def enable_ebs_encryption_by_default(region: Region, params: Params) -> Params:
    region.encrypts_by_default = True
    return {"EbsEncryptionByDefault": True}


@EC2.operation
def get_ebs_default_kms_key_id(region: Region, params: Params) -> Params:
    return {"KmsKeyId": "alias/aws/ebs"}


@EC2.operation
def get_snapshot_block_public_access_state(region: Region, params: Params) -> Params:
    return {"State": "block-new-sharing" if region.block_snapshot_access else "unblocked", "ManagedBy": "account"}
