"""The goal ``publish_ami``: verify the project's image, upload what changed, and register it as an AMI."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING

import msgspec

from unibuild.aws import distribution
from unibuild.aws import publish as ami
from unibuild.aws.dry_run import CallPlan, mentions_unknown
from unibuild.aws.inventory import parse_ami as described
from unibuild.aws.snapshot import publisher
from unibuild.aws.snapshot.blocks import BLOCK
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.aws.snapshot.publisher import DEFAULT_KEY
from unibuild.aws.xen_support import check_kind
from unibuild.ec2.account import open_account, unikernel_name
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
    from unibuild.image.disk import DiskImage
    from unibuild.settings.ami import Publish, Via
    from unibuild.settings.loader import Project

__all__ = ["ami_spec", "publish"]

_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9()\[\] ./'@_-]")  # of an AMI
_LENGTHS = (3, 128)
_LONGEST = 255  # characters of a description


def publish(found: Graph, *, planned: bool = False, via: Via | None = None) -> dict[str, Ami]:
    """Publish the AMI of a project with a built kernel, and its copies, as ``[publish]`` says; print what was done.

    What exists already is not sent again: if nothing changed it is one call. Changed tags, description, sharing,
    deprecation and protection are applied.

    Args:
        found: the project's graph.
        planned: change nothing, and print the calls that would, in their order.
        via: overrides ``[publish] via``.

    Returns:
        The AMIs by region, that of ``[publish] region`` first.

    Raises:
        InputError: such an AMI cannot start the kernel.
        SettingsError: a setting of ``[publish]`` is not possible.
        NotReadyError: the image does not boot in the lab.
        AwsError: AWS refused, or a fault did not pass.
    """
    if via is not None:
        found = found._replace(project=_with_via(found.project, via))
    settings = found.project.settings.publish
    distribution.check_sharing(settings)
    image = images.plan(found)
    check_kind(image.kind, settings.virtualization)
    plan = CallPlan() if planned else None
    aws = open_account(found.project.settings.publish, plan=plan)
    asked = ami_spec(found, image)
    state = state_dir(found.project.root)
    with files.lock(state / "aws.lock", f"the AMI of {found.project.root}"):
        made = _make(aws, found, image, asked, UploadJournal(state, writing=not planned))
        with shown() as progress:
            result = distribution.distribute(
                aws,
                settings,
                made.region,
                made.image,
                lambda what: progress(what, None),
                description=asked.description if settings.description else None,
                known=None if mentions_unknown(made.image) else described(made.region, made.described),
            )
    if plan is not None:
        print("\n".join(plan.lines()) or f"{made.name} is already {made.image} in {made.region}: nothing would be sent")
    else:
        print(_summary(made))
    return result


def ami_spec(found: Graph, image: DiskImage) -> ami.AmiSpec:
    """Return the AMI of an image as the settings define it.

    Raises:
        SettingsError: its name or description is not possible.
    """
    project = found.project
    settings = project.settings.publish
    publisher.find(settings.via).check_settings(settings)
    known = facts(project.root, project.settings, found.toolchain)
    key = _encryption(settings)
    about = ami.KernelInfo(
        unikernel=unikernel_name(project),
        identity=ami.identity(image.digest, key),
        revision=known.get("revision", ""),
        toolchain=known.get("toolchain", ""),
    )
    values = {"name": about.unikernel, "hash": about.identity[:12], "revision": about.revision}
    name = _NOT_IN_A_NAME.sub("-", _fill_in("name", settings.name, values))
    if not _LENGTHS[0] <= len(name) <= _LENGTHS[1]:
        raise SettingsError(f"[publish] name gives {name!r}, but an AMI's name has 3 to 128 characters")
    described = settings.description or ("{name} {revision}" if about.revision else "{name}")
    return ami.AmiSpec(
        name=name,
        description=_fill_in("description", described, values)[:_LONGEST],
        virtualization=settings.virtualization,
        volume_type=settings.volume,
        encryption=key,
        about=about,
        tags=settings.tags,
        instance_type=project.settings.launch.type,
        via=settings.via,
        bucket=settings.bucket,
        role=settings.role,
        share=settings.share,
        regions=settings.regions,
    )


def _make(aws: Aws, found: Graph, image: DiskImage, asked: ami.AmiSpec, journal: UploadJournal) -> ami.Published:
    with shown() as progress:
        progress("look for the AMI", None)
        there = ami.find_published(aws, asked, journal)
        if there is not None:
            return there
        progress("check what the region can run", None)
        known = ami.check_prerequisites(aws, asked)
    if found.project.settings.publish.verify == "lab" and aws.plan is None:
        verify(found, image)
    with shown() as progress:
        return ami.create(aws, image, asked, known, journal, progress)


def _with_via(project: Project, via: Via) -> Project:
    settings = msgspec.structs.replace(project.settings.publish, via=via)
    return dataclasses.replace(project, settings=msgspec.structs.replace(project.settings, publish=settings))


def _encryption(settings: Publish) -> str:
    """Return the key that encrypts the snapshot, in the form of ``AmiSpec.encryption``."""
    return settings.kms_key or (DEFAULT_KEY if settings.encrypt else "")


def _fill_in(key: str, template: str, values: Mapping[str, str]) -> str:
    unknown = [name for name in re.findall(r"\{(\w*)\}", template) if name not in values]
    if unknown:
        known = ", ".join(f"`{{{name}}}`" for name in values)
        raise SettingsError(
            f"[publish] {key} has `{{{unknown[0]}}}`, which is not a placeholder", hint=f"known: {known}"
        )
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)


def _summary(made: ami.Published) -> str:
    where = f"{made.name} is {made.image} in {made.region}"
    if not made.is_new:
        return f"{where} already: nothing was sent"
    sent = f"{made.puts} block{'' if made.puts == 1 else 's'} ({made.puts * BLOCK / 2**20:.1f} MiB) sent"
    return f"{where}: {sent}" + (f", the rest is from {made.parent}" if made.parent else "")
