"""The shapes of requests about secrets."""

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from vault.api.fields import Body, Flag, a_number, a_text, an_id, matches
from vault.api.secret_fields import CURSOR, NAME_LENGTH, a_name, a_value, some_labels
from vault.operations.idempotency import MIN_ANONYMOUS_KEY_LENGTH
from vault.operations.reference import Reference

_TEN_YEARS_SECONDS = 315_360_000
_MAX_READS = 1_000
_MAX_LISTED = 1_000
_MAX_VERSION = 2**31 - 1
_PREFIX_PATTERN = "^[A-Za-z0-9._/-]*$"
_VISIBLE_PATTERN = "^[!-~]+$"


class NewSecret(Body):
    """A secret to keep, and for how long."""

    secret = a_value("The secret")
    ttl_seconds = a_number(
        "After this many seconds it can no longer be read.", 86_400, most=_TEN_YEARS_SECONDS
    )
    max_reads = a_number(
        "So often it can be fetched, and no more. A reply that is lost on its way counts.",
        1,
        most=_MAX_READS,
    )
    name = a_name(
        description="A name beside its id, unique in the namespace: a path of letters, digits, dots, dashes "
        "and underscores. It is no authority: to use it takes a credential."
    )
    labels = some_labels(description="Short texts by key, to find secrets by. They are not encrypted.")


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

    secret_id = an_id("What `create` returned.")
    name = a_name(description="Its name, in place of the id. This takes a credential: names can be guessed.")

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

    version = a_number("Which version, while it is kept; the newest if left out.", 1, most=_MAX_VERSION)


class PurgeReference(SecretReference):
    """A deleted secret, or one version of a secret."""

    version = a_number(
        "The version to destroy, of a secret that is not deleted. It cannot be the newest.",
        1,
        most=_MAX_VERSION,
    )


class NewVersion(SecretReference):
    """A new value for a secret."""

    secret = a_value("The new value")
    expected_version = a_number(
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
    labels = some_labels(description="Secrets that have all of these labels.")
    deleted = Flag(
        load_default=False,
        metadata={
            "description": "Those that were deleted and can be restored, not the others.",
            "example": False,
        },
    )
    limit = a_number("How many to return at the most.", 100, most=_MAX_LISTED, default=100)
    cursor = a_text("The `cursor` of the page before.", CURSOR, load_default=None)
