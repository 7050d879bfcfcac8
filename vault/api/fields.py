"""What the shapes of requests and replies are made of."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import datetime
from typing import Any, ClassVar

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, validate
from werkzeug.exceptions import BadRequest

from vault.core.timestamps import moment

SECRET_ID = {"example": "550e8400-e29b-41d4-a716-446655440000"}

#: Standard alphabet, right padding, zero trailing bits, not empty (RFC 4648, section 3.5).
BASE64_PATTERN = (
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$"
)
UUID_PATTERN = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"

ONE_LINE = validate.Predicate("isprintable", error="Must be printable, and one line.")


def matches(pattern: str, error: str) -> Callable[[str], None]:
    """Return what refuses a text that is not all *pattern*."""

    # A function, as apispec would document a Regexp in its place; and the whole text, as in JSON Schema.
    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValidationError(error)

    return check


class Base64(fields.String):
    """Bytes as canonical base64: what came in comes out byte for byte the same.

    Anything else is a 400 and no wrong shape (422): the contract sets it apart.
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bytes:  # type: ignore[override]
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            decoded = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise BadRequest("invalid base64: use the standard alphabet, with padding") from None
        # Decoders forgive trailing bits and stray padding; an encoder makes one form only.
        if not decoded or b64encode(decoded).decode() != text:
            raise BadRequest("invalid base64: empty, or not in canonical form")
        return decoded

    def _serialize(self, value: bytes, *_: Any, **__: Any) -> str:  # type: ignore[override]
        return b64encode(value).decode()


class SecretId(fields.String):
    """A secret's id: 36 characters, in either case; in lower case once it is read."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(*args, **kwargs)
        if not re.fullmatch(UUID_PATTERN, text):
            raise ValidationError("Not a valid UUID.")
        return text.lower()


class BoundedDict(fields.Dict):
    """A mapping of at most *most* entries; more are counted, and not looked at one by one."""

    def __init__(self, *, most: int, too_many: str, metadata: dict[str, Any], **options: Any) -> None:
        super().__init__(metadata=metadata | {"maxProperties": most}, **options)
        self._most, self._too_many = most, too_many

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_more(value, self._most, self._too_many)
        return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]


class BoundedList(fields.List[Any]):
    """A list of at most *most* items; more are counted, and not looked at one by one."""

    def __init__(self, item: Any, *, most: int, metadata: dict[str, Any], **options: Any) -> None:
        super().__init__(item, metadata=metadata | {"maxItems": most}, **options)
        self._most, self._too_many = most, f"Longer than maximum length {most}."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_more(value, self._most, self._too_many)
        return super()._deserialize(value, *args, **kwargs)


def _refuse_more(value: Any, most: int, too_many: str) -> None:
    if isinstance(value, dict | list) and len(value) > most:
        raise ValidationError(too_many)


class Flag(fields.Boolean):
    """True or false, and nothing that could be taken for it."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Moment(fields.AwareDateTime):
    """A time in UTC, to the millisecond, as audit entries have it too."""

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else moment(value)


def text_field(description: str, example: str, **options: Any) -> fields.String:
    """Return a text's field, described."""
    return fields.String(metadata={"description": description, "example": example}, **options)


def number_field(
    description: str, example: int, *, least: int = 1, most: int, default: int | None = None
) -> fields.Integer:
    """Return the field for a whole number in a request, described."""
    return fields.Integer(
        strict=True,
        load_default=default,
        validate=validate.Range(least, most),
        metadata={"description": description, "example": example},
    )


def id_field(description: str, **options: Any) -> SecretId:
    """Return the field for a secret's id in a request, described."""
    said = {"description": description, "format": "uuid", "pattern": UUID_PATTERN}
    return SecretId(metadata=SECRET_ID | said, **options)


class Body(Schema):
    """What a request holds."""

    class Meta:
        """An unknown field is a mistake that its sender wants to hear of."""

        unknown = RAISE

    #: What a JSON Schema says beside the fields, such as which of them go together.
    constraints: ClassVar[dict[str, Any]] = {}


class Reply(Schema):
    """What a reply holds."""

    class Meta:
        """A reply may gain fields: readers ignore those that they do not know."""

        unknown = EXCLUDE
