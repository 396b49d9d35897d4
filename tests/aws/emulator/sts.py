"""STS: who is calling."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .service import Service
from .world import ACCOUNT

if TYPE_CHECKING:
    from .request import Params
    from .world import Region

STS = Service("sts")


@STS.operation
def get_caller_identity(region: Region, params: Params) -> Params:
    caller = region.world.caller
    return {"UserId": caller.access_key, "Account": ACCOUNT, "Arn": caller.arn}
