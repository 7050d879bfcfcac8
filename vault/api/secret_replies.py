"""The shapes of replies about secrets."""

from typing import Any

from marshmallow import fields

from vault.api.fields import SECRET_ID, Base64, Moment, Reply, a_text
from vault.api.secret_fields import CURSOR, LABELS, NAME, SECRET

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
    cursor = a_text("For the next page; null when there are no more.", CURSOR, required=True, allow_none=True)
