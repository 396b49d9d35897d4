"""redeploy and rollback on the emulator: the old instance serves until the new one is ready."""

from __future__ import annotations

import signal
import threading

import pytest
from launches import Launches, page

from unibuild.aws import tags
from unibuild.cli import ami as command
from unibuild.errors import InputError, NotReadyError


@pytest.fixture
def launches(project) -> Launches:
    return Launches(project)


@pytest.fixture
def address(launches) -> str:
    """An Elastic IP for the project's instances."""
    launches.aws.world.public_ips = iter(f"127.0.0.{number}" for number in range(2, 250))
    made = launches.project.call.address()
    launches.ready('console = "^ready$"', f'elastic_ip = "{made}"')
    return made


def test_new_instance_replaces_the_old_one(launches, address, capsys):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    old = launches.record.good.id
    assert launches.leads_to(address) == old
    assert f"{old} runs hello-1 at 127.0.0.2" in capsys.readouterr().err
    launches.run(second, replace=True)
    assert list(launches.alive.values()) == [second]
    assert launches.leads_to(address) == launches.record.good.id != old
    calls = [call.operation for call in launches.aws.calls]
    assert calls.index("TerminateInstances") > len(calls) - 1 - calls[::-1].index("AssociateAddress")


def test_without_an_elastic_ip_the_old_instance_is_terminated_last(launches):
    launches.run(launches.project.ami())
    second = launches.project.ami()
    launches.run(second, replace=True)
    assert list(launches.alive.values()) == [second]


def test_first_redeploy_is_a_launch(launches):
    launches.run(launches.project.ami(), replace=True)
    assert len(launches.alive) == 1


def test_elastic_ip_is_found_by_its_address(launches, address):
    ip = launches.aws.region().network.addresses[address].ip
    launches.ready('console = "ready"', f'elastic_ip = "{ip}"')
    launches.run(launches.project.ami())
    assert launches.leads_to(address) == launches.record.good.id


def test_elastic_ip_that_is_set_later_is_moved_to_the_running_instance(launches):
    ami, address = launches.project.ami(), launches.project.call.address()
    launches.run(ami)
    launches.ready('console = "ready"', f'elastic_ip = "{address}"')
    launches.run(ami)
    assert launches.leads_to(address) == launches.record.good.id
    assert launches.aws.calls.count("RunInstances") == 1


def test_old_instance_stays_if_the_new_one_is_not_ready(launches, address):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    old = launches.record.good.id
    launches.ready('console = "never"', f'elastic_ip = "{address}"\ntimeout = 0.5')
    with pytest.raises(NotReadyError) as caught:
        launches.run(second, replace=True)
    assert list(launches.alive) == [old] and launches.leads_to(address) == old
    assert f"{old} runs on" in caught.value.hint
    assert launches.record.good.id == old and launches.record.pending is None


def test_elastic_ip_moves_back_if_the_service_is_not_reachable_through_it(launches, address, monkeypatch):
    monkeypatch.setattr("unibuild.ec2.launch._ADDRESS", 1.0)
    launches.run(launches.project.ami())
    old = launches.record.good.id
    with page("127.0.0.4") as port:  # the new instance serves at this address, and not at the Elastic IP
        launches.ready(f"tcp = {port}", f'elastic_ip = "{address}"')
        with pytest.raises(NotReadyError, match=r"at 127\.0\.0\.2"):
            launches.run(launches.project.ami(), replace=True)
    assert list(launches.alive) == [old] and launches.leads_to(address) == old


@pytest.mark.parametrize("operation", ["RunInstances", "AssociateAddress", "TerminateInstances"])
def test_next_run_finishes_a_killed_redeploy(launches, address, operation):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    launches.killed(second, operation, "after")
    launches.run(second, replace=True)
    assert list(launches.alive.values()) == [second]
    assert launches.leads_to(address) == launches.record.good.id
    assert launches.record.ending == () and launches.record.pending is None


def test_redeploy_of_the_old_ami_undoes_a_killed_redeploy(launches, address):
    first, second, third = (launches.project.ami() for _ in range(3))
    launches.run(first)
    old = launches.record.good.id
    launches.killed(second, "AssociateAddress", "after")
    launches.ready('console = "never"', f'elastic_ip = "{address}"\ntimeout = 0.5')
    with pytest.raises(NotReadyError):
        launches.run(third, replace=True)
    assert list(launches.alive) == [old] and launches.leads_to(address) == old


def test_rollback_launches_the_previous_verified_ami(launches):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    launches.run(second, replace=True)
    launches.project.run("rollback")
    assert list(launches.alive.values()) == [first]
    with pytest.raises(InputError, match="no verified AMI before"):
        command.main(["rollback"])


def test_rollback_skips_an_ami_that_was_never_verified(launches):
    first, untried, second = (launches.project.ami() for _ in range(3))
    launches.run(first)
    launches.run(second, replace=True)
    launches.project.run("rollback")
    assert list(launches.alive.values()) == [first]
    launches.project.run("rollback", untried)
    assert list(launches.alive.values()) == [untried]
    assert tags.VERIFIED in launches.tags(untried)


def test_rollback_plan_calls_nothing_that_changes(launches, address):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    launches.run(second, replace=True)
    record = launches.record
    launches.aws.calls.clear()
    output = launches.project.run("rollback", "--plan")
    operations = [line.split()[0].removeprefix("ec2:") for line in output.splitlines()]
    assert operations == ["RunInstances", "CreateTags", "AssociateAddress", "TerminateInstances"]
    assert all(call.operation.startswith("Describe") for call in launches.aws.calls)
    assert launches.record == record
    result = launches.project.json("rollback", "--plan")
    assert result["ami"]["id"] == first and [call["operation"] for call in result["calls"]] == operations


def test_terminate_includes_running_and_pending_instances(launches):
    first, second = launches.project.ami(), launches.project.ami()
    launches.run(first)
    launches.killed(second, "RunInstances", "after")
    output = launches.project.run("terminate", "--plan")
    assert output.count("TerminateInstances") == 2 and len(launches.alive) == 2
    assert "terminated i-" in launches.project.run("terminate")
    assert launches.alive == {}
    assert launches.project.run("terminate") == "no instance of this project runs\n"
    assert launches.project.json("terminate") == {"version": 2, "planned": False, "terminated": []}


@pytest.fixture
def built(launches, hello_kernels) -> Launches:
    """A project with a Makefile that copies a finished kernel."""
    launches.kernel(hello_kernels.pv.read_bytes())
    return launches


@pytest.mark.long
def test_goals_launch_and_redeploy(built):
    built.goal("launch_ami")
    (first,) = built.alive.values()
    assert "runs hello-" in built.goal("launch_ami")
    built.kernel((built.project.root / "made.xen").read_bytes() + b"new")
    assert "redeploy" in built.goal("launch_ami", code=5)
    built.goal("launch_ami", "--terminate")
    assert list(built.alive.values()) == [first]
    output = built.goal("redeploy", "--plan")
    assert [line.split()[0] for line in output.splitlines() if line.startswith("ec2:")] == [
        "ec2:RunInstances",
        "ec2:CreateTags",
        "ec2:TerminateInstances",
    ]
    built.goal("redeploy")
    assert len(built.alive) == 1 and first not in built.alive.values()


def test_plan_of_the_first_launch_has_every_call(built):
    built.ready('console = "ready"', 'open = ["80"]')
    output = built.goal("launch_ami", "--plan")
    planned = [line.split()[0] for line in output.splitlines() if line.startswith(("ec2:", "ebs:"))]
    assert planned[0] == "ebs:StartSnapshot" and "ec2:RegisterImage" in planned
    assert planned[-4:] == [
        "ec2:CreateSecurityGroup",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:RunInstances",
        "ec2:CreateTags",
    ]
    assert built.aws.region().snapshots == {} and built.alive == {}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_terminates_the_started_instance(built, number, code):
    built.ready('console = "never"')
    program = built.start("launch_ami")
    asked = threading.Event()
    built.aws.faults.watch = lambda call, moment: asked.set() if call.operation == "GetConsoleOutput" else None
    assert asked.wait(200)
    program.send_signal(number)
    _, output = program.communicate(timeout=200)
    assert program.returncode == code, output
    assert built.alive == {} and built.record.pending is None
