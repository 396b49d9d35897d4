"""KMS, as far as the key of an alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import AwsError
from .service import Service
from .world import ACCOUNT

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

KMS = Service("kms")


@KMS.operation
def describe_key(region: Region, params: Params) -> Params:
    try:
        arn = region.kms_key(params["KeyId"])
    except AwsError:
        raise AwsError("NotFoundException", f"Key '{params['KeyId']}' does not exist") from None
    told = {"AWSAccountId": ACCOUNT, "KeyId": arn.rpartition("/")[2], "Arn": arn, "Enabled": True}
    return {"KeyMetadata": {**told, "KeyState": "Enabled", "KeyUsage": "ENCRYPT_DECRYPT"}}
