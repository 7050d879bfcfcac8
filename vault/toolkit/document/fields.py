"""Building blocks for the schemas of requests and replies."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, ClassVar

from marshmallow import EXCLUDE, INCLUDE, RAISE, Schema, ValidationError, fields, pre_load, validate

from vault.common import feature
from vault.common.attributes import ATTRIBUTES, Form
from vault.common.credentials import token_flaw
from vault.common.errors import InvalidBase64Error
from vault.common.labels import MAX_KEY_BYTES, MAX_LABELS, MAX_TEXT_BYTES, key_flaw, text_flaw
from vault.common.text import INVISIBLE, ONE_LINE_PATTERN, is_blank, is_one_line
from vault.common.timestamps import moment
from vault.core.principal import NAME_PATTERN

SECRET_ID = {"example": "550e8400-e29b-41d4-a716-446655440000", "format": "uuid"}


#: Standard alphabet, correct padding, zero trailing bits, not empty (RFC 4648, section 3.5).
BASE64_PATTERN = (
    "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)$"
)
_EITHER_ALPHABET = re.compile("[A-Za-z0-9+/_-]+")
_NO_WHITE_SPACE = str.maketrans("", "", " \t\r\n")
UUID_PATTERN = "^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"

#: ASCII without spaces and control characters.
VISIBLE_PATTERN = "^[!-~]+$"

#: The JSON Schemas of a text, and of a list.
TEXT = {"type": "string"}
LIST = {"type": "array", "items": {}}

#: Names of secrets, paths, beginnings of names, and keys of labels, and some other texts: a pattern that
#: every reader understands cannot say what is visible, or in which form. Descriptions do.
NAME_OF_SECRET_PATTERN = f"^[^{INVISIBLE}*/]+(?:/[^{INVISIBLE}*/]+)*$"
PATH_PATTERN = f"^[^{INVISIBLE}*/]+(?:/[^{INVISIBLE}*/]+)*/?$"
PREFIX_PATTERN = f"^[^{INVISIBLE}*]*$"
LABEL_KEY_PATTERN = f"^[^{INVISIBLE}=]+$"

#: JSON Schema's `propertyNames`, which OpenAPI 3.0 lacks.
_LABEL_KEYS = {"x-propertyNames": {"pattern": LABEL_KEY_PATTERN, "maxLength": MAX_KEY_BYTES}}

#: Longer names have no similar one: comparing them would take long.
_MAX_COMPARED = 64
_MIN_SIMILARITY = 0.75
_WORD_START = re.compile("(?<=[a-z0-9])(?=[A-Z])")


def one_line(text: str) -> None:
    """Validate that *text* is one line, without invisible characters."""
    if not is_one_line(text):
        raise ValidationError("Must be one line, without invisible characters.")


def not_blank(text: str) -> None:
    """Validate that *text* shows something, unless it is empty: for that, there is a minimum length."""
    if text and is_blank(text):
        raise ValidationError("Must have a visible character.")


def flawless(flaw_of: Callable[[str], str]) -> Callable[[str], None]:
    """Return a validator that requires that *flaw_of* returns no rule that a text breaks."""

    def check(text: str) -> None:
        if flaw := flaw_of(text):
            raise ValidationError(f"{flaw[0].upper()}{flaw[1:]}.")

    return check


def as_sentence(check: Callable[[str], None]) -> Callable[[str], None]:
    """Return *check*, a validator of settings, with errors that are sentences."""

    def checked(text: str) -> None:
        try:
            check(text)
        except ValidationError as error:
            message = str(error.messages[0])
            raise ValidationError(message[:1].upper() + message[1:]) from None

    return checked


def matches(pattern: str, error: str) -> Callable[[str], None]:
    """Return a validator that requires the whole text to match *pattern*."""

    # A function: a `Regexp` would appear in the OpenAPI document, and does not match the whole text.
    def check(text: str) -> None:
        if not re.fullmatch(pattern, text):
            raise ValidationError(error)

    return check


class Base64(fields.String):
    """Bytes as canonical base64, so that a value is returned byte for byte as it was sent.

    By the contract, invalid base64 is a 400, not a failed validation (422).
    """

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bytes:  # type: ignore[override]
        text = super()._deserialize(value, attr, data, **kwargs)
        try:
            decoded = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidBase64Error(f"invalid base64: `secret` {_base64_flaw(text)}.") from None
        # Decoders accept trailing bits and extra padding; an encoder produces only the canonical form.
        if not decoded or b64encode(decoded).decode() != text:
            raise InvalidBase64Error("invalid base64: `secret` is empty, or not in canonical form.")
        return decoded

    def _serialize(self, value: bytes, *_: Any, **__: Any) -> str:  # type: ignore[override]
        return b64encode(value).decode()


def _base64_flaw(text: str) -> str:
    """Return how *text*, which is not base64, differs from it: of what usual encoders make, all of it."""
    digits = text.translate(_NO_WHITE_SPACE) if text.isascii() else ""
    core = digits.rstrip("=")
    flaws = {
        "contains line breaks or spaces": len(digits) < len(text),
        "has the URL-safe alphabet, with - and _ in place of + and /": "-" in core or "_" in core,
        "lacks padding: add = until its length is a multiple of 4": len(digits) - len(core) < -len(core) % 4,
    }
    is_usual = core and len(core) % 4 != 1 and _EITHER_ALPHABET.fullmatch(core)
    found = [flaw for flaw, is_found in flaws.items() if is_usual and is_found]
    return "; it ".join(found) or "must use the standard alphabet, with padding"


@dataclass(frozen=True, slots=True)
class InvalidValue:
    """A text that is not canonical base64."""

    text: str = field(repr=False)
    error: InvalidBase64Error


class Base64OfItem(Base64):
    """As `Base64`, for an item of a batch: if it is not valid, it fails only its own item."""

    def _deserialize(  # type: ignore[override]
        self, value: Any, attr: str | None, data: Any, **kwargs: Any
    ) -> bytes | InvalidValue:
        try:
            return super()._deserialize(value, attr, data, **kwargs)
        except InvalidBase64Error as error:
            return InvalidValue(value, error.detached())


#: The refusal of a text that is not an ID.
NOT_AN_ID = "Not a valid UUID. To use a name, send it as `name`."


class SecretId(fields.String):
    """A secret's ID: 36 characters in either case, converted to lower case."""

    def _deserialize(self, *args: Any, **kwargs: Any) -> str:
        text = super()._deserialize(*args, **kwargs)
        if not re.fullmatch(UUID_PATTERN, text):
            raise ValidationError(NOT_AN_ID)
        return text.lower()


class BoundedDict(fields.Dict):
    """A mapping of at most *max_size* entries; a larger one is refused without validating its entries.

    Errors are by key; marshmallow separates those of a key from those of its value.
    """

    def __init__(self, *, max_size: int, too_many: str, metadata: dict[str, Any], **options: Any) -> None:
        super().__init__(metadata=metadata | {"maxProperties": max_size}, **options)
        self._max_size, self._too_many = max_size, too_many

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_larger(value, self._max_size, self._too_many)
        try:
            return super()._deserialize(value, *args, **kwargs)  # type: ignore[no-untyped-call]
        except ValidationError as error:
            raise ValidationError(_joined(error.messages)) from None


def _joined(messages: Any) -> Any:
    """Return a mapping's *messages*, those of each key together with those of its value."""
    if isinstance(messages, list):
        return messages
    return {key: [text for part in parts.values() for text in part] for key, parts in messages.items()}


class BoundedList(fields.List[Any]):
    """A list of at most *max_size* items; a longer one is refused without validating its items."""

    def __init__(self, item: Any, *, max_size: int, metadata: dict[str, Any], **options: Any) -> None:
        super().__init__(item, metadata=metadata | {"maxItems": max_size}, **options)
        self._max_size, self._too_many = max_size, f"Longer than maximum length {max_size}."

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        _refuse_larger(value, self._max_size, self._too_many)
        return super()._deserialize(value, *args, **kwargs)


class Item(fields.Nested):
    """An object in a list, which can be large: if it is not valid, it is not kept in memory."""

    def _load(self, value: Any, partial: Any = None) -> Any:
        try:
            return super()._load(value, partial)
        except ValidationError as error:
            # marshmallow's error, and a frame that refers to it, have the value.
            cause: Any = error.__cause__
            cause.__traceback__ = None
            raise ValidationError(error.messages) from None


def _refuse_larger(value: Any, max_size: int, too_many: str) -> None:
    if isinstance(value, dict | list) and len(value) > max_size:
        raise ValidationError(too_many)


class Flag(fields.Boolean):
    """True or false; other values are refused, not converted."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> bool:
        if not isinstance(value, bool):
            raise self.make_error("invalid", input=value)
        return value


class Moment(fields.AwareDateTime):
    """A time in UTC, to the millisecond, as in audit entries."""

    def _serialize(self, value: datetime | None, *_: Any, **__: Any) -> str | None:
        return None if value is None else moment(value)


def text_field(
    description: str, example: str | None, *, shape: Mapping[str, Any] = MappingProxyType({}), **options: Any
) -> fields.String:
    """Return a field for a text, with its documentation: *shape* has further keywords of its schema."""
    return fields.String(metadata={"description": description, "example": example, **shape}, **options)


def name_field(description: str, *, example: str = "ci", **options: Any) -> fields.String:
    """Return a field for the name of a token, a role or an issuer, or a namespace, with its documentation."""
    return fields.String(
        validate=[
            matches(NAME_PATTERN, "Must be up to 64 letters, digits, dots, hyphens and underscores."),
            flawless(token_flaw),
        ],
        metadata={"example": example, "pattern": NAME_PATTERN, "description": description},
        **options,
    )


def number_field(
    description: str,
    example: int,
    *,
    maximum: int,
    minimum: int = 1,
    default: int | None = None,
    required: bool = False,
) -> fields.Integer:
    """Return a field for an integer in a request, with its documentation."""
    presence: dict[str, Any] = {"required": True} if required else {"load_default": default}
    return fields.Integer(
        strict=True,
        validate=validate.Range(minimum, maximum),
        metadata={"description": description, "example": example},
        **presence,
    )


def integer_field(description: str, example: int, **options: Any) -> fields.Integer:
    """Return a field for an integer in a reply, with its documentation."""
    return fields.Integer(metadata={"description": description, "example": example}, **options)


def boolean_field(description: str, *, example: bool = False, **options: Any) -> fields.Boolean:
    """Return a field for true or false in a reply, with its documentation."""
    return fields.Boolean(metadata={"description": description, "example": example}, **options)


def flag_field(description: str, *, example: bool = False) -> Flag:
    """Return a field for true or false in a request, by default false, with its documentation."""
    return Flag(load_default=False, metadata={"description": description, "example": example})


def choice_field(description: str, example: str, choices: Iterable[str], **options: Any) -> fields.String:
    """Return a field for one of the *choices* in a request, with its documentation."""
    return text_field(description, example, validate=validate.OneOf([str(one) for one in choices]), **options)


def time_field(
    description: str, example: str | None, *, allow_none: bool = True, required: bool = True
) -> Moment:
    """Return a field for a time in a reply, with its documentation."""
    metadata = {"description": description, "example": example}
    return Moment(required=required, allow_none=allow_none, metadata=metadata)


def texts_field(
    description: str, example: Sequence[str], *, item: Mapping[str, Any] | None = None, required: bool = True
) -> fields.List[Any]:
    """Return a field for a list of texts in a reply, with its documentation: *item* is that of each text."""
    metadata = {"description": description, "example": list(example)}
    return fields.List(fields.String(metadata=item), required=required, metadata=metadata)


def mapping_field(description: str, example: Mapping[str, str]) -> fields.Dict:
    """Return a field for texts by their keys in a reply, with its documentation."""
    metadata = {"description": description, "example": example}
    return fields.Dict(keys=fields.String(), values=fields.String(), required=True, metadata=metadata)


def objects_field(schema: type[Schema], description: str) -> fields.List[Any]:
    """Return a field for a list of objects in a reply, with its documentation."""
    return fields.List(fields.Nested(schema), required=True, metadata={"description": description})


def cursor_field(what: str, example: str, pattern: str) -> fields.String:
    """Return a field for the cursor in a request for a list of *what*, with its documentation."""
    description = f"The `cursor` of the previous page. If omitted, the list starts at the first {what}."
    return text_field(description, example, shape={"pattern": pattern}, load_default=None)


def next_cursor_field(example: str, pattern: str) -> fields.String:
    """Return a field for the cursor in a reply with a page, with its documentation."""
    description = "The `cursor` for the next page; null on the last page."
    return text_field(description, example, shape={"pattern": pattern}, required=True, allow_none=True)


def id_field(description: str, **options: Any) -> SecretId:
    """Return a field for a secret's ID in a request, with its documentation."""
    metadata = SECRET_ID | {"description": description, "pattern": UUID_PATTERN}
    return SecretId(metadata=metadata, **options)


def attribute_fields(use: str) -> dict[str, fields.Field[Any]]:
    """Return the fields for the attributes of a secret in a request, as described for this *use*."""
    return {
        one.name: _ATTRIBUTE_FIELDS[one.form](
            # Not by default, of a change: an attribute that is missing stays as it is.
            load_default=None if use == "change" else one.form.value,
            example=one.example,
            description=getattr(one, use),
        )
        for one in ATTRIBUTES
        if getattr(one, use)
    }


def attribute_replies() -> dict[str, fields.Field[Any]]:
    """Return the fields of the attributes of a secret in a reply."""
    return {
        one.name: mapping_field(one.reply, one.example)
        if one.form is Form.PAIRS
        else text_field(one.reply, one.example, required=True, allow_none=True)
        for one in ATTRIBUTES
    }


def feature_fields(use: str) -> dict[str, fields.Field[Any]]:
    """Return the fields that features add to secrets, for this *use*: `create`, `change` or `reply`."""
    modules = feature.resolved(one.secret_fields for one in feature.features() if one.secret_fields)
    return {name: made for module in modules for name, made in getattr(module, use)().items()}


def _one_line_field(*, load_default: Any, **metadata: Any) -> fields.String:
    shape = {"pattern": ONE_LINE_PATTERN, "maxLength": MAX_TEXT_BYTES}
    return fields.String(validate=flawless(text_flaw), load_default=load_default, metadata=metadata | shape)


def labels_field(*, load_default: Any = dict, **metadata: Any) -> BoundedDict:
    """Return the field for labels."""
    key = fields.String(validate=flawless(key_flaw))
    text = fields.String(
        validate=flawless(text_flaw), metadata={"pattern": ONE_LINE_PATTERN, "maxLength": MAX_TEXT_BYTES}
    )
    return BoundedDict(
        max_size=MAX_LABELS,
        too_many=f"Must have at most {MAX_LABELS} labels.",
        keys=key,
        values=text,
        load_default=load_default,
        metadata=metadata | _LABEL_KEYS,
    )


_ATTRIBUTE_FIELDS: Mapping[Form, Callable[..., fields.Field[Any]]] = {
    Form.TEXT: _one_line_field,
    Form.PAIRS: labels_field,
}


def neither_nor_both(**shapes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON Schemas of objects with neither or both of two fields of these *shapes*."""
    return [
        {"properties": {name: {"not": shape} for name, shape in shapes.items()}},
        {"required": list(shapes), "properties": shapes},
    ]


class UnknownField(str):
    """The *message* about an unknown field with this *name*; as a text, with a similar one of those *known*.

    Looking for that takes time, and a body can have thousands of unknown fields, of which few are shown.
    """

    def __new__(cls, message: str, name: str, known: Iterable[str]) -> "UnknownField":
        """Return the message."""
        self = super().__new__(cls, message)
        self._name, self._known = name, known
        return self

    _name: str
    _known: Iterable[str]

    def __str__(self) -> str:
        """Return the message with the similar field, if there is one."""
        meant = _similar(self._name, self._known)
        return super().__str__() + (f" Did you mean `{meant}`?" if meant else "")


def _similar(name: str, known: Iterable[str]) -> str:
    """Return the name of *known* that *name* may stand for; empty without one.

    Names have words between underscores. It stands for the first one with all its words, such as `ttl` for
    `ttl_seconds`, or else for one with few other letters.
    """
    if len(name) > _MAX_COMPARED:
        return ""
    name = _WORD_START.sub("_", name).lower().replace("-", "_")
    words = set(name.split("_"))
    names = list(known)
    with_words = [one for one in names if words <= set(one.split("_"))]
    return next(iter(with_words or get_close_matches(name, names, 1, _MIN_SIMILARITY)), "")


class Body(Schema):
    """The schema of a request body. Null in an optional field means that the field is absent."""

    error_messages = {"type": "Must be an object."}  # noqa: RUF012 - as marshmallow declares it

    class Meta:
        """Refuse unknown fields: they are mistakes of the caller."""

        unknown = RAISE

    #: The JSON Schema of objects that are refused because of a rule about several fields.
    refused: ClassVar[dict[str, Any]] = {}

    def on_bind_field(self, field_name: str, field_obj: fields.Field[Any]) -> None:  # noqa: ARG002 - marshmallow's signature
        """Make optional fields nullable in the OpenAPI document."""
        field_obj.allow_none = not field_obj.required

    def handle_error(self, error: ValidationError, data: Any, **_: Any) -> None:  # noqa: ARG002 - marshmallow's signature
        """Make the message about each unknown field name a similar one."""
        unknown = self.error_messages["unknown"]
        # By field, since the schema is that of one object.
        found: Any = error.messages
        found |= {
            name: [UnknownField(unknown, name, self.fields)]
            for name, messages in found.items()
            if messages == [unknown]
        }

    @pre_load
    def _drop_nulls(self, data: Any, **_: Any) -> Any:
        """Remove the optional fields that are null, so that they get their defaults."""
        if not isinstance(data, dict) or None not in data.values():
            return data
        optional = {name for name, field in self.fields.items() if not field.required}
        return {name: value for name, value in data.items() if value is not None or name not in optional}


class FreeForm(Schema):
    """The schema of an object with any fields, for the document only."""

    class Meta:
        """Any field is known."""

        unknown = INCLUDE


class Reply(Schema):
    """The schema of a reply."""

    class Meta:
        """Ignore unknown fields: replies may gain fields."""

        unknown = EXCLUDE
