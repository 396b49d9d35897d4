"""Common part of the REST protocols: the operation of a request, and the parameters outside of its body."""

from __future__ import annotations

import re
import urllib.parse
from typing import TYPE_CHECKING, Any

from .errors import AwsError, invalid
from .shapes import check_scalar

if TYPE_CHECKING:
    from botocore.model import OperationModel, Shape

    from .request import Params, Request
    from .service import Service


def refuse(path: str, why: str) -> AwsError:
    return invalid(f"{path}: {why}")


def find(service: Service, request: Request) -> tuple[str, dict[str, str]]:
    """Return the name of the operation of a request, and the parameters in its path.

    If several operations match, it is the one that uses most of the query (UploadPart, not PutObject).
    """
    found = []
    for name, operation in service.operations.items():
        path, _, query = operation.model.http["requestUri"].partition("?")
        needed = set(urllib.parse.parse_qsl(query, keep_blank_values=True))
        parts = re.fullmatch(_pattern(path), request.path)
        keys = _required_in_query(operation.model)
        fits = needed <= set(request.query) and keys <= {key for key, _ in request.query}
        if parts and fits and operation.model.http["method"] == request.method:
            found.append((len(needed) + len(keys), name, parts.groupdict()))
    if not found:
        raise AwsError("UnknownOperationException", f"{request.method} {request.path}", 404)
    _, name, in_path = max(found, key=lambda one: one[0])
    return name, {key: urllib.parse.unquote(value) for key, value in in_path.items()}


def _pattern(template: str) -> str:
    """Return the regular expression of a path: ``{Key+}`` may contain slashes."""
    many = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(template))
    return re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", many) + "/?"


def _required_in_query(operation: OperationModel) -> set[str]:
    shape = operation.input_shape
    traits = [shape.members[name].serialization for name in shape.required_members]
    return {one["name"] for one in traits if one.get("location") == "querystring"}


def located(operation: OperationModel, in_path: dict[str, str], request: Request) -> tuple[Params, dict[str, str]]:
    """Return the parameters of the path, the query and the headers, and the unknown part of the query."""
    query, decoded = dict(request.query), {}
    for key, member in operation.input_shape.members.items():
        location, name = member.serialization.get("location"), member.serialization.get("name", key)
        text = None
        if location == "uri":
            text = in_path.get(name)
        elif location == "querystring":
            text = query.pop(name, None)
        elif location == "header":
            text = request.headers.get(name.lower())
        if text is not None:
            decoded[key] = _from_text(member, text, name)
    for name, _ in urllib.parse.parse_qsl(operation.http["requestUri"].partition("?")[2], keep_blank_values=True):
        query.pop(name)
    return decoded, query


def _from_text(shape: Shape, text: str, path: str) -> Any:
    if shape.type_name == "boolean":
        return text == "true"
    if shape.type_name not in ("integer", "long"):
        return check_scalar(shape, text, path, refuse)
    if not re.fullmatch(r"-?\d+", text):
        raise refuse(path, f"{text!r} is not a number")
    return check_scalar(shape, int(text), path, refuse)
