"""``publish_ami``: the project's kernel as an AMI: seen to boot, sent as far as it changed, registered once."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal

import msgspec

from unibuild.aws import publish as ami
from unibuild.aws import sharing, steps
from unibuild.aws.dry_run import Plan, mentions_unknown
from unibuild.aws.inventory import ami as described
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.snapshot.journal import Journal
from unibuild.aws.snapshot.upload import DEFAULT_KEY
from unibuild.aws.xen_support import check_kind
from unibuild.ec2.account import account, unikernel
from unibuild.errors import SettingsError
from unibuild.graph import disk_image as images
from unibuild.graph.provenance import facts
from unibuild.settings.loader import state_dir
from unibuild.testing.image_verification import verify
from unibuild.util import files
from unibuild.util.progress import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.graph.graph import Graph
    from unibuild.image.disk import Image
    from unibuild.settings.ami import Publish
    from unibuild.settings.loader import Project

__all__ = ["publish", "wanted"]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9()\[\] ./'@_-]")  # of an AMI
_LENGTHS = (3, 128)
_LONGEST = 255  # characters of a description


def publish(found: Graph, *, planned: bool = False, via: Literal["ebs", "s3"] | None = None) -> dict[str, Ami]:
    """Make the AMI of a project whose kernel is built, with its copies, as ``[publish]`` says; tell what was done.

    What is there already is not sent again: with nothing changed it is one call. Changed tags, description, sharing,
    deprecation and protection are applied to it.

    Args:
        found: the project's graph.
        planned: change nothing; print the calls that would, in their order.
        via: goes before ``[publish] via``.

    Returns:
        The AMIs by their regions, that of ``[publish] region`` first.

    Raises:
        InputError: the kernel is not one that such an AMI can start.
        SettingsError: a setting of ``[publish]`` cannot be.
        NotReadyError: the image does not boot in the lab.
        AwsError: AWS refused, or a fault did not pass.
    """
    if via is not None:
        found = found._replace(project=_going(found.project, via))
    settings = found.project.settings.publish
    sharing.check(settings)
    image = images.plan(found)
    check_kind(image.kind, settings.virtualization)
    plan = Plan() if planned else None
    aws = account(found.project, plan=plan)
    asked = wanted(found, image)
    state = state_dir(found.project.root)
    with files.lock(state / "aws.lock", f"the AMI of {found.project.root}"):
        made = _make(aws, found, image, asked, Journal(state, writing=not planned))
        with shown() as tell:
            result = steps.finish(
                aws,
                settings,
                made.region,
                made.image,
                lambda what: tell(what, None),
                description=asked.description if settings.description else None,
                known=None if mentions_unknown(made.image) else described(made.region, made.described),
            )
    if plan is not None:
        print("\n".join(plan.lines()) or f"{made.name} is {made.image} in {made.region} already: nothing would be sent")
    else:
        print(_told(made))
    return result


def wanted(found: Graph, image: Image) -> ami.Wanted:
    """Return the AMI of an image as the settings want it.

    Raises:
        SettingsError: its name or description cannot be made.
    """
    project = found.project
    settings = project.settings.publish
    known = facts(project, found.toolchain)
    key = _key(settings)
    about = ami.About(
        unikernel=unikernel(project),
        identity=ami.identity(image.digest, key),
        revision=known.get("revision", ""),
        toolchain=known.get("toolchain", ""),
    )
    values = {"name": about.unikernel, "hash": about.identity[:12], "revision": about.revision}
    name = _NOT_IN_A_NAME.sub("-", _filled("name", settings.name, values))
    if not _LENGTHS[0] <= len(name) <= _LENGTHS[1]:
        raise SettingsError(f"[publish] name makes {name!r}, and an AMI's name has 3 to 128 characters")
    described = settings.description or ("{name} {revision}" if about.revision else "{name}")
    return ami.Wanted(
        name=name,
        description=_filled("description", described, values)[:_LONGEST],
        virtualization=settings.virtualization,
        volume_type=settings.volume,
        encryption=key,
        about=about,
        tags=settings.tags,
        instance_type=project.settings.launch.type,
        bucket=_bucket(settings),
        role=settings.role,
        share=settings.share,
        regions=settings.regions,
    )


def _make(aws: Aws, found: Graph, image: Image, asked: ami.Wanted, journal: Journal) -> ami.Published:
    with shown() as tell:
        tell("look for the AMI", None)
        there = ami.find(aws, asked, journal)
        if there is not None:
            return there
        tell("look what the region can run", None)
        known = ami.look(aws, asked)
    if found.project.settings.publish.verify == "lab" and aws.plan is None:
        verify(found, image)
    with shown() as tell:
        return ami.make(aws, image, asked, known, journal, tell)


def _going(project: Project, via: Literal["ebs", "s3"]) -> Project:
    settings = msgspec.structs.replace(project.settings.publish, via=via)
    return dataclasses.replace(project, settings=msgspec.structs.replace(project.settings, publish=settings))


def _bucket(settings: Publish) -> str | None:
    """Return the bucket that the image goes through; None: it goes through none."""
    if settings.via == "s3" and not settings.bucket:
        raise SettingsError('[publish] via = "s3" needs a bucket', hint="[publish] bucket: one of the AMI's region")
    return settings.bucket if settings.via == "s3" else None


def _key(settings: Publish) -> str:
    """Return what the snapshot is encrypted with, as ``Wanted`` has it."""
    if settings.kms_key is None:
        return DEFAULT_KEY if settings.encrypt else ""
    if settings.via == "ebs" and not settings.kms_key.startswith("arn:"):
        raise SettingsError(
            f"[publish] kms_key is {settings.kms_key}, and the EBS direct API takes a key's ARN only",
            hint="`aws kms describe-key --key-id ...` tells it: arn:aws:kms:...:key/...",
        )
    return settings.kms_key


def _filled(key: str, template: str, values: Mapping[str, str]) -> str:
    unknown = [name for name in re.findall(r"\{(\w*)\}", template) if name not in values]
    if unknown:
        known = ", ".join(f"`{{{name}}}`" for name in values)
        raise SettingsError(f"[publish] {key} has `{{{unknown[0]}}}`, which stands for nothing", hint=f"known: {known}")
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)


def _told(made: ami.Published) -> str:
    where = f"{made.name} is {made.image} in {made.region}"
    if not made.is_new:
        return f"{where} already: nothing was sent"
    sent = f"{made.puts} block{'' if made.puts == 1 else 's'} ({made.puts * BLOCK / 2**20:.1f} MiB) sent"
    return f"{where}: {sent}" + (f", the rest is that of {made.parent}" if made.parent else "")
