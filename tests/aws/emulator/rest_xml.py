"""REST with XML: S3's protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from .errors import AwsError
from .request import Answer
from .rest import located, refuse
from .shapes import check_members, check_scalar, check_size
from .xml_protocol import encode

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

    from .request import Params, Request

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"


def decode(operation: OperationModel, in_path: dict[str, str], request: Request) -> Params:
    """Return the parameters of an operation by the names and with the types of its model."""
    shape = operation.input_shape
    decoded, _ = located(operation, in_path, request)  # S3 ignores unknown parameters in a query
    payload = shape.serialization.get("payload")
    if payload and shape.members[payload].type_name == "blob":
        decoded[payload] = request.body
    elif payload and request.body:
        decoded[payload] = _element(shape.members[payload], _document(request.body))
    check_members(shape, decoded, "", refuse)
    return decoded


def _document(body: bytes) -> ElementTree.Element:
    try:
        return ElementTree.fromstring(body)
    except ElementTree.ParseError:
        raise AwsError("MalformedXML", "The XML you provided was not well-formed") from None


def _element(shape: Shape, element: ElementTree.Element) -> Any:
    if shape.type_name != "structure":
        value = int(element.text or 0) if shape.type_name in ("integer", "long") else element.text or ""
        return check_scalar(shape, value, shape.name, refuse)
    decoded = {}
    for key, member in shape.members.items():
        found = element.findall(f"{{*}}{member.serialization.get('name', key)}")
        if found and member.type_name == "list":
            decoded[key] = [_element(member.member, one) for one in found]
            check_size(member, decoded[key], key, refuse)
        elif found:
            decoded[key] = _element(member, found[0])
    return decoded


def answer(operation: OperationModel, result: Params | None, request_id: str) -> Answer:
    """Write an answer: headers, and a body that is a payload or XML of the other members."""
    shape, result = operation.output_shape, result or {}
    headers, body = {"x-amz-request-id": request_id}, {}
    status = result.pop("Status", operation.http.get("responseCode", 200))
    if shape is None:
        return Answer(b"", status, headers)
    payload = shape.serialization.get("payload")
    for key, value in result.items():
        traits = shape.members[key].serialization
        if traits.get("location") == "header":
            headers[traits["name"]] = str(value)
        elif key != payload:
            body[key] = value
    if payload:
        return Answer(result.get(payload, b""), status, headers, "binary/octet-stream")
    if not body:
        return Answer(b"", status, headers)
    text = f'<{operation.name}Result xmlns="{NAMESPACE}">{encode(shape, body)}</{operation.name}Result>'
    return Answer(text.encode(), status, headers, "application/xml")


def error(refusal: AwsError, request_id: str) -> Answer:
    told = {"Code": refusal.code, "Message": refusal.message, **refusal.fields, "RequestId": request_id}
    text = "".join(f"<{key}>{escape(value)}</{key}>" for key, value in told.items())
    headers = {"x-amz-request-id": request_id}
    return Answer(f"<Error>{text}</Error>".encode(), refusal.status, headers, "application/xml")
