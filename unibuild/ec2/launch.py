"""The goals ``launch_ami`` and ``redeploy``: publish a kernel, and launch its AMI as an instance."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from unibuild.aws import tags, xen_support
from unibuild.aws.dry_run import CallPlan
from unibuild.aws.launch import instance, network, records
from unibuild.deploy.console_output import ConsoleOutput
from unibuild.domain.console_log import Log, log_path
from unibuild.ec2 import account, readiness
from unibuild.ec2.account import open_account, unikernel_name
from unibuild.ec2.publish import publish
from unibuild.ec2.readiness import InstanceConsole
from unibuild.errors import AwsError, DomainError, InputError, NotReadyError
from unibuild.settings.loader import state_dir
from unibuild.util import files

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from unibuild.aws.client import Aws
    from unibuild.aws.inventory import Ami
    from unibuild.aws.launch.instance import Instance
    from unibuild.aws.launch.records import LaunchRecord, RegionLaunches
    from unibuild.graph.graph import Graph
    from unibuild.settings.loader import Project

__all__ = ["InstanceLaunch", "launch_ami", "locked_launch", "previous_verified", "rollback"]

_UNSEEN = 15.0  # seconds for which EC2 may not find a new instance by its token or its id
_ENDS = 120.0  # seconds for an instance to terminate and release its security group
_ADDRESS = 60.0  # seconds for the Elastic IP to lead to the new instance


@dataclass
class InstanceLaunch:
    """The instances of a project in a region, while this run holds their lock.

    Attributes:
        project: the project.
        aws: the account; with a plan nothing is changed, awaited or recorded.
        region: the region.
        record: the recorded launches.
        screen: prints messages.
        state: the project's state folder.
        show: whether an instance's console is printed.
    """

    project: Project
    aws: Aws
    region: str
    record: RegionLaunches
    screen: ConsoleOutput
    state: Path
    show: bool = True

    def run(self, ami: Ami, *, replace: bool, terminate: bool) -> None:
        """Launch an AMI, check that its instance is ready, and replace the previous instance.

        Args:
            ami: the AMI.
            replace: terminate the previous instance once the new one is ready; otherwise there must be none.
            terminate: only try the AMI: terminate the new instance once it was ready, and keep the previous one.

        Raises:
            NotReadyError: it was not ready; the hint names what runs now.
            DomainError: an instance runs already.
            AwsError: AWS refused.
            FileError: the user data cannot be read.
        """
        self._terminate_replaced()
        old = self._alive(self.record.good)
        asked = self._asked(ami)
        digest = instance.digest(asked)
        if self.record.good and old and not terminate:
            if self.record.good.asked == digest:
                if given := self.project.settings.launch.elastic_ip:
                    old = dataclasses.replace(old, public=network.move_address(self.aws, self.region, given, old.id))
                self.screen.say(f"{old.id} already runs {ami.name}{_address_suffix(old)}")
                return
            if not replace:
                raise DomainError(
                    f"{old.id} of this project runs in {self.region}, from {old.ami}",
                    hint="run `unibuild redeploy` to replace it, or `unibuild launch_ami --terminate` to only try the "
                    "AMI",
                )
        if records.next_step(self.record, digest) == "abandon":
            self._abandon()
        found = self._start(ami, asked, digest)
        with self._console(found) as console, self._terminate_on_failure():
            self._check_ready(console, found, ami, old)
            if self.project.settings.launch.elastic_ip and not terminate:
                found = self._move_address(console, found, old)
        self._accept(found, ami, terminate=terminate)

    def terminate_all(self) -> list[str]:
        """Terminate all instances of the project in the region; return the ids of those that ran.

        Raises:
            AwsError: AWS refused.
        """
        self._terminate_replaced()
        self._abandon()
        found = self._alive(self.record.good)
        if found is not None:
            instance.terminate(self.aws, self.region, [found.id])
            self._save(self.record.ended(found.id))
        self._remove_group(_ENDS)
        return [found.id] if found else []

    def _remove_group(self, seconds: float) -> None:
        """Remove the security group that unibuild created, unless something else uses it."""
        settings = self.project.settings.launch
        if settings.security_group or not settings.open:
            return
        try:
            group = network.remove_security_group(self.aws, self.region, unikernel_name(self.project), seconds)
        except AwsError as error:
            if seconds:
                self.screen.say(f"kept the security group of {unikernel_name(self.project)}: {error.message}")
        else:
            if group and self.aws.plan is None:
                self.screen.say(f"removed the security group {group}")

    def _asked(self, ami: Ami) -> dict[str, Any]:
        settings = self.project.settings.launch
        name = unikernel_name(self.project)
        groups = network.security_group(self.aws, settings, self.region, name)
        data = None
        if settings.user_data:
            path = self.project.root / settings.user_data
            with files.reading(path):
                data = path.read_bytes()
        virtualization: xen_support.Virtualization = "hvm" if ami.virtualization == "hvm" else "paravirtual"
        kind = settings.type or xen_support.smallest_offered(self.aws.client("ec2", self.region), virtualization)
        return instance.launch_parameters(settings, ami, kind, name, groups, data)

    def _start(self, ami: Ami, asked: dict[str, Any], digest: str) -> Instance:
        """Return a running instance: a new one, or the one of an interrupted launch."""
        for _ in range(2):
            pending = self.record.pending or records.LaunchRecord(uuid.uuid4().hex, ami.id, digest, _now())
            self._save(self.record.begin(pending))
            try:
                name = instance.start(self.aws, self.region, asked, pending.token)
                break
            except AwsError as error:
                if error.passing:  # it may have succeeded: the next run finds out
                    error.add("run again: unibuild uses or terminates an instance that was started")
                    raise
                self._save(self.record.reject())
                if (
                    error.code != "IdempotentInstanceTerminated"
                ):  # the interrupted launch's instance was terminated meanwhile
                    self._remove_group(0.0)
                    raise
            except BaseException:  # Ctrl-C
                self._abandon()
                raise
        else:
            raise AwsError(f"an instance of {ami.id} terminates as soon as it is created", hint="check EC2's console")
        self._save(self.record.begin(dataclasses.replace(pending, id=name)))
        self.screen.say(f"starting {name} from {ami.name} ({ami.id}) in {self.region}")
        with self._terminate_on_failure():
            return self._wait_running(name)

    def _wait_running(self, name: str) -> Instance:
        if self.aws.plan is not None:
            return instance.Instance(name, "running", "", "<PublicIpAddress>", "<PrivateIpAddress>")

        def running() -> Instance | None:
            found = instance.describe(self.aws, self.region, name)
            if found and not found.is_alive:
                raise NotReadyError(f"{name} did not start: it is {found.state}: {found.reason or 'no reason given'}")
            return found if found and found.state == "running" else None

        found = self.aws.poll(running, self.project.settings.launch.timeout)
        if found is None:
            raise NotReadyError(f"{name} did not start within [launch] timeout")
        return found

    def _check_ready(self, console: InstanceConsole, found: Instance, ami: Ami, old: Instance | None) -> None:
        """Check that the instance is ready, and tag it and its AMI."""
        settings = self.project.settings
        if self.aws.plan is None:
            if settings.boot.ready.xenstore:
                self.screen.say("[boot.ready] xenstore is not checked: EC2's XenStore is out of reach")
            if not readiness.has_checks(settings):
                self.screen.say(f"{found.id} runs; [boot.ready] has no check for it")
                return
            who, timeout = f"{found.id} of {ami.name}", settings.launch.timeout
            why = readiness.check_ready(settings, console, found, timeout, who=who, old=old)
            self.screen.say(f"{found.id} {why}")
        marks = tags.write({tags.VERIFIED: _now()})
        client = self.aws.client("ec2", self.region)
        client.call("CreateTags", appears=instance.APPEARS, Resources=[ami.id, found.id], Tags=marks)

    def _move_address(self, console: InstanceConsole, found: Instance, old: Instance | None) -> Instance:
        """Move the Elastic IP to the new instance, and check it there again; return it with its new address."""
        given = self.project.settings.launch.elastic_ip
        assert given is not None
        address = network.move_address(self.aws, self.region, given, found.id)
        self.screen.say(f"{address} leads to {found.id}")
        ready = self.project.settings.boot.ready
        found = dataclasses.replace(found, public=address)
        if self.aws.plan is not None or not (ready.tcp or ready.http):
            return found
        who = f"{found.id}, at {readiness.address(self.project.settings, found)},"
        readiness.check_ready(self.project.settings, console, found, _ADDRESS, who=who, old=old, with_console=False)
        return found

    def _accept(self, found: Instance, ami: Ami, *, terminate: bool) -> None:
        if terminate:
            self._abandon()
            self.screen.say(f"{found.id} was ready, and was terminated")
            return
        self._save(self.record.accept())
        self._terminate_replaced()
        self.screen.say(f"{found.id} runs {ami.name}{_address_suffix(found)}")

    def _terminate_replaced(self) -> None:
        """Terminate the instances that were replaced."""
        names = self.record.ending
        if names:
            instance.terminate(self.aws, self.region, names)
            self._save(self.record.ended(*names))
            self.screen.say(f"terminated {', '.join(names)}")

    def _abandon(self) -> None:
        """Terminate the instance of an unfinished launch; its Elastic IP moves back to the previous one."""
        pending, good = self.record.pending, self.record.good
        if pending is None:
            return
        name = pending.id or self._find_lost(pending)
        given = self.project.settings.launch.elastic_ip
        if given and name and network.holder(self.aws, self.region, given) == name and self._alive(good):
            assert good is not None and good.id is not None
            network.move_address(self.aws, self.region, given, good.id)
            self.screen.say(f"{given} leads to {good.id} again")
        if name:
            instance.terminate(self.aws, self.region, [name], appears=_UNSEEN)
        self._save(self.record.reject())

    def _find_lost(self, pending: LaunchRecord) -> str | None:
        """Return the id of an instance that an interrupted run requested without getting the answer."""
        found = self.aws.poll(lambda: instance.find_by_token(self.aws, self.region, pending.token), _UNSEEN)
        return found.id if found else None

    @contextlib.contextmanager
    def _terminate_on_failure(self) -> Iterator[None]:
        """Terminate the new instance if the block fails or is interrupted, unless ``on_failure`` keeps it."""
        try:
            yield
        except NotReadyError as error:
            if self.project.settings.launch.on_failure == "keep":
                error.add("it runs on ([launch] on_failure); the next launch uses or terminates it")
                raise
            self._abandon()
            raise
        except BaseException:
            self._abandon()
            raise

    def _alive(self, one: LaunchRecord | None) -> Instance | None:
        """Return the recorded instance if it runs, or is about to."""
        found = instance.describe(self.aws, self.region, one.id) if one and one.id else None
        return found if found and found.is_alive else None

    def _console(self, found: Instance) -> InstanceConsole:
        log = Log(log_path(self.state, unikernel_name(self.project), self.region))
        return InstanceConsole(self.aws, self.region, found.id, log, self.screen.show if self.show else lambda _: None)

    def _save(self, record: RegionLaunches) -> None:
        self.record = record
        if self.aws.plan is None:
            records.save(self.state, record)


@contextlib.contextmanager
def locked_launch(project: Project, aws: Aws, region: str, *, show: bool = True) -> Iterator[InstanceLaunch]:
    """Lock the instances of a project for the time of a block.

    Args:
        project: the project.
        aws: the account.
        region: the region.
        show: whether an instance's console is printed; it is logged in any case.

    Raises:
        BusyError: another run changes them.
    """
    state = state_dir(project.root)
    with files.lock(records.lock_path(state), f"the launch of {project.root.name}"):
        yield InstanceLaunch(project, aws, region, records.load(state, region), ConsoleOutput(raw=False), state, show)


def _address_suffix(found: Instance) -> str:
    where = found.public or found.private
    return f" at {where}" if where else ""


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def previous_verified(amis: Sequence[Ami], present: str | None) -> Ami:
    """Return the AMI to roll back to: the newest that was verified and is older than the present one.

    Args:
        amis: the project's AMIs, in any order.
        present: the id of the AMI that runs; None: nothing runs, and any verified AMI will do.

    Raises:
        InputError: there is none.
    """
    newest = sorted(amis, key=lambda one: (one.created, one.id), reverse=True)
    at = next((at for at, one in enumerate(newest) if one.id == present), -1)
    older = [one for one in newest[at + 1 :] if one.state == "available" and one.id != present]
    found = next((one for one in older if tags.VERIFIED in one.tags), None)
    if found is None:
        names = ", ".join(f"{one.id} ({one.name})" for one in older)
        hint = f"run `unibuild ami rollback AMI` with an unverified one: {names}" if names else None
        raise InputError(f"there is no verified AMI before {present or 'now'}", hint=hint)
    return found


def rollback(project: Project, aws: Aws, word: str | None, *, show: bool) -> Ami:
    """Replace the running instance with one of an earlier AMI; return the AMI.

    Args:
        project: the project.
        aws: the account, in the region where it runs; with a plan nothing is changed.
        word: the AMI's id or name; None: see ``previous_verified``.
        show: whether the new instance's console is printed.

    Raises:
        InputError: there is no such AMI.
        UnibuildError: see ``InstanceLaunch.run``.
    """
    region = aws.region
    amis = account.list_amis(aws, [region], account.unikernel_name(project))
    good = records.load(state_dir(project.root), region).good
    chosen = account.find_amis(amis, word)[0] if word else previous_verified(amis, good.ami if good else None)
    with locked_launch(project, aws, region, show=show) as launch:
        launch.run(chosen, replace=True, terminate=False)
    return chosen


def launch_ami(found: Graph, *, replace: bool, terminate: bool, planned: bool = False) -> None:
    """Publish a project's kernel unless it is published, and launch its AMI.

    Args:
        found: the project's graph.
        replace: see ``InstanceLaunch.run``.
        terminate: see ``InstanceLaunch.run``.
        planned: change nothing, and print the calls that would, in their order.

    Raises:
        UnibuildError: see ``publish.publish`` and ``InstanceLaunch.run``.
    """
    ami = next(iter(publish(found, planned=planned).values()))
    plan = CallPlan() if planned else None
    aws = open_account(found.project.settings.publish, plan=plan)
    with locked_launch(found.project, aws, ami.region) as launch:
        launch.run(ami, replace=replace, terminate=terminate)
    if plan is not None:
        print("\n".join(plan.lines()))
