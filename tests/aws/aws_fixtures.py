"""Fixtures of the emulated AWS, for the tests of several packages: a conftest.py imports them."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any

import boto3
import pytest
import shared_models  # noqa: F401 (before anything creates a session)
from ami_project import AmiProject, SharedSession
from aws_calls import Caller
from botocore.config import Config
from emulator import Emulator, ManualClock, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["aws", "call", "client", "clients", "emulator_server", "project"]


@pytest.fixture(scope="session")
def emulator_server() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def aws(emulator_server: Emulator, monkeypatch: pytest.MonkeyPatch) -> Iterator[Emulator]:
    """An empty AWS; boto3 sends its calls there, as the owner of the account, in us-east-1."""
    emulator_server.reset()
    for name, value in emulator_server.environment().items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield emulator_server
    assert not emulator_server.bugs, emulator_server.bugs[0]


@pytest.fixture(scope="session")
def clients(emulator_server: Emulator) -> Iterator[Callable[..., Any]]:
    """Create each client only once: EC2's client takes a quarter of a second."""
    owner, made = emulator_server.owner, []
    session = boto3.session.Session(owner.access_key, owner.secret_key)

    @functools.cache
    def new(service: str, region: str = "us-east-1") -> Any:
        config = Config(retries={"total_max_attempts": 1}, connect_timeout=60, read_timeout=120)
        made.append(session.client(service, region, endpoint_url=emulator_server.url, config=config))
        return made[-1]

    yield new
    for client in made:
        client.close()


@pytest.fixture
def client(aws: Emulator, clients: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for the owner's boto3 clients, which do not retry: ``client("ec2", "eu-west-1")``."""
    return clients


@pytest.fixture
def call(client: Callable[..., Any]) -> Caller:
    """Create complete snapshots, AMIs and instances with one method each."""
    return Caller(client)


@pytest.fixture
def project(
    aws: Emulator,
    call: Caller,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AmiProject:
    """A project with AMIs in us-east-1, with a clock stopped at two days ago."""
    aws.reset(World(ManualClock(time.time() - 48 * 3600)))
    monkeypatch.setattr(boto3, "Session", SharedSession)
    made = AmiProject(aws, call, tmp_path / "hello", capsys)
    made.root.mkdir()
    made.settings("")
    monkeypatch.chdir(made.root)
    return made
