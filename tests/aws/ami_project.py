"""A project with AMIs in the emulator; `unibuild ami` runs in the test's own process."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import boto3
from aws_calls import DATA

from unibuild.aws import tags
from unibuild.cli import ami as command

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from aws_calls import Caller
    from emulator import Emulator


class AmiProject:
    """A project called hello with AMIs in us-east-1, and its commands."""

    def __init__(self, aws: Emulator, call: Caller, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.aws, self.call, self.root = aws, call, root
        self._capsys = capsys
        self._count = 0

    def settings(self, text: str) -> None:
        (self.root / "unibuild.toml").write_text('name = "hello"\n' + text)

    def marks(self, unikernel: str = "hello", **more: str) -> dict[str, str]:
        return {tags.UNIKERNEL: unikernel, **more}

    def snapshot(self, blocks: dict[int, bytes] | None = None, unikernel: str = "hello", *, done: bool = True) -> str:
        marked = tags.write(self.marks(unikernel))
        if done:
            return self.call.snapshot(blocks, Tags=marked)
        return self.call.start(Tags=marked)

    def ami(self, blocks: dict[int, bytes] | None = None, unikernel: str = "hello", **marks: str) -> str:
        """Create an AMI, a second after the previous one."""
        self._count += 1
        self.aws.world.clock.sleep(1)
        given = {tags.SHA256: f"{self._count:064x}", **marks}
        marked = [{"ResourceType": "image", "Tags": tags.write(self.marks(unikernel, **given))}]
        made = self.snapshot(blocks or {0: DATA}, unikernel)
        return self.call.register(made, Name=f"{unikernel}-{self._count}", TagSpecifications=marked)

    def run(self, *words: str, code: int = 0) -> str:
        """Run ``unibuild ami`` and return what it printed."""
        self._capsys.readouterr()
        assert command.main(list(words)) == code
        return self._capsys.readouterr().out

    def json(self, *words: str) -> Any:
        return json.loads(self.run(*words, "--json"))

    @property
    def images(self) -> list[str]:
        return list(self.aws.region().own_images)

    @property
    def snapshots(self) -> list[str]:
        return list(self.aws.region().snapshots)


class SharedSession(boto3.Session):
    """A session that creates each client once for an emulator, because that takes a quarter of a second."""

    made: dict[object, Any] = {}  # noqa: RUF012

    def client(self, service: str, **kwargs: Any) -> Any:
        where = os.environ["AWS_ENDPOINT_URL"]  # the tests of each package have an emulator of their own
        key = (where, service, self.region_name, kwargs["region_name"], kwargs["config"].read_timeout)
        if key not in self.made:
            self.made[key] = super().client(service, **kwargs)
        return self.made[key]
