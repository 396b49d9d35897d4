"""The project's AWS account: its session, its regions, and the names of its AMIs."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from unibuild.aws import inventory
from unibuild.aws.client import Aws
from unibuild.errors import InputError
from unibuild.util.progress import note

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.aws.dry_run import CallPlan
    from unibuild.aws.inventory import Ami
    from unibuild.settings.ami import Publish
    from unibuild.settings.loader import Project

__all__ = ["find_amis", "list_amis", "open_account", "regions", "unikernel_name"]


def open_account(publish: Publish, region: str | None = None, plan: CallPlan | None = None) -> Aws:
    """Return the account that the project's settings and boto3's credential chain give; no call is made yet.

    Args:
        publish: the settings ``[publish]``.
        region: overrides the region in the settings.
        plan: records the calls that would change something, instead of making them.
    """
    return Aws(publish.profile, region or publish.region, plan=plan, notify=note)


def unikernel_name(project: Project) -> str:
    """Return the value of unibuild's tag: the kernel's name."""
    return project.settings.name or project.root.name or "kernel"


def regions(publish: Publish, aws: Aws, asked: Sequence[str] = ()) -> list[str]:
    """Return the regions that were asked for, or all in the settings, with the one where AMIs are published first.

    Raises:
        AwsError: no region is set.
    """
    return list(dict.fromkeys(asked or (aws.region, *publish.regions)))


def list_amis(aws: Aws, regions: Sequence[str], name: str | None) -> list[Ami]:
    """Return the AMIs with unibuild's tag in these regions, the newest first within each.

    Args:
        aws: the account.
        regions: the regions.
        name: the unikernel's name; None: all unikernels.

    Raises:
        AwsError: AWS refused.
    """
    found = []
    for region in regions:
        there = [one for one in inventory.list_amis(aws, region) if name in (None, one.unikernel)]
        found += sorted(there, key=lambda one: (one.created, one.id), reverse=True)
    return found


def find_amis(amis: Sequence[Ami], word: str) -> list[Ami]:
    """Return the AMIs of this id or name: one, or one in each region.

    Raises:
        InputError: no AMI of the project has this id or name.
    """
    found = [one for one in amis if word in (one.id, one.name)]
    if found:
        return found
    close = difflib.get_close_matches(word, [text for one in amis for text in (one.id, one.name)], 1)
    hint = f"did you mean {close[0]}?" if close else "run `unibuild ami list --all`"
    raise InputError(f"no AMI of the project has this id or name: {word}", hint=hint)
