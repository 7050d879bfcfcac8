"""The shapes of requests about secrets."""

from typing import Any

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import BASE64_PATTERN, SECRET_ID, UUID_PATTERN, Base64, Body, Flag, SecretId
from vault.operations.reference import Reference

SECRET = {"example": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
NAME = {"example": "billing/db-password"}
LABELS = {"example": {"team": "billing", "env": "prod"}}

_NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
_NAME_LENGTH = 256
_PREFIX_PATTERN = "^[A-Za-z0-9._/-]*$"
_LABEL_KEY_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._/-]*$"
_MOST_LABELS = 16
_LABEL_KEY_LENGTH = 63
_LABEL_LENGTH = 128
_TEN_YEARS = 315_360_000
_MOST_READS = 1_000
_MOST_LISTED = 1_000

_ONE_LINE = validate.Predicate("isprintable", error="Must be printable, and one line.")


def _matches(pattern: str, error: str) -> validate.Validator:
    # Python's `$` matches before a closing line feed too; JSON Schema's does not.
    return validate.Regexp(pattern.removesuffix("$") + r"\Z", error=error)


def _name(**description: Any) -> fields.String:
    return fields.String(
        validate=[
            validate.Length(1, _NAME_LENGTH),
            _matches(_NAME_PATTERN, "Must be a path like billing/db-password."),
        ],
        metadata=NAME | {"pattern": _NAME_PATTERN, **description},
    )


def _labels(**description: Any) -> fields.Dict:
    key = fields.String(
        validate=[
            validate.Length(1, _LABEL_KEY_LENGTH),
            _matches(_LABEL_KEY_PATTERN, "Must be letters, digits, dots, dashes, slashes and underscores."),
        ]
    )
    value = fields.String(validate=[validate.Length(0, _LABEL_LENGTH), _ONE_LINE])
    return fields.Dict(
        keys=key,
        values=value,
        load_default=dict,
        validate=validate.Length(max=_MOST_LABELS),
        metadata=LABELS | description,
    )


def _value(description: str) -> Base64:
    return Base64(
        required=True,
        metadata=SECRET
        | {
            "description": f"{description}, in canonical base64 (RFC 4648, section 4). Not empty; "
            "by default at most 64 KiB once it is decoded.",
            "format": "byte",
            "pattern": BASE64_PATTERN,
        },
    )


class NewSecret(Body):
    """A secret to keep, and for how long."""

    secret = _value("The secret")
    ttl_seconds = fields.Integer(
        strict=True,
        load_default=None,
        validate=validate.Range(1, _TEN_YEARS),
        metadata={"description": "After this many seconds it can no longer be read.", "example": 86_400},
    )
    max_reads = fields.Integer(
        strict=True,
        load_default=None,
        validate=validate.Range(1, _MOST_READS),
        metadata={
            "description": "So often it can be fetched, and no more. A reply that is lost on its way counts.",
            "example": 1,
        },
    )
    name = _name(
        description="A name beside its id, unique in the namespace: a path of letters, digits, dots, dashes "
        "and underscores. It is no authority: to use it takes a credential."
    )
    labels = _labels(description="Short texts by key, to find secrets by. They are not encrypted.")


class IdempotencyKey(Schema):
    """The header that makes a repeated create safe."""

    idempotency_key = fields.String(
        data_key="Idempotency-Key",
        load_default=None,
        validate=[
            validate.Length(1, 255),
            _matches("^[!-~]+$", "Must be visible ASCII characters, without spaces."),
        ],
        metadata={
            "description": "Of your choice, a new one for each secret. Sent again with the same body within "
            "24 hours it gives the same id and creates nothing; with another body it is refused."
        },
    )


class SecretReference(Body):
    """Which secret: by its id, or, with a credential, by its name."""

    secret_id = SecretId(
        metadata=SECRET_ID
        | {"description": "What `create` returned.", "format": "uuid", "pattern": UUID_PATTERN}
    )
    name = _name(description="Its name, in place of the id. This takes a credential: names can be guessed.")

    @validates_schema
    def _either(self, data: dict[str, Any], **_: Any) -> None:
        if "secret_id" not in data and "name" not in data:
            raise ValidationError("Missing: give this or a name.", "secret_id")
        if "secret_id" in data and "name" in data:
            raise ValidationError("Give this or the secret_id, not both.", "name")

    @post_load
    def _refer(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        secret_id, name = data.pop("secret_id", None), data.pop("name", None)
        return data | {"reference": Reference(secret_id=secret_id, name=name)}


class VersionReference(SecretReference):
    """Which secret, and which version of it."""

    version = fields.Integer(
        strict=True,
        load_default=None,
        validate=validate.Range(1, 2**31 - 1),
        metadata={"description": "Which version, while it is kept; the newest if left out.", "example": 1},
    )


class NewVersion(SecretReference):
    """A new value for a secret."""

    secret = _value("The new value")
    expected_version = fields.Integer(
        strict=True,
        load_default=None,
        validate=validate.Range(1, 2**31 - 1),
        metadata={
            "description": "The newest version as far as you know; if it is another, nothing is changed.",
            "example": 1,
        },
    )


class ListQuery(Body):
    """Which secrets are wanted; what is left out does not matter."""

    name_prefix = fields.String(
        load_default="",
        validate=[
            validate.Length(0, _NAME_LENGTH),
            _matches(_PREFIX_PATTERN, "Names have other characters."),
        ],
        metadata={"description": "Secrets whose name begins so.", "example": "billing/"},
    )
    labels = _labels(description="Secrets that have all of these labels.")
    deleted = Flag(
        load_default=False,
        metadata={
            "description": "Those that were deleted and can be restored, not the others.",
            "example": False,
        },
    )
    limit = fields.Integer(
        strict=True,
        load_default=100,
        validate=validate.Range(1, _MOST_LISTED),
        metadata={"description": "How many to return at the most.", "example": 100},
    )
    cursor = fields.String(
        load_default=None,
        metadata={
            "description": "The `cursor` of the page before.",
            "example": "WyJiaWxsaW5nIiwgIjU1MGUiXQ==",
        },
    )
