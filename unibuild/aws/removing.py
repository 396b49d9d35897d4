"""Carrying out what ``collect`` planned."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.aws.errors import NOT_FOUND
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from unibuild.aws.client import Aws
    from unibuild.aws.garbage_collection import Removal, Step

__all__ = ["carry_out"]

_IN_USE = "InvalidSnapshot.InUse"
_PATIENCE = 60.0  # seconds for which EC2 may believe that an AMI uses a snapshot, when it was just deregistered


def carry_out(aws: Aws, removal: Removal) -> dict[int, AwsError]:
    """Make the calls of a removal, in their order; one that fails does not keep the others from being made.

    What somebody else has removed meanwhile is as good.

    Args:
        aws: the account.
        removal: what is planned.

    Returns:
        The errors, by the numbers of their steps.
    """
    errors: dict[int, AwsError] = {}
    staying: set[object] = set()
    for number, step in enumerate(removal.steps):
        if staying.intersection(step.amis):
            errors[number] = AwsError(f"{step.call} is not done, for its AMI stays")
            continue
        try:
            _send(aws, step)
        except AwsError as error:
            errors[number] = error
            staying.add(step.call.params.get("ImageId"))
    return errors


def _send(aws: Aws, step: Step) -> None:
    """Make a call; a snapshot may seem to be in use for a while, after its AMI is gone."""
    error = None

    def attempt() -> bool | None:
        nonlocal error
        try:
            aws.send(step.call)
        except AwsError as refused:
            if refused.code == _IN_USE:
                error = refused
                return None
            if not NOT_FOUND.search(refused.code) and refused.code != "InvalidAMIID.Unavailable":
                raise
        return True

    if aws.poll(attempt, _PATIENCE) is None and error is not None:
        raise error
