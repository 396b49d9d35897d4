"""What is done with an AMI once it is registered: copies, sharing, deprecation and protection, as the settings say."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unibuild.aws import distribute, sharing
from unibuild.aws.dry_run import mentions_unknown
from unibuild.aws.errors import DENIED
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.settings.ami import Publish

__all__ = ["finish"]


def finish(
    aws: Aws,
    settings: Publish,
    region: str,
    image: str,
    tell: Callable[[str], None],
    *,
    description: str | None = None,
    known: Ami | None = None,
) -> dict[str, Ami]:
    """Copy an AMI to the other regions, then share, deprecate, protect and tag all of them.

    Each step may be done again: what is so already is left as it is. What unibuild once set and the settings no longer
    ask for is taken back.

    Args:
        aws: the account.
        settings: ``[publish]``; ``sharing.check`` has passed.
        region: where the AMI is.
        image: its id; it may still be pending.
        tell: is given a sentence for each step.
        description: ``[publish] description``, filled in; None: it is not set.
        known: the AMI as EC2 described it just now, available; None: EC2 is asked.

    Returns:
        The AMIs by their regions, that of ``region`` first.

    Raises:
        AwsError: AWS refused; what is done is done, and the next run goes on.
    """
    source = known or distribute.wait_until_available(aws, region, image)
    if mentions_unknown(image):
        source = dataclasses.replace(source, virtualization=settings.virtualization)
    made = {region: source, **distribute.copy_all(aws, settings, source, tell)}
    now = datetime.now(UTC)
    for one in made.values():
        for call in sharing.finishing(settings, one, now, description):
            aws.send(call)
        _take_back(aws, settings, one, tell)
        if one.volume_type and one.volume_type != settings.volume and not mentions_unknown(one.id):
            tell(
                f"{one.id} in {one.region} keeps its {one.volume_type} volume: EC2 cannot change it, "
                f"and [publish] volume = {settings.volume} holds for the next AMI"
            )
    return made


def _take_back(aws: Aws, settings: Publish, one: Ami, tell: Callable[[str], None]) -> None:
    """Take back what the settings no longer ask for; report where the policy does not allow it."""
    for call in sharing.taking_back(settings, one):
        try:
            aws.send(call)
        except AwsError as error:
            if error.code not in DENIED:
                raise
            tell(f"{one.id} in {one.region} stays as it was set before: the policy does not allow {call.operation}")
            return
