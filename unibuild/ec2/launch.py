"""The goals ``launch_ami`` and ``redeploy``: a kernel is published, and its AMI becomes an instance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from unibuild.aws.dry_run import Plan
from unibuild.ec2.account import account
from unibuild.ec2.instances import launching
from unibuild.ec2.publish import publish

if TYPE_CHECKING:
    from unibuild.graph.graph import Graph

__all__ = ["launch_ami"]


def launch_ami(found: Graph, *, replace: bool, terminate: bool, planned: bool = False) -> None:
    """Publish a project's kernel, where it is not published, and launch its AMI.

    Args:
        found: the project's graph.
        replace: see ``Launch.run``.
        terminate: see ``Launch.run``.
        planned: change nothing; print the calls that would, in their order.

    Raises:
        UnibuildError: see ``publish.publish`` and ``Launch.run``.
    """
    ami = next(iter(publish(found, planned=planned).values()))
    plan = Plan() if planned else None
    aws = account(found.project, plan=plan)
    with launching(found.project, aws, ami.region) as launch:
        launch.run(ami, replace=replace, terminate=terminate)
    if plan is not None:
        print("\n".join(plan.lines()))
