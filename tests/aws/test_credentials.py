"""Credentials from boto3's usual chain: a role that a profile assumes, a program that prints keys, SSO sessions."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

from unibuild.aws.client import Aws
from unibuild.errors import AwsError

if TYPE_CHECKING:
    from pathlib import Path

    from emulator import Emulator

ROLE = "arn:aws:iam::123456789012:role/publisher"
START = "https://example.awsapps.com/start"
TOKEN = "what-nobody-may-see"
SSO = f"""
sso_account_id = 123456789012
sso_role_name = Publisher
sso_region = us-east-1
sso_start_url = {START}
"""
OF_SESSION = f"""
sso_account_id = 123456789012
sso_role_name = Publisher
sso_session = team
[sso-session team]
sso_region = us-east-1
sso_start_url = {START}
"""


class Home:
    """A home folder with ``~/.aws``, and an environment without keys."""

    def __init__(self, aws: Emulator, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.aws, self.folder = aws, folder
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(folder / "config"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(folder / "credentials"))

    def profile(self, name: str, text: str) -> None:
        with (self.folder / "config").open("a") as file:
            file.write(f"[profile {name}]\nregion = us-east-1\n{text}\n")

    def keys(self) -> None:
        """Put the keys of the account's owner into the profile ``keys``."""
        who = self.aws.owner
        keys = f"aws_access_key_id = {who.access_key}\naws_secret_access_key = {who.secret_key}\n"
        (self.folder / "credentials").write_text(f"[keys]\n{keys}")

    def ask(self, profile: str) -> str:
        """Return the identity of a profile according to AWS."""
        return str(Aws(profile).client("sts").call("GetCallerIdentity")["Arn"])


@pytest.fixture
def home(aws: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    return Home(aws, tmp_path, monkeypatch)


def test_profile_assumes_a_role(home: Home) -> None:
    home.keys()
    home.profile("deploy", f"role_arn = {ROLE}\nsource_profile = keys\nrole_session_name = ci")
    home.aws.world.trusting["publisher"] = None
    assert home.ask("deploy") == "arn:aws:sts::123456789012:assumed-role/publisher/ci"
    assert home.aws.calls.counts == {"AssumeRole": 1, "GetCallerIdentity": 1}


def test_role_that_does_not_trust_the_caller(home: Home) -> None:
    home.keys()
    home.profile("deploy", f"role_arn = {ROLE}\nsource_profile = keys")
    with pytest.raises(AwsError, match="AssumeRole in us-east-1: the account may not do this") as caught:
        home.ask("deploy")
    assert "its trust policy must name the caller" in caught.value.hint


def test_policy_of_the_role_applies(home: Home) -> None:
    home.keys()
    home.profile("deploy", f"role_arn = {ROLE}\nsource_profile = keys")
    home.aws.world.trusting["publisher"] = {"Version": "2012-10-17", "Statement": []}
    with pytest.raises(AwsError, match="DescribeImages in us-east-1: the account may not do this") as caught:
        Aws("deploy").client("ec2").call("DescribeImages")
    assert "unibuild iam-policy" in caught.value.hint


def test_expired_session(home: Home) -> None:
    home.keys()
    home.profile("deploy", f"role_arn = {ROLE}\nsource_profile = keys")
    home.aws.world.trusting["publisher"] = None
    aws = Aws("deploy")
    aws.client("sts").call("GetCallerIdentity")
    for one in home.aws.world.sessions.values():
        one.expires = 0.0
    with pytest.raises(AwsError, match="the session has expired") as caught:
        aws.client("sts").call("GetCallerIdentity")
    assert "`aws sts get-caller-identity --profile deploy` must work" in caught.value.hint


def test_program_prints_the_keys(home: Home) -> None:
    who = home.aws.new_principal(arn="arn:aws:iam::123456789012:user/of-a-program")
    result = {"Version": 1, "AccessKeyId": who.access_key, "SecretAccessKey": who.secret_key}
    program = home.folder / "report.py"
    program.write_text(f"print({json.dumps(result)!r})")
    home.profile("told", f"credential_process = {sys.executable} {program}")
    home.profile("broken", f"credential_process = {sys.executable} {home.folder / 'nothing.py'}")
    assert home.ask("told") == who.arn
    with pytest.raises(AwsError, match="the credentials are not available"):
        home.ask("broken")


@pytest.mark.parametrize(
    ("settings", "cached", "sentence"),
    [
        (SSO, START, "the SSO session has expired"),
        (SSO, "another", "there is no SSO session"),
        (OF_SESSION, "team", "the SSO session has expired"),
    ],
    ids=["expired", "never", "expired, of an sso-session"],
)
def test_sso_without_a_session_has_a_hint(home, monkeypatch, settings, cached, sentence) -> None:
    monkeypatch.setattr("botocore.tokens.SSOTokenProvider._SSO_TOKEN_CACHE_DIR", str(home.folder))
    monkeypatch.setattr("botocore.credentials.SSOProvider._SSO_TOKEN_CACHE_DIR", str(home.folder))
    held = {"accessToken": TOKEN, "expiresAt": "2020-01-01T00:00:00Z", "region": "us-east-1", "startUrl": START}
    (home.folder / f"{hashlib.sha1(cached.encode()).hexdigest()}.json").write_text(json.dumps(held))
    home.profile("work", settings)
    with pytest.raises(AwsError, match=sentence) as caught:
        home.ask("work")
    assert caught.value.hint == "run `aws sso login --profile work`"
    assert TOKEN not in str(caught.value)
    assert home.aws.calls == []
