"""The schemas of replies about secrets."""

from typing import Any

from marshmallow import fields

from vault.core.principal import Scope
from vault.core.secrets.selection import CURSOR_PATTERN
from vault.service.api.secret_requests import CURSOR, NAME, SECRET
from vault.toolkit.document.errors import Problem
from vault.toolkit.document.fields import (
    SECRET_ID,
    Base64,
    Reply,
    attribute_replies,
    feature_fields,
    integer_field,
    next_cursor_field,
    objects_field,
    text_field,
    time_field,
)
from vault.toolkit.document.headers import RECEIPT_EXAMPLE

CANARY_WARNING = (
    "In the last 30 days, a batch by prefix has read where this canary is: the next one sets off the alarm."
)

#: In order: a secret's creation, its second version, its last fetch and its expiry.
_CREATED = "2026-11-24T15:30:00.000Z"
_UPDATED = "2026-11-24T16:00:00.000Z"
_FETCHED = "2026-11-24T16:30:00.000Z"
_EXPIRES = "2026-11-25T15:30:00.000Z"


def secret_id_field(description: str = "The secret's ID.", *, required: bool = True) -> fields.String:
    """Return the field for the ID of a secret."""
    return fields.String(required=required, metadata=SECRET_ID | {"description": description})


def _number(description: str, example: int, **options: Any) -> fields.Integer:
    return integer_field(description, example, required=True, **options)


def _name(**options: Any) -> fields.String:
    metadata = NAME | {"description": "The secret's name; null if it has none."}
    return fields.String(allow_none=True, metadata=metadata, **options)


def _value(**options: Any) -> Base64:
    about = {"description": "The secret, exactly as it was created.", "format": "byte"}
    return Base64(metadata=SECRET | about, **options)


def _item_problem() -> fields.Nested:
    description = "The refusal that this item would get on its own. It does not affect the other items."
    return fields.Nested(Problem, metadata={"description": description})


def _receipts() -> fields.List[Any]:
    description = (
        "With `X-Receipt`: the receipt for each item's audit entry; null for an item with a problem."
    )
    receipt = fields.String(allow_none=True)
    return fields.List(receipt, metadata={"description": description, "example": [RECEIPT_EXAMPLE]})


class SecretLocation(Reply):
    """The ID of a secret."""

    secret_id = secret_id_field("The secret's ID. Keep it: without a name, it is the only way to the secret.")


def _warning() -> fields.String:
    return text_field(
        "The reason why programs would read this canary; missing without one.", CANARY_WARNING, required=False
    )


class CreatedSecret(SecretLocation):
    """The ID of a new secret."""

    warning = _warning()


class SecretValue(Reply):
    """A secret's value."""

    secret = _value(required=True)


class CreatedItem(Reply):
    """The outcome for one secret of a batch: `problem` if it failed, otherwise `secret_id`."""

    secret_id = secret_id_field(required=False)
    warning = _warning()
    problem = _item_problem()


class CreatedBatch(Reply):
    """The outcomes for all secrets of a batch."""

    secrets = objects_field(CreatedItem, "In the order of the request.")
    receipts = _receipts()


class FetchedItem(Reply):
    """The outcome for one secret of a batch: `problem` if it failed, otherwise all other fields."""

    secret_id = secret_id_field(required=False)
    name = _name()
    version = integer_field("The version of the value.", 1)
    secret = _value()
    problem = _item_problem()


class FetchedBatch(Reply):
    """The outcomes for all secrets of a batch."""

    secrets = objects_field(FetchedItem, "In the order of the request; for `name_prefix`, in order of name.")
    receipts = _receipts()


class UpdatedSecret(Reply):
    """The version of the new value."""

    secret_id = secret_id_field()
    version = _number("The new version.", 2)


class DeletedSecret(Reply):
    """A deleted secret."""

    secret_id = secret_id_field()
    restorable_until = time_field(
        "The end of the period in which `restore` works; null without one, which is the default.", None
    )


class PurgedSecret(Reply):
    """A purged secret or version."""

    secret_id = secret_id_field()
    version = _number("The purged version; null for the whole secret.", 1, allow_none=True)


class KeptVersion(Reply):
    """A version that is kept."""

    version = _number("The version's number; the first is 1.", 2)
    created_at = time_field("The time of its creation.", _UPDATED, allow_none=False)
    deleted_at = time_field(
        "The time of its deletion, which can be ahead; null for none. From then on, the version cannot be "
        "fetched until `undelete` of Vault's API restores it.",
        None,
    )


class SecretSummary(Reply):
    """A secret's ID, name and labels."""

    secret_id = secret_id_field()
    name = _name(required=True)
    locals().update(attribute_replies())
    canary = fields.Boolean(
        allow_none=True,
        metadata={
            "description": "True if each read is an alarm, null if the secret does not verify. Missing "
            f"without the scope `{Scope.CANARY_MANAGE}`.",
            "example": False,
        },
    )


class ListedSecret(SecretSummary):
    """A secret in a list."""

    expires_at = time_field(
        "The time of the secret's expiry. Missing without `expires_within`.", _EXPIRES, required=False
    )


class SecretDescription(SecretSummary):
    """Everything about a secret except its value."""

    version = _number("The newest version; 0 if the secret has no value yet.", 2)
    versions = objects_field(KeptVersion, "The kept versions, newest first.")
    purged_versions = fields.List(
        fields.Integer(),
        required=True,
        metadata={
            "description": "Purged versions that would otherwise be kept, newest first.",
            "example": [1],
        },
    )
    created_at = time_field("The time of the secret's creation.", _CREATED, allow_none=False)
    expires_at = time_field("The time of the secret's expiry; null for never.", _EXPIRES)
    max_reads = _number("Maximum number of fetches; null for no limit.", 5, allow_none=True)
    reads_left = _number("Remaining number of fetches; null for no limit.", 4, allow_none=True)
    last_fetched_at = time_field(
        "The time of the last fetch in the newest 1,000 audit entries about the secret; null for none.",
        _FETCHED,
    )
    locals().update(feature_fields("reply"))
    recovery_days = _number("Days in which a delete can be undone; 0 if it is permanent.", 7)


class SecretPage(Reply):
    """A page of secrets, and the cursor for the next page."""

    secrets = objects_field(ListedSecret, "In order of name; secrets without a name come first.")
    cursor = next_cursor_field(CURSOR, CURSOR_PATTERN)
