from __future__ import annotations

import base64
import http.server
import re
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from unibuild.aws.client import Aws, Clock, RetryPolicy, Stopped
from unibuild.aws.dry_run import CallPlan
from unibuild.aws.errors import NOT_IMPLEMENTED, Kind, explain, kind_of
from unibuild.errors import AwsError, AwsLostError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NONE = "<DescribeImagesResponse><requestId>r</requestId><imagesSet/></DescribeImagesResponse>"


class Hurried(Clock):
    """A clock with waits that take no time and advance it."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.most: list[float] = []

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        super().sleep(0)
        self.time += seconds

    def jitter(self, most: float) -> float:
        self.most.append(most)
        return most


@dataclass
class Scripted:
    """A server that sends its answers in turn and repeats the last one; None: it closes the connection."""

    url: str
    script: list[tuple[int, str] | None] = field(default_factory=lambda: [(200, NONE)])
    asked: int = 0
    account: Aws | None = None

    def next(self) -> tuple[int, str] | None:
        self.asked += 1
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]

    def aws(self, **how: object) -> Aws:
        """Return a new account; EC2's client, which is slow to create, is shared."""
        self.account = self.account or Aws(region="eu-west-1")
        return self.account.like(clock=Hurried(), **how)


def refusal(code: str, message: str = "No.", status: int = 400) -> tuple[int, str]:
    return (
        status,
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors></Response>",
    )


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": SECRET}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def _server() -> Iterator[Scripted]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            answer = scripted.next()
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer[0])
            self.end_headers()
            self.wfile.write(answer[1].encode("latin-1"))

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        scripted = Scripted(f"http://127.0.0.1:{httpd.server_port}")
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield scripted
        httpd.shutdown()
        thread.join()


@pytest.fixture
def server(_server: Scripted, monkeypatch: pytest.MonkeyPatch) -> Scripted:
    monkeypatch.setenv("AWS_ENDPOINT_URL", _server.url)
    _server.script, _server.asked = [(200, NONE)], 0
    return _server


@pytest.mark.parametrize(
    "fault",
    [
        refusal("RequestLimitExceeded", status=503),
        refusal("InternalError", status=500),
        (502, "<html>Bad gateway</html>"),
        (200, "<Descr"),
        (200, "\xff\xfe\x00 no XML"),
        None,
    ],
    ids=["throttled", "500", "a proxy's page", "cut", "no text", "hung up"],
)
def test_every_kind_of_fault_is_tried_again(server: Scripted, fault: tuple[int, str] | None) -> None:
    server.script = [fault, fault, (200, NONE)]
    assert server.aws().client("ec2").call("DescribeImages", wants=("Images",))["Images"] == []
    assert server.asked == 3


def test_answer_without_a_required_member_counts_as_lost(server: Scripted) -> None:
    server.script = [(200, "<RegisterImageResponse><requestId>r</requestId></RegisterImageResponse>"), (200, NONE)]
    with pytest.raises(AwsLostError):
        server.aws().client("ec2").call("RegisterImage", idempotent=False, wants=("ImageId",), Name="hello")
    assert server.asked == 1


def test_throttled_call_is_tried_again_even_if_not_idempotent(server: Scripted) -> None:
    server.script = [refusal("RequestLimitExceeded", status=503), (200, NONE)]
    server.aws().client("ec2").call("RegisterImage", idempotent=False, Name="hello")
    assert server.asked == 2


def test_retries_end_after_the_budget(server: Scripted) -> None:
    server.script = [refusal("InternalError", status=500)]
    aws = server.aws(retries=RetryPolicy(budget=60))
    with pytest.raises(AwsError, match=r"DescribeImages in eu-west-1") as caught:
        aws.client("ec2").call("DescribeImages")
    assert 60 <= aws.clock.now() < 70
    assert aws.clock.most[:8] == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 8.0, 8.0]
    assert f"was tried {server.asked} times" in caught.value.hint


def test_missing_resource_is_waited_for_if_it_may_appear(server: Scripted) -> None:
    gone = refusal("InvalidAMIID.NotFound")
    server.script = [gone, gone, (200, NONE)]
    server.aws().client("ec2").call("DescribeImages", appears=180)
    server.script = [gone]
    with pytest.raises(AwsError, match="the AMI does not exist"):
        server.aws().client("ec2").call("DescribeImages")


def test_missing_capacity_is_not_retried(server: Scripted) -> None:
    server.script = [refusal("InsufficientInstanceCapacity", status=500)]
    with pytest.raises(AwsError, match="no free instance") as caught:
        server.aws().client("ec2").call("DescribeImages")
    assert caught.value.exit_code == 7
    assert "another zone" in caught.value.hint
    assert server.asked == 1


def test_endpoint_that_never_answered_times_out_early(server: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    aws = Aws(region="eu-west-1", clock=Hurried())
    with pytest.raises(AwsError, match="cannot be reached"):
        aws.client("ec2").call("DescribeImages")
    assert aws.clock.now() < 30


def test_stalled_call_gets_a_longer_timeout(server: Scripted) -> None:
    aws = server.aws(retries=RetryPolicy(read=(0.5, 7.0)))
    assert aws.raw("ec2", "eu-west-1", 0).meta.config.read_timeout == 0.5
    assert aws.raw("ec2", "eu-west-1", 5).meta.config.read_timeout == 7.0
    assert aws.raw("ec2", "eu-west-1", 5) is aws.raw("ec2", "eu-west-1", 1)


def test_stop_ends_the_retries(server: Scripted) -> None:
    server.script = [refusal("InternalError", status=500)]
    aws = server.aws()
    with pytest.raises(Stopped):
        aws.client("ec2").call("DescribeImages", heed=lambda kind: aws.clock.stop.set())
    assert server.asked == 1


def test_each_fault_is_reported_and_the_semaphore_is_released(server: Scripted) -> None:
    server.script = [refusal("RequestLimitExceeded", status=503), (200, NONE)]
    result: list[Kind] = []
    turn = threading.Semaphore(1)
    server.aws().client("ec2").call("DescribeImages", turn=turn, heed=result.append)
    assert result == [Kind.THROTTLE]
    assert turn.acquire(blocking=False)


def test_dry_run(server: Scripted) -> None:
    server.script = [refusal("DryRunOperation", status=412)]
    server.aws().client("ec2").dry_run("DescribeImages")
    server.script = [refusal("UnauthorizedOperation", "User: arn:aws:iam::1:user/u is not authorized.", 403)]
    with pytest.raises(AwsError, match="user/u is not authorized") as caught:
        server.aws().client("ec2").dry_run("DescribeImages")
    assert "iam-policy" in caught.value.hint


def test_errors_contain_no_secrets(server: Scripted, tmp_path: Path) -> None:
    text = f"Canonical String: host:ec2 x-amz-security-token:{SECRET * 2} AKIAIOSFODNN7EXAMPLE"
    for code in ("SignatureDoesNotMatch", "AuthFailure", "UnauthorizedOperation", "Nonsense"):
        server.script = [refusal(code, text, 403)]
        with pytest.raises(AwsError) as caught:
            server.aws().client("ec2").call("DescribeImages")
        assert SECRET not in str(caught.value)
        assert "AKIAIOSFODNN7EXAMPLE" not in str(caught.value)


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"AWS_PROFILE": "nobody"}, "the profile does not exist"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}, "there are no credentials"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "the credentials are incomplete"),
    ],
)
def test_errors_of_the_credential_chain_are_reported(
    server: Scripted, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], sentence: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(AwsError, match=sentence):
        Aws(region="eu-west-1").client("ec2").call("DescribeImages")
    assert server.asked == 0


def test_region_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AwsError, match="no region is set") as caught:
        Aws().client("ec2")
    (variable,) = re.findall(r"AWS_\w+", caught.value.hint)
    monkeypatch.setenv(variable, "eu-west-1")
    assert Aws().client("ec2").region == "eu-west-1"


def test_plan_records_calls_that_would_change_something(server: Scripted) -> None:
    aws = server.aws(plan=CallPlan())
    ec2, ebs = aws.client("ec2"), aws.client("ebs")
    assert ec2.call("DescribeImages")["Images"] == []
    image = ec2.call("RegisterImage", Name="hello")["ImageId"]
    for index in range(3):
        block = {"BlockIndex": index, "BlockData": b"123", "DataLength": 3, "Checksum": "x"}
        ebs.call("PutSnapshotBlock", SnapshotId="snap-1", ChecksumAlgorithm="SHA256", **block)
    assert ec2.call("DescribeImages", ImageIds=[image])["Images"][0]["Name"] == "<Name>"
    assert server.asked == 1
    result = list(aws.plan.lines())
    assert result[0] == "ec2:RegisterImage in eu-west-1: Name=hello"
    assert result[1].startswith("3 x ebs:PutSnapshotBlock in eu-west-1: ")
    assert "BlockData=3 bytes" in result[1]
    assert len(result) == 2


def test_plan_checks_the_parameters(server: Scripted) -> None:
    with pytest.raises(AwsError, match="Nam"):
        server.aws(plan=CallPlan()).client("ec2").call("RegisterImage", Nam="hello")


@pytest.mark.parametrize(
    "answer",
    [
        (
            501,
            "<Response><Errors><Error><Code>InternalFailure</Code><Message>No.</Message></Error></Errors></Response>",
        ),
        refusal("NotImplemented", status=501),
        refusal("UnknownOperation", status=500),
        refusal("InvalidAction"),
    ],
)
def test_operation_that_the_endpoint_lacks_is_not_retried(server: Scripted, answer: tuple[int, str]) -> None:
    server.script = [answer]
    with pytest.raises(AwsError) as caught:
        server.aws().client("ec2").call("DescribeImages")
    assert (caught.value.code, caught.value.passing, server.asked) == (NOT_IMPLEMENTED, False, 1)
    assert "AWS_ENDPOINT_URL" in caught.value.hint


def test_missing_ebs_direct_has_the_hint_s3() -> None:
    error = explain("StartSnapshot", "eu-west-1", "InternalFailure", "no license", status=501)
    assert error.code == NOT_IMPLEMENTED
    assert 'via = "s3"' in error.hint


@pytest.mark.parametrize(
    "page", ["<html><title>500</title></html>", "<!doctype html>\n<title>500 Oops</title>\x1b[2J<p>a"]
)
def test_web_page_with_status_500_is_retried_only_a_few_times(server: Scripted, page: str) -> None:
    server.script = [(500, page)]
    aws = server.aws()
    with pytest.raises(AwsError) as caught:
        aws.client("ec2").call("DescribeImages")
    assert server.asked == 3
    assert aws.clock.now() < 2
    assert "AWS_ENDPOINT_URL" in caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_unreadable_error_answer_is_quoted(server: Scripted) -> None:
    server.script = [(502, "<!doctype html>\n<title>502 Bad Gateway</title>\n<p>the proxy has no upstream")]
    with pytest.raises(AwsError, match=r'HTTP 502, "502 Bad Gateway the proxy has no upstream"'):
        server.aws(retries=RetryPolicy(budget=1, tries=1)).client("ec2").call("DescribeImages")


def test_unreadable_good_answer_is_not_quoted(server: Scripted) -> None:
    server.script = [(200, f"<AssumeRole><SecretAccessKey>{SECRET}")]
    with pytest.raises(AwsError, match="HTTP 200, 69 bytes") as caught:
        server.aws(retries=RetryPolicy(budget=1, tries=1)).client("ec2").call("DescribeImages")
    assert SECRET not in str(caught.value)


def test_long_retries_are_reported(server: Scripted) -> None:
    server.script = [refusal("InternalError", status=500)]
    lines: list[str] = []
    aws = Aws(region="eu-west-1", clock=Hurried(), retries=RetryPolicy(budget=60), notify=lines.append)
    with pytest.raises(AwsError):
        aws.client("ec2").call("DescribeImages")
    assert 3 <= len(lines) <= 5
    assert all("DescribeImages in eu-west-1" in line and "of 60 s" in line for line in lines)


def test_short_disturbance_is_not_reported(server: Scripted) -> None:
    server.script = [*[refusal("RequestLimitExceeded", status=503)] * 3, (200, NONE)]
    lines: list[str] = []
    Aws(region="eu-west-1", clock=Hurried(), notify=lines.append).client("ec2").call("DescribeImages")
    assert lines == []


@pytest.mark.parametrize(
    ("code", "status", "reason", "kind"),
    [
        ("ValidationException", 400, "", Kind.FATAL),
        ("ValidationException", 400, "WRITE_REQUEST_TIMEOUT", Kind.THROTTLE),
        ("ValidationException", 400, "INVALID_BLOCK", Kind.FATAL),
        ("ResourceNotFoundException", 404, "SNAPSHOT_NOT_FOUND", Kind.ABSENT),
        ("InvalidSnapshot.NotFound", 400, "", Kind.ABSENT),
        ("Whatever", 503, "", Kind.TRANSIENT),
        ("InternalFailure", 500, "", Kind.TRANSIENT),
        ("InternalFailure", 501, "", Kind.FATAL),
        ("Whatever", 403, "", Kind.FATAL),
    ],
)
def test_kinds_of_errors(code: str, status: int, reason: str, kind: Kind) -> None:
    assert kind_of(code, status, reason) is kind


@pytest.mark.parametrize(
    ("message", "hint"),
    [
        ("HttpTokens must be set to required", "[launch] metadata"),
        ("virtualization type of 'paravirtual' is not supported", "[launch] type"),
        ("The operation is not supported for this volume", "the message of AWS"),
    ],
)
def test_hint_for_an_ambiguous_code_depends_on_its_message(message: str, hint: str) -> None:
    assert hint in explain("RunInstances", "eu-west-1", "UnsupportedOperation", message).hint


def test_encoded_part_of_a_refusal_is_omitted() -> None:
    coded = base64.b64encode(b"x" * 100).decode()
    error = explain(
        "RunInstances", "eu-west-1", "UnauthorizedOperation", f"No. Encoded authorization failure message: {coded}"
    )
    assert error.message == "RunInstances in eu-west-1: the account may not do this: No (UnauthorizedOperation)"
