"""The `aws` fixture: an emulator of EC2 and EBS direct that the environment points boto3 at."""

from __future__ import annotations

import functools
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).parent))
from calling import Caller
from emulator import Emulator, ManualClock, World
from ours import OneSession, Ours

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An empty AWS; whatever boto3 is asked for goes there, as the owner of the account, in us-east-1."""
    _emulator.reset()
    for name, value in _emulator.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield _emulator
    assert not _emulator.bugs, _emulator.bugs[0]


@pytest.fixture(scope="session")
def _clients(_emulator: Emulator) -> Iterator[Callable[..., Any]]:
    """Make each client once: EC2's takes a quarter of a second."""
    owner, made = _emulator.owner, []
    session = boto3.session.Session(owner.access_key, owner.secret_key)

    @functools.cache
    def new(service: str, region: str = "us-east-1") -> Any:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=120)
        made.append(session.client(service, region, endpoint_url=_emulator.url, config=config))
        return made[-1]

    yield new
    for client in made:
        client.close()


@pytest.fixture
def client(aws: Emulator, _clients: Callable[..., Any]) -> Callable[..., Any]:
    """Return boto3 clients of the owner that try once: ``client("ec2", "eu-west-1")``."""
    return _clients


@pytest.fixture
def call(client: Callable[..., Any]) -> Caller:
    """Ask for a whole thing in one call."""
    return Caller(client)


@pytest.fixture
def ours(
    aws: Emulator,
    call: Caller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Ours:
    """A project whose AMIs are in us-east-1, on a clock that stands still, two days ago."""
    aws.reset(World(ManualClock(time.time() - 48 * 3600)))
    monkeypatch.setattr(boto3, "Session", OneSession)
    made = Ours(aws, call, tmp_path / "hello", capsys)
    made.root.mkdir()
    made.settings("")
    monkeypatch.chdir(made.root)
    return made
