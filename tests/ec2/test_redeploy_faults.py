"""Redeploy with random faults of AWS, the network and the run itself: in the end one instance serves.

Each seed makes a story: an AMI is launched for the first time or replaces another one, with faults and delays of AWS.
In three of ten stories SIGINT or SIGKILL ends the run at some call, and the next run finishes.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from ami_project import AmiProject
from emulator import Delay, ManualClock, World
from emulator.faults import KINDS
from launches import Launches
from task_runs import Kill, TaskRunner, forking_program

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from emulator import Emulator

SEEDS, AT_ONCE = 20, 5


@dataclass
class Story:
    """The events of a launch of an AMI.

    Attributes:
        replaces: Whether another AMI runs before.
        kinds: The kinds of faults, and their rates.
        appears: How many calls it takes until EC2 shows the new instance.
        runs: How many seconds pass until the instance runs.
        kill: How and when the first run is killed.
    """

    replaces: bool
    kinds: dict[str, float]
    appears: int
    runs: float
    kill: Kill | None

    @classmethod
    def of(cls, seed: int) -> Story:
        dice = random.Random(seed)
        end = Kill(
            dice.randint(1, 14),
            dice.choice(("before", "after")),
            dice.choice((signal.SIGINT, signal.SIGKILL)),
            "nothing",
        )
        return cls(
            replaces=dice.random() < 0.7,
            kinds={kind: dice.choice((0.05, 0.1)) for kind in dice.sample(KINDS, dice.randint(0, 4))},
            appears=dice.choice((0, 0, 1, 3)),
            runs=dice.choice((0.0, 0.0, 2.0, 6.0)),
            kill=end if seed % 10 in (1, 4, 7) else None,
        )


@dataclass
class Stage:
    """A project with an Elastic IP on the emulator, and the processes that launch its AMIs."""

    launches: Launches
    tasks: TaskRunner

    def play(self, story: Story) -> None:
        """Run a story and check its end."""
        launches, region = self.launches, self.launches.aws.region()
        address, amis = launches.project.call.address(), [launches.project.ami() for _ in range(1 + story.replaces)]
        launches.ready('console = "^ready$"', f'elastic_ip = "{address}"')
        for ami in amis[:-1]:
            self.run(ami)
        timing, faults = launches.aws.world.timing, launches.aws.faults
        timing.instance_appears, timing.instance_runs = Delay(calls=story.appears), story.runs
        for kind, rate in story.kinds.items():
            faults.add(kind, rate=rate)
        if story.kill:
            self.run(amis[-1], story.kill)
            assert len(launches.alive) <= 1 + story.replaces
        self.run(amis[-1])
        assert list(launches.alive.values()) == [amis[-1]]
        assert [launches.leads_to(address)] == list(launches.alive) == [launches.record.good.id]
        assert launches.record.pending is None and launches.record.ending == ()
        assert len(region.own_images) == len(amis) == len(region.snapshots)
        assert not launches.aws.bugs

    def run(self, ami: str, kill: Kill | None = None) -> None:
        self.tasks.run_task("launch", kill, folder=str(self.tasks.folder), image=ami)


@pytest.fixture(scope="module")
def program(emulator_server: Emulator) -> Iterator[subprocess.Popen[str]]:
    with forking_program(emulator_server) as process:
        yield process


@pytest.fixture
def play(aws, call, program, tmp_path, capsys):
    """Run a story in a new emulated world."""

    def play(story: Story, seed: int) -> None:
        folder = tmp_path / str(seed)
        folder.mkdir()
        aws.reset(World(ManualClock(), seed=seed))
        aws.faults.seed, aws.faults.timeout = seed, 0.02
        stage = Stage(Launches(AmiProject(aws, call, folder, capsys)), TaskRunner(aws, program, folder))
        try:
            stage.play(story)
        except AssertionError:
            print(f"{story}\n{dict(aws.faults.hits)}\n{stage.tasks.log}\n{[str(one) for one in aws.calls]}")
            raise

    return play


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_every_story_ends_in_one_instance(play, first):
    for seed in range(first, first + AT_ONCE):
        play(Story.of(seed), seed)


def test_instance_that_ec2_does_not_show_yet_is_terminated_too(play):
    play(Story(replaces=True, kinds={}, appears=3, runs=2.0, kill=Kill(4, "before", signal.SIGINT, "nothing")), 0)
