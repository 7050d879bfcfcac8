"""Arguments: what schemas read from the bodies and headers of requests."""

from typing import Any

from flask import request
from marshmallow import Schema, ValidationError
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge

from vault.common import strict_json
from vault.toolkit.http import bodies
from vault.toolkit.http.refusals import InvalidArgumentsError


def of_body(schema: Schema) -> Any:
    """Return what *schema* reads from the JSON body that `bodies.receive` has read. It can allow more fields.

    Only JSON that every reader understands alike is accepted: UTF-8, no duplicate keys, no NaN. If a proxy
    that checks a body and this service saw different values in it, the check could be bypassed.

    Raises:
        BadRequest: It is not JSON, or readers could understand it differently.
        RequestEntityTooLarge: It has too many values or fields.
        InvalidArgumentsError: It does not have the form of *schema*.
    """
    max_fields = getattr(schema, "max_fields", strict_json.MAX_FIELDS)
    try:
        body = strict_json.decode(bodies.received(), max_fields=max_fields)
    except strict_json.TooManyPartsError as error:
        raise RequestEntityTooLarge(f"The body {error}.") from None
    except strict_json.InvalidJSONError as error:
        raise BadRequest(f"The body {error}.") from None
    return _read(schema, body)


def of_headers(schema: Schema) -> Any:
    """Return what *schema* reads from the headers, of which each field is one.

    Raises:
        InvalidArgumentsError: They do not have the form of *schema*.
    """
    names = [field.data_key or name for name, field in schema.fields.items()]
    return _read(schema, {name: request.headers[name] for name in names if name in request.headers})


def _read(schema: Schema, found: Any) -> Any:
    try:
        return schema.load(found)
    except ValidationError as error:
        # The reference cycle of the error would keep the body in memory.
        bodies.forget_origin(error)
        messages = error.messages
    raise InvalidArgumentsError(messages)
