"""IAM policies: whether somebody's policy allows an operation. Actions with wildcards; no conditions.

Resources are not compared: who may call an operation may call it on everything.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING, Any

from .errors import AwsError

if TYPE_CHECKING:
    from .request import Params
    from .signing import Principal, Scope

REFUSED = {"ec2": "UnauthorizedOperation", "ebs": "AccessDeniedException"}
FREE = ("sts:GetCallerIdentity",)
"""What needs no permission."""


def actions_of(service: str, operation: str, params: Params) -> list[str]:
    """Return the actions that a request needs: tags that are given with a new thing need ec2:CreateTags too."""
    needed = [f"{service}:{operation}"]
    if (service == "ebs" and params.get("Tags")) or (service == "ec2" and params.get("TagSpecifications")):
        needed.append("ec2:CreateTags")
    return needed


def check_policy(principal: Principal, scope: Scope, operation: str, params: Params) -> None:
    """Refuse what the policy does not allow, in the service's own words."""
    if principal.policy is None:
        return
    for action in actions_of(scope.service, operation, params):
        if action not in FREE and not allowed(principal.policy, action):
            message = f"User: {principal.arn} is not authorized to perform: {action}"
            raise AwsError(REFUSED.get(scope.service, "AccessDenied"), message, 403)


def allowed(policy: dict[str, Any], action: str) -> bool:
    statements = policy["Statement"] if isinstance(policy["Statement"], list) else [policy["Statement"]]
    effects = {one["Effect"] for one in statements if _names(one, action)}
    return effects == {"Allow"}


def _names(statement: dict[str, Any], action: str) -> bool:
    actions = statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
    return any(fnmatch.fnmatchcase(action.lower(), one.lower()) for one in actions)
