"""The command `unibuild ami`: manage the AMIs and instances that unibuild made in AWS."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from unibuild.aws import garbage_collection, inventory, render
from unibuild.aws.errors import DENIED
from unibuild.aws.retry import READ_POLICY
from unibuild.ec2 import account
from unibuild.errors import AwsError, InputError
from unibuild.settings.deprecated import current_word
from unibuild.settings.loader import Project, load
from unibuild.util.output import table
from unibuild.util.progress import note

if TYPE_CHECKING:
    from collections.abc import Mapping

    from unibuild.aws.client import Aws
    from unibuild.aws.garbage_collection import RemovalPlan
    from unibuild.aws.inventory import Ami, Inventory

__all__ = ["main"]


@dataclasses.dataclass(frozen=True)
class _Asked:
    """A command line with its project and AWS account."""

    words: argparse.Namespace
    project: Project
    aws: Aws

    @property
    def reading(self) -> Aws:
        """The account for calls that only read, which time out early."""
        return self.aws.like(retries=READ_POLICY)

    @property
    def regions(self) -> list[str]:
        return account.regions(self.project.settings.publish, self.aws, self.words.region)

    @property
    def unikernel(self) -> str | None:
        return None if self.words.all else account.unikernel_name(self.project)

    @property
    def amis(self) -> list[Ami]:
        return account.list_amis(self.reading, self.regions, self.unikernel)


def main(argv: list[str]) -> int:
    """Run ``unibuild ami`` with these arguments; return its exit status.

    Raises:
        InputError: the AMI does not exist.
        AwsError: AWS refused a call, or cannot be reached.
        SettingsError: a setting is wrong.
    """
    parser, verbs = _parsers()
    if argv and argv[0] == "end":
        argv = [current_word("ami end").removeprefix("ami "), *argv[1:]]
    words = verbs[argv[0]].parse_intermixed_args(argv[1:]) if argv and argv[0] in verbs else parser.parse_args(argv)
    overrides = dict(word.split("=", 1) for word in words.words if "=" in word)
    words.words = [word for word in words.words if "=" not in word]
    least, most = words.takes
    if not least <= len(words.words) <= most:
        raise InputError(f"`unibuild ami {words.verb}` takes {_count(least, most)}, given: {len(words.words)}")
    project = load(Path.cwd(), overrides, required=False)
    return int(words.act(_Asked(words, project, account.open_account(project.settings.publish))))


def _parsers() -> tuple[argparse.ArgumentParser, Mapping[str, argparse.ArgumentParser]]:
    """Return the parser of the command and those of its verbs, which accept options between the words."""
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--region", action="append", default=[], metavar="REGION", help="use this region, not those in the settings"
    )
    shared.add_argument("--all", action="store_true", help="AMIs of every unikernel, not only of this project's")
    shared.add_argument("--json", action="store_true", help="print one JSON object")
    shared.add_argument("words", nargs="*", metavar="AMI | KEY=VALUE", help="ids or names, and settings for this run")
    changing = argparse.ArgumentParser(add_help=False)
    changing.add_argument("--plan", action="store_true", help="print the calls that would be made, and make none")
    changing.add_argument("--yes", action="store_true", help="do not ask before removing something")
    parser = argparse.ArgumentParser(
        prog="unibuild ami",
        description="Manage the AMIs that unibuild made in AWS. Only what carries unibuild's tag is touched.",
    )
    verbs = parser.add_subparsers(required=True, metavar="list | show | diff | gc | rm | rollback | terminate")
    many = sys.maxsize

    def verb(name: str, act: object, takes: tuple[int, int], text: str, *parents: argparse.ArgumentParser) -> None:
        found = verbs.add_parser(name, help=text, description=text, parents=[shared, *parents])
        found.set_defaults(verb=name, act=act, takes=takes)

    verb("list", _list, (0, 0), "print a table of the AMIs")
    verb("show", _show, (1, 1), "print everything about an AMI, and what uses it")
    verb("diff", _diff, (2, 2), "compare the blocks and tags of two AMIs")
    verb("gc", _gc, (0, 0), "remove old AMIs, and snapshots that no AMI uses", changing)
    verb("rm", _rm, (1, many), "remove AMIs and their snapshots", changing)
    verb("rollback", _rollback, (0, 1), "replace the running instance with one of an earlier AMI", changing)
    verb("terminate", _terminate, (0, 0), "terminate the instance that this project launched", changing)
    gc, rm = verbs.choices["gc"], verbs.choices["rm"]
    gc.add_argument("--keep", type=_at_least_one, default=3, metavar="N", help="keep the newest N publishes (3)")
    gc.add_argument(
        "--orphans",
        type=float,
        default=24.0,
        metavar="HOURS",
        help="remove snapshots without an AMI that are older (24)",
    )
    gc.add_argument(
        "--launched",
        type=float,
        default=30.0,
        metavar="DAYS",
        help="keep shared AMIs that any account launched within these days (30)",
    )
    rm.add_argument("--force", action="store_true", help="also remove AMIs that are in use")
    rm.add_argument(
        "--unprotect",
        action="store_true",
        help="also remove protected AMIs: turn off the protection first; with a cooldown, run rm again 24 hours later",
    )
    return parser, verbs.choices


def _list(asked: _Asked) -> int:
    amis = asked.amis
    users = {region: _users(asked.reading, region) for region in {one.region for one in amis}}
    rows = [(one, None if (used := users[one.region]) is None else used.get(one.id, ())) for one in amis]
    if asked.words.json:
        objects = [{**render.ami_object(one), "used_by": used} for one, used in rows]
        _print({"version": render.VERSION, "amis": objects})
    elif amis:
        print("\n".join(table(render.TABLE_HEAD, [render.table_row(one, used) for one, used in rows])))
    else:
        print(f"no AMI of this project is in {', '.join(asked.regions)}; run `unibuild publish_ami` to publish one")
    return 0


def _users(aws: Aws, region: str) -> Mapping[str, tuple[str, ...]] | None:
    """Return what uses each AMI, by AMI id; None if the policy forbids the calls: the table is useful anyway."""
    try:
        return inventory.list_users(aws, region)
    except AwsError as error:
        if error.code in DENIED:
            return None
        raise


def _show(asked: _Asked) -> int:
    found = account.find_amis(asked.amis, asked.words.words[0])
    users = {region: inventory.list_users(asked.reading, region) for region in {one.region for one in found}}
    rows = []
    for one in found:
        more = inventory.list_references(asked.reading, one.region, [one.id]) or {}
        rows.append((one, (*users[one.region].get(one.id, ()), *more.get(one.id, ()))))
    if asked.words.json:
        _print({"version": render.VERSION, "amis": [render.ami_object(one, used) for one, used in rows]})
    else:
        print("\n".join(line for one, used in rows for line in render.detail_lines(one, used)))
    return 0


def _diff(asked: _Asked) -> int:
    """Compare two AMIs; the exit status is 0 even if they differ."""
    from unibuild.aws.snapshot.comparison import compare_amis
    from unibuild.image.disk import BLOCK

    amis = asked.amis
    first, second = (account.find_amis(amis, word)[0] for word in asked.words.words)
    blocks, found = compare_amis(asked.reading, first, second)
    if asked.words.json:
        rows = [dataclasses.asdict(one) for one in found]
        of = {"first": render.ami_object(first), "second": render.ami_object(second)}
        _print({"version": render.VERSION, **of, "block_size": BLOCK, "blocks": blocks, "differences": rows})
    else:
        print("\n".join(render.difference_lines(first, second, blocks, found, BLOCK)))
    return 0


def _gc(asked: _Asked) -> int:
    words, now = asked.words, datetime.now(UTC)
    removals = [
        garbage_collection.plan_collection(
            _inventory(asked, region),
            asked.unikernel,
            words.keep,
            now,
            timedelta(hours=words.orphans),
            launched=timedelta(days=words.launched),
            is_sharing=bool(asked.project.settings.publish.share),
        )
        for region in asked.regions
    ]
    return _remove(asked, garbage_collection.merge_plans(removals))


def _inventory(asked: _Asked, region: str) -> Inventory:
    found = inventory.take_inventory(asked.reading, region)
    if not found.are_references_known:
        note(
            f"{region}: Systems Manager parameters and Image Builder recipes are not known as users of AMIs: "
            "the policy does not allow ec2:DescribeImageReferences and what it reads"
        )
    return found


def _rm(asked: _Asked) -> int:
    amis = asked.amis
    found = list(
        {(one.region, one.id): one for word in asked.words.words for one in account.find_amis(amis, word)}.values()
    )
    removals = []
    for region in dict.fromkeys(one.region for one in found):
        there = [one for one in found if one.region == region]
        removals.append(
            garbage_collection.plan_removal(
                _inventory(asked, region), there, force=asked.words.force, unprotect=asked.words.unprotect
            )
        )
    removal = garbage_collection.merge_plans(removals)
    staying = [one for one in removal.kept if not one.later]
    if staying and not asked.words.plan:
        refused = "\n".join(f"{one.ami.id} {one.ami.name}: {one.why}" for one in staying)
        raise InputError(
            f"not all of that can be removed, so nothing is:\n{refused}", hint="see --force and --unprotect"
        )
    return _remove(asked, removal)


def _remove(asked: _Asked, removal: RemovalPlan) -> int:
    """Print the plan, ask for confirmation, and carry it out.

    Raises:
        AwsError: something could not be removed; everything else was.
    """
    from unibuild.aws.garbage_collection import execute

    words = asked.words
    if not words.json:
        for one in removal.kept:
            print(f"stays  {one.ami.id} {one.ami.name} in {one.ami.region}: {one.why}")
        for step in removal.steps:
            print(f"{'would go' if words.plan else 'goes'}  {step.call}  ({step.why})")
        if not removal.steps:
            print("nothing is to be removed")
    planned = words.plan or not removal.steps or not _confirmed(words, f"Make these {len(removal.steps)} calls?")
    errors = {} if planned else execute(asked.aws, removal)
    if words.json:
        failures = {number: error.message for number, error in errors.items()}
        _print(render.removal_object(removal, failures, planned=planned))
    if errors:
        first, *others = errors.values()
        for other in others:
            first.add(other.message)
        raise first
    return 0


def _rollback(asked: _Asked) -> int:
    from unibuild.aws.dry_run import CallPlan
    from unibuild.ec2.launch import rollback

    words = asked.words
    region = words.region[0] if words.region else asked.aws.region
    plan = CallPlan() if words.plan else None
    aws = account.open_account(asked.project.settings.publish, region, plan)
    booted = rollback(asked.project, aws, words.words[0] if words.words else None, show=not words.json)
    if plan is not None:
        if words.json:
            calls = [dataclasses.asdict(call) for call in plan.calls]
            _print({"version": render.VERSION, "planned": True, "ami": render.ami_object(booted), "calls": calls})
        else:
            print("\n".join(plan.lines()))
    elif words.json:
        _print({"version": render.VERSION, "planned": False, "ami": render.ami_object(booted), "calls": []})
    return 0


def _terminate(asked: _Asked) -> int:
    from unibuild.aws.dry_run import CallPlan
    from unibuild.ec2.launch import locked_launch

    words = asked.words
    regions = account.regions(asked.project.settings.publish, asked.aws, words.region)
    plan = CallPlan() if words.plan else None
    terminated: list[str] = []
    if plan is None and not _confirmed(words, "Terminate the instance of this project?"):
        return 0
    for region in regions:
        aws = account.open_account(asked.project.settings.publish, region, plan)
        with locked_launch(asked.project, aws, region, show=False) as launch:
            terminated += launch.terminate_all()
    if words.json:
        _print({"version": render.VERSION, "planned": words.plan, "terminated": terminated})
    elif plan is not None:
        print("\n".join(plan.lines()) or "no instance of this project runs")
    else:
        print(f"terminated {', '.join(terminated)}" if terminated else "no instance of this project runs")
    return 0


def _confirmed(words: argparse.Namespace, question: str) -> bool:
    """Return whether the user confirms; only a terminal is asked."""
    if words.yes or words.json or not sys.stdin.isatty():
        return True
    is_wanted = input(f"{question} [y/N] ").strip().lower() in ("y", "yes")
    if not is_wanted:
        print("nothing is done")
    return is_wanted


def _at_least_one(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be at least 1")
    return number


def _count(least: int, most: int) -> str:
    if least == most:
        return ("no AMI", "one AMI", "two AMIs")[least]
    return "one AMI at most" if least == 0 else "one AMI or more"


def _print(told: object) -> None:
    print(json.dumps(told, indent=2, default=str))
