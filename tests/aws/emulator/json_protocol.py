"""REST with JSON (EBS direct's protocol), and plain JSON (that of KMS).

botocore's model defines the location of each member: path, query, header or body. In plain JSON all are in the body.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from .errors import AwsError, invalid
from .request import Answer
from .rest import located, refuse
from .shapes import check_members, check_scalar, check_size

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

    from .request import Params, Request

TYPES = {"string": str, "integer": int, "long": int, "boolean": bool, "structure": dict, "list": list}


def action(request: Request) -> str:
    """Return the name of the operation of a plain JSON request."""
    return request.headers.get("x-amz-target", "").partition(".")[2]


def decode(operation: OperationModel, in_path: dict[str, str], request: Request) -> Params:
    """Return the parameters of an operation by the names and with the types of its model."""
    shape, body = operation.input_shape, {}
    decoded, rest = located(operation, in_path, request)
    payload = shape.serialization.get("payload")
    if payload:
        decoded[payload] = request.body
    elif request.body:
        body = _document(request.body)
    for key, member in shape.members.items():
        name = member.serialization.get("name", key)
        if "location" not in member.serialization and key != payload and name in body:
            decoded[key] = _from_json(member, body.pop(name), name)
    for name in (*rest, *body):
        raise invalid(f"{name} is not a parameter of {operation.name}")
    check_members(shape, decoded, "", refuse)
    return decoded


def _document(body: bytes) -> dict[str, Any]:
    try:
        document = json.loads(body)
    except ValueError:
        raise AwsError("SerializationException", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise AwsError("SerializationException", "the body is not an object")
    return document


def _from_json(shape: Shape, value: Any, path: str) -> Any:
    if not isinstance(value, TYPES[shape.type_name]) or (isinstance(value, bool) and shape.type_name != "boolean"):
        raise AwsError("SerializationException", f"{path} is not a {shape.type_name}")
    if shape.type_name == "list":
        check_size(shape, value, path, refuse)
        return [_from_json(shape.member, one, path) for one in value]
    if shape.type_name != "structure":
        return value if isinstance(value, bool) else check_scalar(shape, value, path, refuse)
    unknown = value.keys() - shape.members.keys()
    if unknown:
        raise invalid(f"{path} has no {unknown.pop()}")
    decoded = {key: _from_json(shape.members[key], one, f"{path}.{key}") for key, one in value.items()}
    check_members(shape, decoded, f"{path}.", refuse)
    return decoded


def answer(operation: OperationModel, result: Params | None, request_id: str) -> Answer:
    """Write an answer: a payload member is the whole body, and the model defines the location of the others."""
    shape, result = operation.output_shape, result or {}
    unknown = result.keys() - shape.members.keys()
    if unknown:
        raise TypeError(f"{shape.name} has no {unknown}")
    payload, headers, body = shape.serialization.get("payload"), {"x-amzn-RequestId": request_id}, {}
    for key, value in result.items():
        traits = shape.members[key].serialization
        if value is None or key == payload:
            continue
        if traits.get("location") == "header":
            headers[traits["name"]] = str(value)
        else:
            body[traits.get("name", key)] = value
    status = operation.http.get("responseCode", 200)
    if payload:
        return Answer(result[payload], status, headers, "application/octet-stream")
    return Answer(json.dumps(body).encode(), status, headers, "application/json")


def error(refusal: AwsError, request_id: str) -> Answer:
    headers = {"x-amzn-ErrorType": refusal.code, "x-amzn-RequestId": request_id}
    body = json.dumps({"__type": refusal.code, "Message": refusal.message, **refusal.fields})
    return Answer(body.encode(), refusal.status, headers, "application/json")
