"""Bodies, durations and warnings of requests, and envelopes, of Vault's dialect."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from http import HTTPStatus
from typing import Any

from flask import Response, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from vault.common import kv_values
from vault.common.durations import parse_duration
from vault.common.observability import logs
from vault.common.strict_json import InvalidJSONError, TooManyPartsError
from vault.features.dialect.long_work import pause, value_memory
from vault.toolkit.http import bodies

#: The prefix of all paths.
PREFIX = "/v1/"

CONTENT_TYPE = "application/json"

#: The methods whose bodies are read; others have none, whatever they send.
WITH_BODY = ("POST", "PUT", "PATCH")


def json_body() -> dict[str, Any]:
    """Return the object in the request's body. Errors as `decoded_body`."""
    with decoded_body() as body:
        return body


@contextmanager
def decoded_body() -> Iterator[dict[str, Any]]:
    """Decode the object in the request's body, with each number as a `Number`, for a block that takes time.

    Nothing, or null, is empty.

    Raises:
        BadRequest: It is not an object in JSON.
        RequestEntityTooLarge: It has too many values or fields.
        OverloadedError: It could not be decoded in time.
    """
    body = bodies.received() if request.method in WITH_BODY else b""
    with value_memory(len(body)):
        yield _object(body)


def _object(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        found = kv_values.decode(body, pause)
    except TooManyPartsError as error:
        raise RequestEntityTooLarge(f"The body {error}.") from None
    except InvalidJSONError as error:
        raise BadRequest(f"failed to decode JSON input: The body {error}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise BadRequest("failed to decode JSON input: The body must be an object.")
    return found


def envelope(
    data: Any,
    *,
    status: int = HTTPStatus.OK,
    auth: Any = None,
    wrap_info: Any = None,
    warnings: Sequence[str] | None = None,
    request_id: str | None = None,
) -> Response:
    """Return the reply with *data* in Vault's envelope, with this request's ID unless another is given."""
    # Nothing here is leased: secrets stay as they are.
    found = {
        "request_id": logs.request_id.get() if request_id is None else request_id,
        "lease_id": "",
        "renewable": False,
        "lease_duration": 0,
        "data": data,
        "wrap_info": wrap_info,
        "warnings": list(warnings) if warnings else None,
        "auth": auth,
    }
    return reply(found, status)


def reply(body: Any, status: int = HTTPStatus.OK) -> Response:
    """Return a reply of this *body* without an envelope."""
    # Without a charset, as hvac expects it.
    return Response(kv_values.encode(body, pause) + b"\n", status, content_type=CONTENT_TYPE)


def no_content() -> Response:
    """Return the reply without a body."""
    return Response(status=HTTPStatus.NO_CONTENT, content_type=CONTENT_TYPE)


def restored(content: bytes) -> Response:
    """Return a reply with the *content* of an envelope that was kept, with this request's ID."""
    with value_memory(len(content)):
        return reply(kv_values.restore(content, pause) | {"request_id": logs.request_id.get()})


def duration(value: Any, what: str) -> timedelta:
    """Return the duration *value*, a text or `Number`. Nothing stands for 0.

    Raises:
        BadRequest: It has another form, which the message says of *what*.
    """
    if value is None or value == "":
        return timedelta()
    try:
        return parse_duration(value if isinstance(value, str) else "")
    except ValueError:
        raise BadRequest(f"error parsing {what}: invalid duration") from None


def ignored(body: Mapping[str, Any], *known: str) -> list[str]:
    """Return the warning of the parameters of the request, in *body* and query, that are not *known*."""
    unknown = sorted(name for name in {*body, *request.args} if name not in known)
    return [f"Endpoint ignored these unrecognized parameters: [{' '.join(unknown)}]"] if unknown else []
