"""The contract of every publisher. docs/how-to/add-a-publisher.md describes how to add one."""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import toy_publisher
from disks import Disk, publish_disk
from uploads import REGION, owner

import unibuild
from unibuild.aws.client import Aws, RetryPolicy
from unibuild.aws.errors import DENIED
from unibuild.aws.iam_policy import policy
from unibuild.aws.snapshot import publisher
from unibuild.aws.snapshot.journal import UploadJournal
from unibuild.aws.snapshot.publisher import FinishedSnapshot, PublisherContext, SnapshotSpec
from unibuild.doit_plugin import usage
from unibuild.errors import AwsError, SettingsError
from unibuild.settings.ami import Publish
from unibuild.settings.model import Settings

if TYPE_CHECKING:
    from emulator import Emulator


def tags(disk: Disk) -> dict[str, str]:
    return {"unibuild:unikernel": "hello", "unibuild:sha256": disk.digest}


DISK = Disk({0: 1, 1: 0, 2: 2})
COMPLETE = {"ebs": Publish(via="ebs"), "s3": Publish(via="s3", bucket="images"), "toy": Publish(via="toy")}
"""Settings that each publisher accepts."""
INCOMPLETE = {
    "ebs": Publish(via="ebs", kms_key="alias/mine"),
    "s3": Publish(via="s3"),
    "toy": Publish(via="toy", bucket="images"),
}
"""Settings that each publisher refuses."""


class Contract:
    def __init__(self, emulator: Emulator, folder: Path, via: str) -> None:
        self.emulator, self.folder, self.via = emulator, folder, via
        self.steps: list[tuple[str, float | None, str]] = []

    def make(self, disk: Disk = DISK, encryption: str = "", aws: Aws | None = None) -> FinishedSnapshot:
        settings = COMPLETE[self.via]
        context = PublisherContext(
            aws=aws or owner(RetryPolicy()),
            region=REGION,
            journal=UploadJournal(self.folder),
            bucket=settings.bucket,
            role=settings.role,
            report=lambda *step: self.steps.append(step),
        )
        spec = SnapshotSpec(disk.digest, "hello", tags(disk), encryption)
        return publisher.find(self.via).open(context).make(disk, spec)

    @property
    def snapshots(self):
        return self.emulator.region(REGION).snapshots

    @property
    def states(self) -> set[str]:
        now = self.emulator.world.clock.now()
        return {snapshot.state(now) for snapshot in self.snapshots.values()}


@pytest.fixture
def toy(monkeypatch) -> None:
    """Register a publisher as docs/how-to/add-a-publisher.md describes."""
    monkeypatch.setitem(publisher.PUBLISHERS, "toy", toy_publisher.ENTRY)


@pytest.fixture(params=sorted(COMPLETE))
def contract(request, toy, aws: Emulator, client, tmp_path: Path) -> Contract:
    client("s3").create_bucket(Bucket="images")
    aws.world.roles["vmimport"] = "images"
    return Contract(aws, tmp_path, request.param)


def test_setting_offers_every_publisher() -> None:
    values = typing.get_type_hints(Publish)["via"]
    assert set(typing.get_args(values)) == set(publisher.PUBLISHERS)
    assert set(COMPLETE) == set(INCOMPLETE) == {*publisher.PUBLISHERS, "toy"}


def test_option_offers_every_publisher() -> None:
    (option,) = [one for one in usage.OPTIONS["publish_ami"] if one["name"] == "via"]
    assert dict(option["choices"]) == {via: entry.way for via, entry in publisher.PUBLISHERS.items()}
    assert f"--via {'|'.join(publisher.PUBLISHERS)}" in usage.goal_page("publish_ami")


def test_snapshot_has_content_and_tags(contract: Contract) -> None:
    made = contract.make()
    assert (contract.states, contract.snapshots[made.id].content) == ({"completed"}, DISK.content)
    assert contract.emulator.region(REGION).tags[made.id].items() >= tags(DISK).items()


def test_progress_is_reported(contract: Contract) -> None:
    contract.make()
    assert all(what and (part is None or 0 <= part <= 1) for what, part, _ in contract.steps)
    assert any(part is not None for _, part, _ in contract.steps)


def test_snapshot_is_encrypted(contract: Contract) -> None:
    assert contract.snapshots[contract.make(encryption=publisher.DEFAULT_KEY).id].key
    assert not contract.snapshots[contract.make(Disk.of(3)).id].key


def test_second_run_leaves_the_first_snapshot(contract: Contract) -> None:
    first = contract.make()
    assert contract.make().id in contract.snapshots
    assert contract.states == {"completed"}
    assert contract.snapshots[first.id].content == DISK.content


def test_refusal_leaves_nothing_unfinished(contract: Contract) -> None:
    with pytest.raises(AwsError):
        contract.make(encryption=f"arn:aws:kms:{REGION}:111122223333:key/none")
    assert contract.states <= {"completed"}
    assert contract.emulator.world.buckets["images"].objects == {}
    assert UploadJournal(contract.folder).begun == ()


def test_policy_allows_the_calls_of_the_publisher(contract: Contract, monkeypatch) -> None:
    who = contract.emulator.new_principal(policy(Settings(publish=COMPLETE[contract.via]), "hello", REGION))
    for name, value in contract.emulator.environment(who).items():
        monkeypatch.setenv(name, value)
    contract.emulator.calls.clear()
    contract.make(aws=Aws(region=REGION))
    assert [str(call) for call in contract.emulator.calls if call.error in DENIED] == []


def test_toy_publishes_an_ami(aws: Emulator, toy, tmp_path: Path) -> None:
    made = publish_disk(owner(RetryPolicy()), DISK, tmp_path, via="toy")
    region = aws.region(REGION)
    assert region.snapshots[region.own_images[made.image].snapshot_ids[0]].content == DISK.content


def test_only_the_registry_and_the_settings_name_publishers() -> None:
    sources = [path.read_text() for path in Path(unibuild.__file__).parent.rglob("*.py")]
    naming = [text for text in sources if re.search(r"\bvia (?:==|!=|in) ", text)]
    importing = [text for text in sources if re.search(r"^ *(?:from|import) .*s3_import", text, re.MULTILINE)]
    assert (naming, importing) == ([], [])


@pytest.mark.parametrize("via", sorted(COMPLETE))
def test_settings_are_checked(toy, via: str) -> None:
    publisher.find(via).check_settings(COMPLETE[via])
    with pytest.raises(SettingsError) as caught:
        publisher.find(via).check_settings(INCOMPLETE[via])
    assert caught.value.hint
