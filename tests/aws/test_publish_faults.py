"""Publish with random faults of AWS, the network and the run: the first run that is not killed leaves one right AMI.

Each seed makes a story: a disk that is published for the first time or after another one, faults and delays of AWS, and
runs that SIGINT or SIGKILL ends at some call. One disk of four goes through S3, and one is copied to another region.
Nothing may be left but the AMIs and their snapshots, and leftovers of imports that `unibuild ami gc` finds.

AWS_STORIES is the number of seeds; `nox -s faults` plays 1,000.
"""

from __future__ import annotations

import json
import os
import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from disks import Disk
from emulator import Delay, Emulator, ManualClock, World
from emulator.faults import KINDS
from emulator.s3 import Bucket
from task_runs import Kill, TaskRunner, forking_program

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

SEEDS, AT_ONCE = int(os.environ.get("AWS_STORIES", "100")), 10
HERE, ELSEWHERE = "us-east-1", "eu-west-1"
HOUR = 3601.0
"""Seconds without a write after which EBS gives up a pending snapshot."""


@dataclass
class Story:
    """The events while one disk is published."""

    seed: int
    old: list[int] | None
    new: list[int]
    kinds: dict[str, float]
    delays: dict[str, Delay | float]
    kills: list[Kill]
    bucket: str | None = None
    regions: tuple[str, ...] = ()

    @classmethod
    def of(cls, seed: int) -> Story:
        dice = random.Random(seed)
        old = [dice.choice((0, dice.randrange(1, 1000))) for _ in range(dice.randint(2, 5))]
        new = [dice.choice((number, number, 0, dice.randrange(1000, 2000))) for number in old]
        new += [dice.randrange(2000, 3000) for _ in range(dice.randint(0, 2))]
        delays = {
            "snapshot_appears": Delay(calls=dice.randint(1, 6)),
            "image_appears": Delay(calls=dice.randint(1, 4)),
            "tags_appear": Delay(calls=dice.randint(1, 3)),
            "snapshot_completes": float(dice.randint(1, 8)),
            "image_available": float(dice.randint(1, 8)),
            "import_completes": float(dice.randint(1, 8)),
            "copy_completes": float(dice.randint(1, 8)),
        }
        return cls(
            seed=seed,
            old=dice.choice(([1, *old], None)),
            new=[dice.choice((1, 2)), *new],
            kinds={kind: dice.choice((0.05, 0.1, 0.2)) for kind in dice.sample(KINDS, dice.randint(0, 5))},
            delays={name: delay for name, delay in delays.items() if dice.random() < 0.4},
            kills=[Story._kill(dice) for _ in range(dice.choice((0, 0, 1, 1, 2, 3)))],
            bucket="images" if seed % 4 == 1 else None,
            regions=(ELSEWHERE,) if seed % 4 == 2 else (),
        )

    @staticmethod
    def _kill(dice: random.Random) -> Kill:
        then = dice.choice(("nothing", "nothing", "nothing", "time passes", "somebody deletes the snapshot"))
        how = dice.choice((signal.SIGINT, signal.SIGKILL))
        return Kill(dice.randint(1, 25), dice.choice(("before", "after")), how, then)


@dataclass
class Publisher(TaskRunner):
    """Publish disks to an emulator, in processes that can be killed."""

    def begin(self, story: Story) -> None:
        """Set the world to the beginning of the story."""
        self.emulator.reset(World(ManualClock(), seed=story.seed))
        self.emulator.faults.watch = lambda call, moment: self.emulator.world.clock.advance(0.5)
        self.folder.mkdir()
        self.emulator.world.buckets["images"] = Bucket(HERE, 0.0)
        self.emulator.world.roles["vmimport"] = "images"
        if story.old is not None:
            assert self.run(story, story.old) == 0, self.log
        self.emulator.faults.seed, self.emulator.faults.timeout = story.seed, 0.02
        for kind, rate in story.kinds.items():
            self.emulator.faults.add(kind, rate=rate)
        for name, delay in story.delays.items():
            setattr(self.emulator.world.timing, name, delay)

    def play(self, story: Story) -> None:
        """Run a story until a run ends by itself."""
        self.begin(story)
        for kill in story.kills:
            if self.run(story, story.new, kill) == 0:
                return
            self.meanwhile(kill.then)
        assert self.run(story, story.new) == 0, self.log

    def run(self, story: Story, disk: list[int], kill: Kill | None = None) -> int:
        """Publish a disk; return the exit code."""
        return self.run_task("publish", kill, **self._how(story, disk))

    def start(self, story: Story, disk: list[int]) -> int:
        """Start publishing a disk; return the number of the process."""
        return self.start_task("publish", **self._how(story, disk))

    def _how(self, story: Story, disk: list[int]) -> dict[str, object]:
        return {"disk": disk, "folder": str(self.folder), "bucket": story.bucket, "regions": story.regions}

    def meanwhile(self, what: str) -> None:
        """Apply the story's event between two runs."""
        region = self.emulator.region()
        if what == "time passes":
            self.emulator.world.clock.advance(HOUR)
        elif what == "somebody deletes the snapshot":
            for snapshot in [one for one in region.snapshots.values() if one.writable(region.now)]:
                del region.snapshots[snapshot.id], region.tags[snapshot.id]

    def collect(self, bucket: str) -> None:
        """Remove leftovers of imports with `ami gc`; check that nothing is left in the bucket."""
        assert self.emulator.world.buckets[bucket] == Bucket(HERE, 0.0)
        self.emulator.faults.clear()
        self.emulator.region().unseen.end()
        self.emulator.world.clock.advance(1)
        self.start_task("gc", now=self.emulator.world.clock.now())
        assert self.wait() == 0, self.log

    def check(self, story: Story) -> None:
        """Check that there is one AMI with the content of each disk, and nothing else."""
        if story.bucket:
            self.collect(story.bucket)
        result = [Disk.of(*numbers).content for numbers in (story.old, story.new) if numbers is not None]
        disks = result[:1] if result[0] == result[-1] else result
        for region in map(self.emulator.region, (HERE, *story.regions)):
            images = list(region.own_images.values())
            assert [region.snapshots[image.root["SnapshotId"]].content for image in images] == disks
            assert {image.state(region.now) for image in images} == {"available"}
            assert region.snapshots.keys() == {image.root["SnapshotId"] for image in images}
        journal = self.folder / "aws.json"  # there is none if the AMI was found at once
        assert not journal.exists() or json.loads(journal.read_text())["begun"] == []
        assert not self.emulator.bugs


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def program(emulator: Emulator) -> Iterator[subprocess.Popen[str]]:
    with forking_program(emulator) as process:
        yield process


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_story_ends_with_one_right_ami(emulator, program, tmp_path, first):
    for seed in range(first, first + AT_ONCE):
        story = Story.of(seed)
        publisher = Publisher(emulator, program, tmp_path / str(seed))
        try:
            publisher.play(story)
            publisher.check(story)
        except AssertionError:
            print(f"{story}\n{dict(emulator.faults.hits)}\n{publisher.log}")
            raise


@pytest.mark.long
def test_two_machines_that_publish_the_same_disk_create_one_ami(emulator, program, tmp_path):
    with forking_program(emulator) as another:
        for seed in range(1000, 1000 + AT_ONCE // 2):
            story = Story.of(seed)
            story.old, story.kills = None, []
            machines = [Publisher(emulator, one, tmp_path / f"{seed}{one.pid}") for one in (program, another)]
            try:
                machines[0].begin(story)
                machines[1].folder.mkdir()
                for machine in machines:
                    machine.start(story, story.new)
                assert [machine.wait() for machine in machines] == [0, 0]
                for machine in machines:
                    machine.check(story)
            except AssertionError:
                print(f"{story}\n{dict(emulator.faults.hits)}\n{machines[0].log}\n{machines[1].log}")
                raise
