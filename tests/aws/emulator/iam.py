"""IAM, as far as whether a role is there."""

from __future__ import annotations

import json
import urllib.parse
from typing import TYPE_CHECKING

from .errors import AwsError
from .service import Service
from .world import ACCOUNT

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

IAM = Service("iam")


@IAM.operation
def get_role(region: Region, params: Params) -> Params:
    """Tell a role of ``world.roles``; each may be assumed by the import service."""
    name = params["RoleName"]
    if name not in region.world.roles:
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
    statement = {"Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = {"Path": "/", "RoleName": name, "RoleId": "AROATESTTESTTEST", "CreateDate": region.now}
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return {"Role": {**role, "Arn": arn, "AssumeRolePolicyDocument": urllib.parse.quote(document)}}
