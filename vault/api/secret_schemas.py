"""The shapes of requests about secrets."""

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import (
    BASE64_PATTERN,
    ONE_LINE,
    SECRET_ID,
    Base64,
    Body,
    BoundedDict,
    Flag,
    Moment,
    Reply,
    id_field,
    matches,
    number_field,
    text_field,
)
from vault.secrets.idempotency import MIN_ANONYMOUS_KEY_LENGTH
from vault.secrets.requests import Reference

SECRET = {"example": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
NAME = {"example": "billing/db-password"}
CURSOR = "WyJiaWxsaW5nIiwgIjU1MGUiXQ=="
LABELS = {"example": {"team": "billing", "env": "prod"}}

_NAME_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*$"
NAME_LENGTH = 256
_LABEL_KEY_PATTERN = "^[A-Za-z0-9_][A-Za-z0-9._/-]*$"
_MAX_LABELS = 16
_LABEL_KEY_LENGTH = 63
_LABEL_LENGTH = 128


def name_field(**description: Any) -> fields.String:
    """Return the field for a secret's name."""
    return fields.String(
        validate=[
            validate.Length(1, NAME_LENGTH),
            matches(_NAME_PATTERN, "Must be a path like billing/db-password."),
        ],
        metadata=NAME | {"pattern": _NAME_PATTERN, **description},
    )


def labels_field(**description: Any) -> BoundedDict:
    """Return the field for labels."""
    key = fields.String(
        validate=[
            validate.Length(1, _LABEL_KEY_LENGTH),
            matches(_LABEL_KEY_PATTERN, "Must be letters, digits, dots, dashes, slashes and underscores."),
        ]
    )
    text = fields.String(validate=[validate.Length(0, _LABEL_LENGTH), ONE_LINE])
    return BoundedDict(
        most=_MAX_LABELS,
        too_many=f"At most {_MAX_LABELS} labels.",
        keys=key,
        values=text,
        load_default=dict,
        metadata=LABELS | description,
    )


def value_field(description: str) -> Base64:
    """Return the field for a secret's value."""
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


_TEN_YEARS_SECONDS = 315_360_000
_MAX_READS = 1_000
_MAX_LISTED = 1_000
_MAX_VERSION = 2**31 - 1
_PREFIX_PATTERN = "^[A-Za-z0-9._/-]*$"
_VISIBLE_PATTERN = "^[!-~]+$"


class NewSecretSchema(Body):
    """A secret to keep, and for how long."""

    secret = value_field("The secret")
    ttl_seconds = number_field(
        "After this many seconds it can no longer be read.", 86_400, most=_TEN_YEARS_SECONDS
    )
    max_reads = number_field(
        "So often it can be fetched, and no more. A reply that is lost on its way counts.",
        1,
        most=_MAX_READS,
    )
    name = name_field(
        description="A name beside its id, unique in the namespace: a path of letters, digits, dots, dashes "
        "and underscores. It is no authority: to use it takes a credential."
    )
    labels = labels_field(description="Short texts by key, to find secrets by. They are not encrypted.")


class IdempotencyKey(Schema):
    """The header that makes a repeated create safe."""

    idempotency_key = fields.String(
        data_key="Idempotency-Key",
        load_default=None,
        validate=[
            validate.Length(1, 255),
            matches(_VISIBLE_PATTERN, "Must be visible ASCII characters, without spaces."),
        ],
        metadata={
            "pattern": _VISIBLE_PATTERN,
            "description": "A random one for each secret. Sent again with the same body within "
            "24 hours it gives the same id and creates nothing; with another body it is refused. Without a "
            f"credential it needs at least {MIN_ANONYMOUS_KEY_LENGTH} characters, such as a UUID: anonymous "
            "callers share one scope.",
        },
    )


class SecretReference(Body):
    """Which secret: by its id, or, with a credential, by its name."""

    constraints: ClassVar = {"oneOf": [{"required": ["secret_id"]}, {"required": ["name"]}]}

    secret_id = id_field("What `create` returned.")
    name = name_field(
        description="Its name, in place of the id. This takes a credential: names can be guessed."
    )

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

    version = number_field("Which version, while it is kept; the newest if left out.", 1, most=_MAX_VERSION)


class PurgeReference(SecretReference):
    """A deleted secret, or one version of a secret."""

    version = number_field(
        "The version to destroy, of a secret that is not deleted. It cannot be the newest.",
        1,
        most=_MAX_VERSION,
    )


class NewVersion(SecretReference):
    """A new value for a secret."""

    secret = value_field("The new value")
    expected_version = number_field(
        "The newest version as far as you know; if it is another, nothing is changed.", 1, most=_MAX_VERSION
    )


class ListQuery(Body):
    """Which secrets are wanted; what is left out does not matter."""

    name_prefix = fields.String(
        load_default="",
        validate=[
            validate.Length(0, NAME_LENGTH),
            matches(_PREFIX_PATTERN, "Names have other characters."),
        ],
        metadata={
            "pattern": _PREFIX_PATTERN,
            "description": "Secrets whose name begins so.",
            "example": "billing/",
        },
    )
    labels = labels_field(description="Secrets that have all of these labels.")
    deleted = Flag(
        load_default=False,
        metadata={
            "description": "Those that were deleted and can be restored, not the others.",
            "example": False,
        },
    )
    limit = number_field("How many to return at the most.", 100, most=_MAX_LISTED, default=100)
    cursor = text_field("The `cursor` of the page before.", CURSOR, load_default=None)


_TIME = "2026-11-24T15:30:00.000Z"
_LATER = "2026-11-25T15:30:00.000Z"


def _moment(description: str, example: str = _TIME, *, allow_none: bool = False) -> Moment:
    metadata = {"description": description, "example": example}
    return Moment(required=True, allow_none=allow_none, metadata=metadata)


def _secret_id(description: str = "The secret's id.") -> fields.String:
    return fields.String(required=True, metadata=SECRET_ID | {"description": description, "format": "uuid"})


def _number(description: str, example: int, **options: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": description, "example": example}, **options)


class SecretLocation(Reply):
    """Where a secret is kept."""

    secret_id = _secret_id("The secret's id. Keep it: it is what fetches the secret.")


class SecretValue(Reply):
    """A secret's value."""

    secret = Base64(
        required=True,
        metadata=SECRET | {"description": "The secret, just as it was created.", "format": "byte"},
    )


class UpdatedSecret(Reply):
    """Which version the new value is."""

    secret_id = _secret_id()
    version = _number("The new version.", 2)


class DeletedSecret(Reply):
    """What was deleted."""

    secret_id = _secret_id()
    restorable_until = _moment("Until when `restore` brings it back; null: never.", _LATER, allow_none=True)


class PurgedSecret(Reply):
    """The secret or version that was purged."""

    secret_id = _secret_id()
    version = _number("The purged version; null: the whole secret.", 1, allow_none=True)


class KeptVersion(Reply):
    """One version that is kept."""

    version = _number("Its number; the first is 1.", 2)
    created_at = _moment("When it was made.")


class SecretSummary(Reply):
    """A secret in a list."""

    secret_id = _secret_id()
    name = fields.String(
        required=True, allow_none=True, metadata=NAME | {"description": "Its name, if it has one."}
    )
    labels = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata=LABELS | {"description": "Its labels."},
    )


class SecretDescription(SecretSummary):
    """Everything about a secret but its value."""

    version = _number("The newest version.", 2)
    versions = fields.List(
        fields.Nested(KeptVersion), required=True, metadata={"description": "Those kept, the newest first."}
    )
    purged_versions = fields.List(
        fields.Integer(),
        required=True,
        metadata={
            "description": "Numbers of purged versions, the newest first, while they would have been kept.",
            "example": [1],
        },
    )
    created_at = _moment("When it was created.")
    expires_at = _moment("From when on it can no longer be read; null for never.", _LATER, allow_none=True)
    max_reads = _number("How often it can be fetched in all; null for no limit.", 5, allow_none=True)
    reads_left = _number("How often it still can; null for no limit.", 4, allow_none=True)
    last_fetched_at = _moment(
        "When it was last fetched, by the newest 1,000 audit entries about it; null if they hold no fetch.",
        allow_none=True,
    )


class SecretPage(Reply):
    """Some secrets, and where to go on."""

    secrets = fields.List(
        fields.Nested(SecretSummary),
        required=True,
        metadata={"description": "By name; those without one come first."},
    )
    cursor = text_field(
        "For the next page; null when there are no more.", CURSOR, required=True, allow_none=True
    )
