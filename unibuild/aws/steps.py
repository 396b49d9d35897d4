"""What is done with an AMI once it is registered: copies, sharing, deprecation and protection, as the settings say."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from unibuild.aws import copies, sharing
from unibuild.aws.plan import mentions_unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.settings.publish import Publish

__all__ = ["finish", "needed"]


def needed(settings: Publish) -> bool:
    """Say whether the settings ask for more than the AMI itself."""
    return bool(settings.regions or settings.share or settings.deprecate_after or settings.protect)


def finish(aws: Aws, settings: Publish, region: str, image: str, tell: Callable[[str], None]) -> dict[str, Ami]:
    """Copy an AMI to the other regions, then share, deprecate and protect all of them.

    Each step may be done again: what is so already is left as it is.

    Args:
        aws: the account.
        settings: ``[publish]``; ``sharing.check`` has passed.
        region: where the AMI is.
        image: its id; it may still be pending.
        tell: is given a sentence for each step.

    Returns:
        The AMIs by their regions, that of ``region`` first.

    Raises:
        AwsError: AWS refused; what is done is done, and the next run goes on.
    """
    source = copies.wait_until_available(aws, region, image)
    if mentions_unknown(image):
        source = dataclasses.replace(source, virtualization=settings.virtualization)
    made = {region: source, **copies.copy_all(aws, settings, source, tell)}
    now = datetime.now(UTC)
    for one in made.values():
        for call in sharing.finishing(settings, one, now):
            aws.send(call)
    return made
