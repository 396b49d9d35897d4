"""Launch templates, as far as they name AMIs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from emulator.errors import AwsError
from emulator.tagging import specified, tag_list

from . import EC2
from .choose import filtered, page

if TYPE_CHECKING:
    from emulator.request import Params
    from emulator.world import Region


@EC2.operation
def create_launch_template(region: Region, params: Params) -> Params:
    name = params["LaunchTemplateName"]
    if any(one["LaunchTemplateName"] == name for one in region.templates.values()):
        raise AwsError(
            "InvalidLaunchTemplateName.AlreadyExistsException", f"Launch template name {name} already in use."
        )
    made = region.new_id("lt")
    region.tags[made] = specified(params, "launch-template")["launch-template"]
    region.templates[made] = {
        "LaunchTemplateId": made,
        "LaunchTemplateName": name,
        "CreateTime": region.now,
        "Versions": [params["LaunchTemplateData"]],
        "Default": 1,
    }
    return {"LaunchTemplate": _view(region, region.templates[made])}


@EC2.operation
def create_launch_template_version(region: Region, params: Params) -> Params:
    one = _template(region, params)
    one["Versions"].append(params["LaunchTemplateData"])
    return {"LaunchTemplateVersion": _versions(one)[-1]}


@EC2.operation
def modify_launch_template(region: Region, params: Params) -> Params:
    one = _template(region, params)
    one["Default"] = int(params["DefaultVersion"])
    return {"LaunchTemplate": _view(region, one)}


def _view(region: Region, one: Params) -> Params:
    told = {key: one[key] for key in ("LaunchTemplateId", "LaunchTemplateName", "CreateTime")}
    numbers = {"DefaultVersionNumber": one["Default"], "LatestVersionNumber": len(one["Versions"])}
    return {**told, **numbers, "Tags": tag_list(region, one["LaunchTemplateId"])}


def _versions(one: Params) -> list[Params]:
    told = {key: one[key] for key in ("LaunchTemplateId", "LaunchTemplateName", "CreateTime")}
    return [
        {**told, "VersionNumber": number, "DefaultVersion": number == one["Default"], "LaunchTemplateData": _data(data)}
        for number, data in enumerate(one["Versions"], 1)
    ]


def _data(data: Params) -> Params:
    return {
        key: value
        for key, value in data.items()
        if key in ("ImageId", "InstanceType", "KeyName", "SecurityGroupIds", "UserData", "KernelId")
    }


def _template(region: Region, params: Params) -> Params:
    for one in region.templates.values():
        if (
            params.get("LaunchTemplateId", "") == one["LaunchTemplateId"]
            or params.get("LaunchTemplateName", "") == one["LaunchTemplateName"]
        ):
            return one
    raise AwsError("InvalidLaunchTemplateId.NotFound", "The specified launch template does not exist.")


@EC2.operation
def describe_launch_templates(region: Region, params: Params) -> Params:
    told = [_view(region, one) for one in region.templates.values()]
    wanted = [
        _template(region, {"LaunchTemplateId": one})["LaunchTemplateId"] for one in params.get("LaunchTemplateIds", [])
    ]
    told = [one for one in told if not wanted or one["LaunchTemplateId"] in wanted]
    names = {"launch-template-name": "LaunchTemplateName"}
    found, more = page(filtered(told, params.get("Filters"), names), params, "LaunchTemplateIds", low=1, high=200)
    return {"LaunchTemplates": found, **more}


@EC2.operation
def describe_launch_template_versions(region: Region, params: Params) -> Params:
    """List versions of a template; of all templates, only by ``$Latest`` and ``$Default``."""
    wanted = params.get("Versions", [])
    if "LaunchTemplateId" in params or "LaunchTemplateName" in params:
        templates = [_template(region, params)]
    elif wanted and set(wanted) <= {"$Latest", "$Default"}:
        templates = list(region.templates.values())
    else:
        raise AwsError(
            "MissingParameter",
            "You must specify either the launch template ID or name, or the versions $Latest or $Default.",
        )
    told = [one for template in templates for one in _versions(template) if not wanted or _named(template, one, wanted)]
    names = {"image-id": lambda one: one["LaunchTemplateData"].get("ImageId")}
    found, more = page(filtered(told, params.get("Filters"), names), params, "", low=1, high=200)
    return {"LaunchTemplateVersions": found, **more}


def _named(template: Params, version: Params, wanted: list[str]) -> bool:
    numbers = {"$Latest": len(template["Versions"]), "$Default": template["Default"]}
    return any(
        version["VersionNumber"] == numbers.get(one, one if one in numbers else int(one) if one.isdigit() else 0)
        for one in wanted
    )
