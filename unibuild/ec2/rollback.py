"""Back to an AMI that was published before, in AWS: ``unibuild ami rollback``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.aws import launch_records, tags
from unibuild.ec2 import account
from unibuild.ec2.instances import launching
from unibuild.errors import InputError
from unibuild.settings.loader import state_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.settings.loader import Project

__all__ = ["before", "rollback"]


def before(amis: Sequence[Ami], present: str | None) -> Ami:
    """Return the AMI to go back to: the newest that was verified and made before the present one.

    Args:
        amis: ours, in any order.
        present: the id of the AMI that runs; None: nothing runs, and any that was verified will do.

    Raises:
        InputError: there is none.
    """
    newest = sorted(amis, key=lambda one: (one.created, one.id), reverse=True)
    place = next((place for place, one in enumerate(newest) if one.id == present), -1)
    older = [one for one in newest[place + 1 :] if one.state == "available" and one.id != present]
    found = next((one for one in older if tags.VERIFIED in one.tags), None)
    if found is None:
        names = ", ".join(f"{one.id} ({one.name})" for one in older)
        hint = f"never verified, but there: {names}; `unibuild ami rollback AMI` takes it" if names else None
        raise InputError(f"there is no verified AMI before {present or 'now'}", hint=hint)
    return found


def rollback(project: Project, aws: Aws, word: str | None, *, show: bool) -> Ami:
    """Put an instance of an earlier AMI in the place of the one that runs; return the AMI.

    Args:
        project: the project.
        aws: the account, in the region where it runs; with a plan nothing is changed.
        word: the AMI's id or name; None: see ``before``.
        show: whether what the new instance says is printed.

    Raises:
        InputError: there is no such AMI.
        UnibuildError: see ``launch.Launch.run``.
    """
    region = aws.region
    amis = account.ours(aws, [region], account.unikernel(project))
    good = launch_records.load(state_dir(project.root), region).good
    chosen = account.find(amis, word)[0] if word else before(amis, good.ami if good else None)
    with launching(project, aws, region, show=show) as launch:
        launch.run(chosen, replace=True, terminate=False)
    return chosen
