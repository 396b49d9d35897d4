"""The records of the instances that unibuild starts."""

from hypothesis import given
from hypothesis import strategies as st

from unibuild.aws.launch.records import LaunchRecord, RegionLaunches, load, next_step, save

OLD = LaunchRecord("t1", "ami-1", "asked-1", "2026-11-24T12:00:00Z", "i-1")
NEW = LaunchRecord("t2", "ami-2", "asked-2", "2026-11-24T12:01:00Z")


def test_records_from_the_token_to_the_termination_of_the_old_instance():
    record = RegionLaunches("eu-west-1", good=OLD).begin(NEW)
    assert record.pending == NEW
    known = LaunchRecord(NEW.token, NEW.ami, NEW.asked, NEW.since, "i-2")
    accepted = record.begin(known).accept()
    assert (accepted.good, accepted.pending, accepted.ending) == (known, None, ("i-1",))
    assert accepted.ended("i-1") == RegionLaunches("eu-west-1", good=known)


def test_failed_launch_leaves_the_previous_one():
    assert RegionLaunches("eu-west-1", good=OLD).begin(NEW).reject() == RegionLaunches("eu-west-1", good=OLD)


def test_first_step_of_a_launch():
    record = RegionLaunches("eu-west-1")
    assert next_step(record, "asked-2") == "begin"
    assert next_step(record.begin(NEW), "asked-2") == "continue"
    assert next_step(record.begin(NEW), "asked-3") == "abandon"


def test_each_region_has_its_own_record(tmp_path):
    one, other = RegionLaunches("eu-west-1", good=OLD, ending=("i-9",)), RegionLaunches("us-east-1", pending=NEW)
    save(tmp_path, one)
    save(tmp_path, other)
    assert (load(tmp_path, "eu-west-1"), load(tmp_path, "us-east-1")) == (one, other)
    save(tmp_path, RegionLaunches("eu-west-1"))
    assert load(tmp_path, "eu-west-1") == RegionLaunches("eu-west-1")


@given(st.lists(st.sampled_from(["begin", "accept", "reject"]), max_size=12))
def test_no_instance_is_ever_lost(events):
    record, started, ended = RegionLaunches("eu-west-1"), [], []
    for number, event in enumerate(events):
        if event == "begin" and not record.pending:
            started.append(f"i-{number}")
            record = record.begin(LaunchRecord(f"t{number}", "ami-1", "a", "", f"i-{number}"))
        elif event == "accept" and record.pending:
            record = record.accept()
        elif event == "reject" and record.pending:
            ended.append(record.pending.id)  # it is terminated before it is removed from the record
            record = record.reject()
    known = [one.id for one in (record.good, record.pending) if one]
    assert sorted([*known, *record.ending, *ended]) == sorted(started)
