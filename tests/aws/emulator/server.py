"""The server: authenticate and decode a request, execute it in the world, and answer."""

from __future__ import annotations

import contextlib
import threading
import time
import traceback
import uuid
from typing import TYPE_CHECKING, Any, Self

from . import json_protocol, rest, rest_xml, xml_protocol
from .authorization import authorize
from .autoscaling import AUTOSCALING
from .calls import Call, Log
from .ebs import EBS
from .ec2 import EC2
from .errors import AwsError
from .faults import AFTER, BAD_GATEWAY, BEFORE, UPLOAD, Faults, error_of, garbled
from .http import CutError, Server, wire
from .iam import IAM
from .kms import KMS
from .s3 import S3
from .service import commit, model_of
from .signing import Principal, Scope, refusal, scope_of, verify
from .sts import STS
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from .request import Answer, Params, Request
    from .service import Operation, Service
    from .world import Region

SERVICES: dict[str, Service] = {one.name: one for one in (EC2, EBS, STS, AUTOSCALING, IAM, S3, KMS)}
REST = {"rest-json": json_protocol, "rest-xml": rest_xml}
PROTOCOLS = {**REST, "json": json_protocol}


def _protocol(service: Service) -> Any:
    return PROTOCOLS.get(service.model.metadata["protocol"], xml_protocol)


class Emulator:
    """The server and its world.

    Attributes:
        world: The state; replaced by ``reset``.
        calls: The log of calls.
        faults: The injected faults.
        principals: The known callers, by access key.
        bugs: Tracebacks of errors in the emulator itself; the ``aws`` fixture then fails the test.
    """

    def __init__(self, world: World | None = None, *, port: int = 0) -> None:
        self.world = world or World()
        self.calls = Log()
        self.faults = Faults()
        self.bugs: list[str] = []
        self.principals: dict[str, Principal] = {}
        self.owner = self.new_principal()
        self._server = Server(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def new_principal(self, policy: dict[str, Any] | None = None, **traits: Any) -> Principal:
        """Create keys for a caller with the permissions of the policy; without a policy everything is allowed."""
        made = uuid.uuid4().hex.upper()
        principal = Principal(f"AKIA{made[:16]}", uuid.uuid4().hex + made[:8], policy=policy, **traits)
        self.principals[principal.access_key] = principal
        return principal

    def environment(self, principal: Principal | None = None, region: str = "us-east-1") -> dict[str, str]:
        """Return the environment variables with which boto3 calls this server and no other."""
        who = principal or self.owner
        token = {"AWS_SESSION_TOKEN": who.session_token} if who.session_token else {}
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": who.access_key,
            "AWS_SECRET_ACCESS_KEY": who.secret_key,
            "AWS_DEFAULT_REGION": region,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": "/dev/null",
            "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
            **token,
        }

    def region(self, name: str = "us-east-1") -> Region:
        return self.world.region(name)

    def reset(self, world: World | None = None) -> None:
        """Start again with an empty world, an empty log and no faults."""
        self.world, self.calls, self.faults, self.bugs = world or World(), Log(), Faults(), []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.end_connections()
        self._server.server_close()
        self._thread.join()

    # The steps of handling a request.

    def handle(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            CutError: an injected fault cuts the connection.
        """
        scope = scope_of(request)
        service = SERVICES.get(scope.service) if scope else None
        call = Call(scope.service if scope else "", scope.region if scope else "", "", began=time.monotonic())
        call.access_key = scope.access_key if scope else ""
        self.calls.append(call)
        time.sleep(self.faults.latency)
        request_id = str(uuid.uuid4())
        try:
            answer = self._answer(request, scope, service, call, request_id)
        except AwsError as refused:
            call.error = refused.code
            answer = _error(service, refused, request_id)
        except CutError:
            call.error = ""
            raise
        except Exception:
            self.bugs.append(traceback.format_exc())
            answer = _error(service, AwsError("InternalFailure", "a bug of the emulator", 500), request_id)
        finally:
            call.ended = time.monotonic()
        call.status = answer.status
        return answer

    def interrupts(self, head: Request) -> bool:
        """Return whether a fault cuts the connection during the body of this request; ``head`` has no body yet."""
        scope = scope_of(head)
        service = SERVICES.get(scope.service) if scope else None
        if service is None or service.model.metadata["protocol"] not in REST:
            return False
        call = Call(service.name, scope.region, "", params={"target": head.path}, error="", began=time.monotonic())
        with contextlib.suppress(AwsError):
            call.operation, _ = rest.find(service, head)
        if self.faults.choose(call, UPLOAD) is None:
            return False
        self.calls.append(call)
        return True

    def _answer(
        self, request: Request, scope: Scope | None, service: Service | None, call: Call, request_id: str
    ) -> Answer:
        if scope is None or service is None or not _is_region(scope.region):
            raise refusal("unsigned" if scope is None else "wrong", scope.service if scope else "ec2")
        operation, decode = _find(service, request, call)
        known = {**self.principals, **self.world.sessions}
        unsigned_body = operation.model.auth_type == "v4-unsigned-body"
        principal = verify(request, known, now=time.time(), unsigned_body=unsigned_body)
        params = decode()
        call.params = {key: len(value) if isinstance(value, bytes) else value for key, value in params.items()}
        rule = self.faults.choose(call, *BEFORE, *AFTER)
        if rule and rule.kind in ("cut-before", "stall"):
            time.sleep(self.faults.timeout if rule.kind == "stall" else 0)
            raise CutError
        if rule and (injected := error_of(rule, service.name)):
            raise injected
        if rule and rule.kind == "502":
            return BAD_GATEWAY
        self._watch(call, "before")
        result = self._run(operation, params, scope, principal, call)
        self._watch(call, "after")
        answer = _protocol(service).answer(operation.model, result, request_id)
        if rule and rule.kind == "slow":
            time.sleep(self.faults.timeout)
        if rule and rule.kind == "cut-after":
            raise CutError
        if rule and rule.kind == "cut-answer":
            raise CutError(wire(answer)[: -max(1, len(answer.body) // 2) or None])
        return garbled(answer, self.faults.seed) if rule and rule.kind == "garbage" else answer

    def _watch(self, call: Call, moment: str) -> None:
        if self.faults.watch:
            self.faults.watch(call, moment)

    def _run(
        self, operation: Operation, params: Params, scope: Scope, principal: Principal, call: Call
    ) -> Params | None:
        region = self.world.region(scope.region)
        with self.world.lock:
            authorize(principal, region, scope.service, call.operation, params)
        if not operation.validates:
            commit(params)
        if not operation.locked:
            result = operation.run(region, params)
        else:
            with self.world.lock:
                self.world.caller = principal
                result = operation.run(region, params)
        call.done = True
        return result


def _is_region(name: str) -> bool:
    return name in _regions()


def _regions() -> set[str]:
    import botocore.session

    if not _REGIONS:
        session = botocore.session.get_session()
        for partition in session.get_available_partitions():
            _REGIONS.update(session.get_available_regions("ec2", partition))
    return _REGIONS


_REGIONS: set[str] = set()


def _find(service: Service, request: Request, call: Call) -> tuple[Operation, Callable[[], Params]]:
    """Return the operation of a request, and the function that decodes its parameters."""
    if service.model.metadata["protocol"] in REST:
        call.operation, in_path = rest.find(service, request)
        operation = service.find(call.operation)
        return operation, lambda: REST[service.model.metadata["protocol"]].decode(operation.model, in_path, request)
    if service.model.metadata["protocol"] == "json":
        call.operation = json_protocol.action(request)
        operation = service.find(call.operation)
        return operation, lambda: json_protocol.decode(operation.model, {}, request)
    call.operation, tree = xml_protocol.action(request)
    operation = service.find(call.operation)
    return operation, lambda: xml_protocol.decode(operation.model, tree)


def _error(service: Service | None, refused: AwsError, request_id: str) -> Answer:
    if service is not None and service.model.metadata["protocol"] in PROTOCOLS:
        return _protocol(service).error(refused, request_id)
    return xml_protocol.error(service.model if service else model_of("ec2"), refused, request_id)
