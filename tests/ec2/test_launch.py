"""launch_ami on the emulator: it starts an instance, waits until it is ready, and records it."""

from __future__ import annotations

import _thread
import base64

import pytest
from emulator import Delay
from emulator.ec2 import types
from launches import Launches, page

from unibuild.aws import tags
from unibuild.aws.launch.records import RegionLaunches
from unibuild.errors import AwsError, DomainError, NotReadyError


@pytest.fixture
def launches(project) -> Launches:
    return Launches(project)


def test_ready_instance_is_tagged_and_recorded(launches, capsys):
    ami = launches.project.ami()
    launches.run(ami)
    (instance,) = launches.alive
    assert launches.record.good.id == instance and launches.record.pending is None
    assert tags.VERIFIED in launches.tags(ami) and tags.VERIFIED in launches.tags(instance)
    assert launches.tags(instance)[tags.UNIKERNEL] == "hello"
    output = capsys.readouterr()
    assert output.out == "booting\nready\n" and f"{instance} was ready after" in output.err
    assert "ready\n" in (launches.project.root / ".unibuild/console/hello@us-east-1.log").read_text()


def test_console_is_read_without_the_option_that_only_nitro_has(launches):
    launches.run(launches.project.ami())
    assert all("Latest" not in call.params for call in launches.aws.calls.named("GetConsoleOutput"))


@pytest.mark.parametrize(
    ("offered", "taken"),
    [
        (("m3.medium", "c3.large", "c3.8xlarge"), "m3.medium"),
        (("c3.8xlarge", "c3.large"), "c3.large"),
        (("m1.small", "t1.micro"), "t1.micro"),
    ],
)
def test_default_type_is_the_smallest_offered(launches, monkeypatch, offered, taken):
    kinds = {name: one for name, one in types.TYPES.items() if name in offered}
    monkeypatch.setattr(types, "offered", lambda region: kinds)
    launches.run(launches.project.ami())
    [asked] = launches.aws.calls.named("RunInstances")
    assert asked.params["InstanceType"] == taken


@pytest.mark.parametrize("metadata", ["off", "v2", "on"])
def test_metadata_setting_sets_metadata_options(launches, metadata):
    launches.ready('console = "ready"', f'metadata = "{metadata}"')
    launches.run(launches.project.ami())
    [asked] = launches.aws.calls.named("RunInstances")
    assert (
        asked.params["MetadataOptions"]
        == {
            "off": {"HttpEndpoint": "disabled"},
            "v2": {"HttpEndpoint": "enabled", "HttpTokens": "required"},
            "on": {"HttpEndpoint": "enabled", "HttpTokens": "optional"},
        }[metadata]
    )


def test_optional_tokens_are_refused_where_the_account_enforces_them(launches):
    launches.aws.region().http_tokens_enforced = True
    launches.run(launches.project.ami())
    launches.ready('console = "ready"', 'metadata = "on"')
    with pytest.raises(AwsError) as caught:
        launches.run(launches.project.ami(), replace=True)
    assert caught.value.code == "UnsupportedOperation"
    assert "[launch] metadata" in caught.value.hint


def test_readiness_over_the_network(launches):
    with page("127.0.0.2") as port:
        launches.ready(f'http = {{ port = {port}, body = "hello" }}\ntcp = {port}')
        launches.aws.world.public_ips = iter(["127.0.0.2"])
        launches.run(launches.project.ami())
    assert launches.record.good


@pytest.mark.parametrize(("on_failure", "left"), [("terminate", 0), ("keep", 1)])
def test_instance_that_is_not_ready_is_terminated_or_kept(launches, on_failure, left):
    launches.ready('console = "never"', f'timeout = 0.5\notherwise = "{on_failure}"')
    with pytest.raises(NotReadyError, match='no line of its console matches "never"') as caught:
        launches.run(launches.project.ami())
    assert len(launches.alive) == left
    assert (launches.record.pending is not None) == bool(left)
    assert "us-east-1.log" in caught.value.hint


def test_kept_instance_is_used_by_the_next_run(launches):
    ami = launches.project.ami()
    launches.ready('console = "ready"', 'timeout = 0.5\notherwise = "keep"')
    launches.aws.world.console = lambda instance: "booting\n"
    with pytest.raises(NotReadyError):
        launches.run(ami)
    launches.ready('console = "ready"', 'on_failure = "keep"')
    launches.aws.world.console = lambda instance: "ready\n"
    launches.run(ami)
    assert list(launches.alive) == [launches.record.good.id]


def test_crash_ends_the_wait(launches):
    launches.aws.world.console = lambda instance: "Solo5: ABORT: main.c:1: assertion failed\n"
    with pytest.raises(NotReadyError, match="crashed before it was ready"):
        launches.run(launches.project.ami())
    assert launches.alive == {}


def test_stopped_instance_ends_the_wait(launches):
    ami = launches.project.ami()

    def console(instance):
        instance.become(launches.aws.world.clock.now(), "stopping", "stopped", 0)
        return "bye\n"

    launches.aws.world.console = console
    with pytest.raises(NotReadyError, match="before it was ready"):
        launches.run(ami)
    assert launches.alive == {}


def test_second_run_launches_nothing(launches, capsys):
    ami = launches.project.ami()
    launches.run(ami)
    launches.run(ami)
    assert launches.aws.calls.count("RunInstances") == 1
    assert "already" in capsys.readouterr().err


def test_another_ami_needs_a_redeploy(launches):
    launches.run(launches.project.ami())
    with pytest.raises(DomainError, match="us-east-1") as caught:
        launches.run(launches.project.ami())
    assert "redeploy" in caught.value.hint and len(launches.alive) == 1


def test_launch_with_terminate_leaves_the_running_instance(launches):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    launches.run(second, terminate=True)
    assert list(launches.alive.values()) == [first]
    assert tags.VERIFIED in launches.tags(second)


def test_launch_without_readiness_checks_is_not_verified(launches):
    launches.ready("timeout = 9")
    ami = launches.project.ami()
    launches.run(ami)
    assert launches.record.good and tags.VERIFIED not in launches.tags(ami)


def test_readiness_by_xenstore_is_not_checked(launches, capsys):
    launches.ready('xenstore = "data/ready"\nconsole = "ready"')
    launches.run(launches.project.ami())
    assert "xenstore is not checked" in capsys.readouterr().err


def test_refused_launch_leaves_nothing(launches):
    launches.ready('console = "x"', 'type = "t3.micro"')
    with pytest.raises(AwsError, match="C1, C3"):
        launches.run(launches.project.ami())
    assert launches.alive == {} and launches.record == RegionLaunches("us-east-1")


def test_missing_capacity_is_reported(launches):
    launches.aws.world.no_capacity.add("t1.micro")
    with pytest.raises(AwsError, match="no free instance of this type"):
        launches.run(launches.project.ami())


def test_instance_that_appears_late_is_waited_for(launches):
    launches.aws.world.timing.instance_appears = Delay(calls=2)
    launches.run(launches.project.ami())
    assert launches.record.good


def test_run_instances_parameters(launches, client):
    client("ec2").import_key_pair(KeyName="ops", PublicKeyMaterial=b"ssh-ed25519 AAAA")
    (launches.project.root / "data").write_bytes(b"secret")
    launches.ready('console = "ready"', 'type = "m3.medium"\nkey = "ops"\nuser_data = "data"\ntags = { team = "blue" }')
    launches.run(launches.project.ami())
    (asked,) = launches.aws.calls.named("RunInstances")
    assert asked.params["InstanceType"] == "m3.medium" and asked.params["KeyName"] == "ops"
    assert base64.b64decode(asked.params["UserData"]) == b"secret"
    assert launches.tags(launches.record.good.id)["team"] == "blue"
    assert "secret" not in (launches.project.root / ".unibuild/instances.json").read_text()


@pytest.mark.parametrize("fault", ["cut-after", "garbage", "500", "throttle"])
def test_a_lost_answer_makes_no_second_instance(launches, fault):
    launches.aws.faults.add(fault, "RunInstances", times=1)
    launches.run(launches.project.ami())
    assert len(launches.aws.region().instances) == 1


def test_interrupt_terminates_the_started_instance(launches):
    ami = launches.project.ami()
    seen = []

    def watch(call, moment):
        if call.operation == "GetConsoleOutput" and not seen:
            seen.append(call)
            _thread.interrupt_main()

    launches.aws.world.console = lambda instance: "booting\n"
    launches.aws.faults.watch = watch
    with pytest.raises(KeyboardInterrupt):
        launches.run(ami)
    assert launches.alive == {} and launches.record == RegionLaunches("us-east-1")


@pytest.mark.parametrize(
    ("operation", "moment"), [("RunInstances", "before"), ("RunInstances", "after"), ("CreateTags", "after")]
)
def test_a_killed_launch_is_continued(launches, operation, moment):
    ami = launches.project.ami()
    launches.killed(ami, operation, moment)
    launches.run(ami)
    assert list(launches.alive) == [launches.record.good.id]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_killed_launch_of_another_ami_is_cleaned_up(launches, moment):
    first, second = launches.project.ami(), launches.project.ami()
    launches.killed(first, "RunInstances", moment)
    launches.run(second)
    assert list(launches.alive.values()) == [second]
