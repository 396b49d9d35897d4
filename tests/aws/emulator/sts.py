"""STS: the caller's identity, and temporary keys of a role."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .errors import AwsError
from .service import Service
from .signing import Principal
from .world import ACCOUNT

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

STS = Service("sts")


@STS.operation
def get_caller_identity(region: Region, params: Params) -> Params:
    caller = region.world.caller
    return {"UserId": caller.access_key, "Account": ACCOUNT, "Arn": caller.arn}


@STS.operation
def assume_role(region: Region, params: Params) -> Params:
    """Return temporary keys of a role in ``world.trusting``, for the requested time (an hour by default)."""
    world, name, session = region.world, params["RoleArn"].rpartition("/")[2], params["RoleSessionName"]
    if name not in world.trusting:
        message = f"User: {world.caller.arn} is not authorized to perform: sts:AssumeRole on {params['RoleArn']}"
        raise AwsError("AccessDenied", message, 403)
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/{name}/{session}"
    made = Principal(
        f"ASIA{world.hex(16).upper()}", world.hex(40), session_token=world.hex(64), arn=arn,
        expires=time.time() + params.get("DurationSeconds", 3600), policy=world.trusting[name],
    )  # fmt: skip
    world.sessions[made.access_key] = made
    keys = {"AccessKeyId": made.access_key, "SecretAccessKey": made.secret_key, "SessionToken": made.session_token}
    who = {"AssumedRoleId": f"AROATESTTESTTEST:{session}", "Arn": arn}
    return {"Credentials": {**keys, "Expiration": made.expires}, "AssumedRoleUser": who}
