"""IAM, as far as the existence of roles."""

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
    """Describe a role in ``world.roles``; the import service may assume each."""
    name = params["RoleName"]
    if name not in region.world.roles:
        raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
    statement = {"Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"}, "Action": "sts:AssumeRole"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = {"Path": "/", "RoleName": name, "RoleId": "AROATESTTESTTEST", "CreateDate": region.now}
    arn = f"arn:aws:iam::{ACCOUNT}:role/{name}"
    return {"Role": {**role, "Arn": arn, "AssumeRolePolicyDocument": urllib.parse.quote(document)}}
