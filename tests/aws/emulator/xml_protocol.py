"""The query protocols, with form parameters and XML answers: EC2's, and the older one of STS, IAM and Auto Scaling.

Both invert botocore's serializers. An unknown parameter is refused, as in AWS.
"""

from __future__ import annotations

import base64
import binascii
import urllib.parse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .errors import AwsError
from .request import Answer
from .shapes import check_members, check_scalar, check_size

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel, Shape

    from .request import Params, Request

Tree = dict[str, Any]


def refuse(path: str, why: str) -> AwsError:
    if why == "missing":
        return AwsError("MissingParameter", f"The request must contain the parameter {path}")
    return AwsError("InvalidParameterValue", f"{why} for parameter {path}")


def action(request: Request) -> tuple[str, Tree]:
    """Return the operation's name and its other parameters as a tree of their dotted names."""
    root: Tree = {}
    for key, value in urllib.parse.parse_qsl(request.body.decode(), keep_blank_values=True):
        *above, last = key.split(".")
        branch = root
        for part in above:
            branch = branch.setdefault(part, {})
            if not isinstance(branch, dict):
                raise AwsError("MalformedQueryString", f"{key} is a value and a structure")
        branch[last] = value
    root.pop("Version", None)
    return str(root.pop("Action", "")), root


def decode(operation: OperationModel, tree: Tree) -> Params:
    """Return the parameters of an operation by the names and with the types of its model."""
    if operation.input_shape is None:
        return {}
    return _Decoder(operation.service_model.metadata["protocol"] == "ec2").structure(operation.input_shape, tree, "")


class _Decoder:
    def __init__(self, is_ec2: bool) -> None:
        self.is_ec2 = is_ec2

    def name(self, member: Shape, key: str) -> str:
        traits = member.serialization
        if not self.is_ec2:
            return str(traits.get("name", key))
        if "queryName" in traits:
            return str(traits["queryName"])
        name = str(traits.get("name", key))
        return name[0].upper() + name[1:]

    def value(self, shape: Shape, value: Any, path: str) -> Any:
        if shape.type_name in ("structure", "list"):
            return getattr(self, shape.type_name)(shape, value, path)
        if not isinstance(value, str):
            raise AwsError("UnknownParameter", f"The parameter {path}.{next(iter(value))} is not recognized")
        try:
            return check_scalar(shape, _scalar(shape.type_name, value), path, refuse)
        except (ValueError, binascii.Error):
            raise refuse(path, f"Invalid value '{value}'") from None

    def structure(self, shape: Shape, tree: Tree, path: str) -> Params:
        members = {self.name(member, key): (key, member) for key, member in shape.members.items()}
        decoded = {}
        for name, value in tree.items():
            if name not in members:
                raise AwsError("UnknownParameter", f"The parameter {path}{name} is not recognized")
            key, member = members[name]
            inner = f"{path}{name}." if member.type_name == "structure" else f"{path}{name}"
            decoded[key] = self.value(member, value, inner)
        check_members(shape, decoded, path, refuse)
        return decoded

    def list(self, shape: Shape, tree: Any, path: str) -> list[Any]:
        if tree == "":
            return []
        if not self.is_ec2 and not shape.serialization.get("flattened"):
            (tree,) = tree.values()
        if not isinstance(tree, dict) or sorted(tree) != sorted(str(number) for number in range(1, len(tree) + 1)):
            raise AwsError("MalformedQueryString", f"{path} is not a list that is numbered from 1 on")
        check_size(shape, list(tree), path, refuse)
        inner = "." if shape.member.type_name == "structure" else ""
        return [self.value(shape.member, tree[key], f"{path}.{key}{inner}") for key in sorted(tree, key=int)]


def _scalar(kind: str, text: str) -> Any:
    if kind == "boolean":
        return ("false", "true").index(text.lower()) == 1  # ValueError if it is neither
    if kind in ("integer", "long"):
        return int(text)
    if kind in ("float", "double"):
        return float(text)
    if kind == "timestamp":
        return datetime.fromisoformat(text)
    return base64.b64decode(text, validate=True) if kind == "blob" else text


def encode(shape: Shape, value: Any) -> str:
    """Return a value as XML, without members that an older botocore's model lacks."""
    kind = shape.type_name
    if kind == "structure":
        return "".join(_member(key, member, value.get(key)) for key, member in shape.members.items())
    if kind == "list":
        item = shape.member.serialization.get("name", "member")
        return "".join(f"<{item}>{encode(shape.member, one)}</{item}>" for one in value)
    if kind == "boolean":
        return "true" if value else "false"
    if kind == "timestamp":
        return value if isinstance(value, str) else iso(value)
    if kind == "blob":
        return base64.b64encode(value).decode()
    return escape(str(value))


def _member(key: str, shape: Shape, value: Any) -> str:
    if value is None:
        return ""
    name = shape.serialization.get("name", key)
    if shape.serialization.get("flattened"):
        return "".join(f"<{name}>{encode(shape.member, one)}</{name}>" for one in value)
    return f"<{name}>{encode(shape, value)}</{name}>"


def iso(seconds: float) -> str:
    """Return a time in EC2's format."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def answer(operation: OperationModel, result: Params | None, request_id: str) -> Answer:
    service = operation.service_model
    inner = encode(operation.output_shape, result or {}) if operation.output_shape else ""
    if service.metadata["protocol"] == "ec2":
        inner = f"<requestId>{request_id}</requestId>{inner if operation.output_shape else '<return>true</return>'}"
    else:
        wrapper = operation.output_shape.serialization.get("resultWrapper") if operation.output_shape else None
        inner = f"<{wrapper}>{inner}</{wrapper}>" if wrapper else inner
        inner += f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata>"
    return Answer(
        f'<{operation.name}Response xmlns="{_namespace(service)}">{inner}</{operation.name}Response>'.encode()
    )


def _namespace(service: ServiceModel) -> str:
    return str(
        service.metadata.get("xmlNamespace", f"http://{service.service_name}.amazonaws.com/doc/{service.api_version}/")
    )


def error(service: ServiceModel, refusal: AwsError, request_id: str) -> Answer:
    told = f"<Code>{refusal.code}</Code><Message>{escape(refusal.message)}</Message>"
    if service.metadata["protocol"] == "ec2":
        text = f"<Response><Errors><Error>{told}</Error></Errors><RequestID>{request_id}</RequestID></Response>"
    else:
        told = f"<Error><Type>Sender</Type>{told}</Error>"
        text = f"<ErrorResponse>{told}<RequestId>{request_id}</RequestId></ErrorResponse>"
    return Answer(f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode(), refusal.status)
