"""The schemas of requests and replies about secrets."""

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from vault.api.document.errors import Problem
from vault.api.document.fields import (
    BASE64_PATTERN,
    LABELS,
    LIST,
    NAME_OF_SECRET_PATTERN,
    PREFIX_PATTERN,
    SECRET_ID,
    TEXT,
    VISIBLE_PATTERN,
    Base64,
    Base64OfItem,
    Body,
    BoundedList,
    Flag,
    Item,
    Moment,
    Reply,
    flawless,
    id_field,
    labels_field,
    matches,
    number_field,
    text_field,
)
from vault.api.native.deliveries import delivery_field
from vault.core.labels import MAX_KEY_BYTES, MAX_LABELS, MAX_TEXT_BYTES
from vault.core.paths import MAX_NAME_BYTES, name_flaw, prefix_flaw
from vault.secrets.idempotency import MIN_ANONYMOUS_KEY_LENGTH
from vault.secrets.items import MAX_ITEMS
from vault.secrets.queries import CURSOR_PATTERN
from vault.secrets.requests import Reference

SECRET = {"example": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
NAME = {"example": "billing/db-password"}
CURSOR = "550e8400-e29b-41d4-a716-446655440000/billing/db-password"

#: In order: a secret's creation, its second version, its last fetch and its expiry.
_CREATED = "2026-11-24T15:30:00.000Z"
_UPDATED = "2026-11-24T16:00:00.000Z"
_FETCHED = "2026-11-24T16:30:00.000Z"
_EXPIRES = "2026-11-25T15:30:00.000Z"

_CURSOR_SHAPE = {"pattern": CURSOR_PATTERN}
_TEN_YEARS_SECONDS = 315_360_000
_MAX_READS = 1_000
_MAX_LISTED = 1_000
_MAX_VERSION = 2**31 - 1


def name_field(**description: Any) -> fields.String:
    """Return the field for a secret's name."""
    return fields.String(
        validate=flawless(name_flaw),
        metadata=NAME | {"pattern": NAME_OF_SECRET_PATTERN, "maxLength": MAX_NAME_BYTES, **description},
    )


def prefix_field(description: str, *, min_length: int = 0, **options: Any) -> fields.String:
    """Return the field for a prefix of secrets' names."""
    return fields.String(
        validate=[validate.Length(min_length, MAX_NAME_BYTES), flawless(prefix_flaw)],
        metadata={"pattern": PREFIX_PATTERN, "description": description, "example": "billing/"},
        **options,
    )


def value_field(description: str) -> Base64:
    """Return the field for a secret's value."""
    return Base64(required=True, metadata=_value(description) | {"pattern": BASE64_PATTERN})


def _value(description: str) -> dict[str, Any]:
    description += (
        ", in canonical base64 (RFC 4648, section 4). Not empty; at most 64 KiB after decoding, unless the "
        "operator has set another limit."
    )
    return SECRET | {"description": description, "format": "byte"}


class NewSecretSchema(Body):
    """A secret to create."""

    secret = value_field("The secret")
    ttl_seconds = number_field(
        "Seconds until the secret expires. If omitted, it does not expire.",
        86_400,
        maximum=_TEN_YEARS_SECONDS,
    )
    max_reads = number_field(
        "Maximum number of fetches; unlimited if omitted. A fetch whose reply is lost counts.",
        1,
        maximum=_MAX_READS,
    )
    name = name_field(
        description="A name in addition to the ID, unique in the namespace: a path of up to 512 bytes in "
        "UTF-8, of visible characters except `*`, in the Unicode normal form NFC. Its parts are not empty, "
        "`.` or `..`, and have no space at an end. Using a name requires a credential."
    )
    labels = labels_field(
        description=f"Up to {MAX_LABELS} texts by key, for finding secrets. They are not encrypted. Keys "
        f"have up to {MAX_KEY_BYTES} bytes in UTF-8, of visible characters except `=`, in the Unicode normal "
        f"form NFC, and no space at an end; texts are one line of up to {MAX_TEXT_BYTES} bytes."
    )


class NewSecretItem(NewSecretSchema):
    """A secret to create, in a batch."""

    # Without a pattern: another value fails alone.
    secret = Base64OfItem(required=True, metadata=_value("The secret"))


class CreateBatch(Body):
    """Secrets to create."""

    secrets = BoundedList(
        Item(NewSecretItem),
        max_size=MAX_ITEMS,
        required=True,
        validate=validate.Length(min=1),
        metadata={"description": f"Up to {MAX_ITEMS} secrets, each as for *Create a secret*."},
    )


class IdempotencyKey(Schema):
    """The header that makes retries of a create safe."""

    idempotency_key = fields.String(
        data_key="Idempotency-Key",
        load_default=None,
        allow_none=False,
        validate=[
            validate.Length(1, 255),
            matches(VISIBLE_PATTERN, "Must be visible ASCII characters, without spaces."),
        ],
        metadata={
            "pattern": VISIBLE_PATTERN,
            "description": "A random key for each request. A retry with the same key and body within "
            "24 hours returns the same IDs and creates nothing; another request with the key is refused. "
            f"Without a credential, the key must have at least {MIN_ANONYMOUS_KEY_LENGTH} characters, such "
            "as a UUID, because anonymous callers share one scope.",
        },
    )


class SecretReference(Body):
    """A reference to a secret: its ID or, with a credential, its name."""

    refused: ClassVar = {
        "anyOf": [
            {"properties": {"secret_id": {"not": TEXT}, "name": {"not": TEXT}}},
            {"required": ["secret_id", "name"], "properties": {"secret_id": TEXT, "name": TEXT}},
        ]
    }

    secret_id = id_field("The ID that `create` returned. Send either the ID or the name, not both.")
    name = name_field(
        description="The secret's name, in place of the ID. This requires a credential: names can be guessed."
    )

    @validates_schema
    def _either(self, data: dict[str, Any], **_: Any) -> None:
        if "secret_id" not in data and "name" not in data:
            raise ValidationError("Either `secret_id` or `name` is required.", "secret_id")
        if "secret_id" in data and "name" in data:
            raise ValidationError("Set either `secret_id` or `name`, not both.", "name")

    @post_load
    def _refer(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        secret_id, name = data.pop("secret_id", None), data.pop("name", None)
        return data | {"reference": Reference(secret_id=secret_id, name=name)}


class VersionReference(SecretReference):
    """A reference to a version of a secret."""

    version = number_field("A version that is still kept; by default the newest.", 1, maximum=_MAX_VERSION)
    delivery = delivery_field()


class FetchBatch(Body):
    """References to secrets, or a prefix of their names."""

    refused: ClassVar = {
        "anyOf": [
            {"properties": {"secrets": {"not": LIST}, "name_prefix": {"not": TEXT}}},
            {"required": ["secrets", "name_prefix"], "properties": {"secrets": LIST, "name_prefix": TEXT}},
        ]
    }

    secrets = BoundedList(
        Item(VersionReference),
        max_size=MAX_ITEMS,
        validate=validate.Length(min=1),
        metadata={"description": f"Up to {MAX_ITEMS} references, each as for *Fetch a secret*."},
    )
    name_prefix = prefix_field(
        f"In place of `secrets`: all secrets whose names have this prefix, at most {MAX_ITEMS}. This "
        "requires the scope `secret:list`.",
        min_length=1,
    )

    @validates_schema
    def _either(self, data: dict[str, Any], **_: Any) -> None:
        if not data:
            raise ValidationError("Either `secrets` or `name_prefix` is required.", "secrets")
        if len(data) > 1:
            raise ValidationError("Set either `secrets` or `name_prefix`, not both.", "name_prefix")


class PurgeReference(SecretReference):
    """A reference to a deleted secret, or to a version of a secret."""

    version = number_field(
        "The version to purge, of a secret that is not deleted. It cannot be the newest. If omitted, the "
        "secret must be deleted, and is purged as a whole.",
        1,
        maximum=_MAX_VERSION,
    )


class NewVersion(SecretReference):
    """A new value for a secret."""

    secret = value_field("The new value")
    expected_version = number_field(
        "The version that you expect to be the newest. If it is not, nothing is changed. If omitted, any "
        "version may be the newest.",
        1,
        maximum=_MAX_VERSION,
    )


class NewMetadata(SecretReference):
    """New labels, or a new expiry, of a secret."""

    refused: ClassVar = {
        "anyOf": [
            *SecretReference.refused["anyOf"],
            {
                "required": ["ttl_seconds", "never_expires"],
                "properties": {"ttl_seconds": {"type": "integer"}, "never_expires": {"enum": [True]}},
            },
        ]
    }

    labels = labels_field(
        description="The new labels, which replace all others. If omitted, the labels do not change.",
        load_default=None,
    )
    ttl_seconds = number_field(
        "Seconds from now until the secret expires. If omitted, the expiry does not change.",
        86_400,
        maximum=_TEN_YEARS_SECONDS,
    )
    never_expires = Flag(
        load_default=False,
        metadata={"description": "If true, the secret no longer expires.", "example": False},
    )

    @validates_schema
    def _one_expiry(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("never_expires") and data.get("ttl_seconds"):
            raise ValidationError("Set either `ttl_seconds` or `never_expires`, not both.", "never_expires")


class ListQuery(Body):
    """Filters for secrets, all optional."""

    name_prefix = prefix_field(
        "Only secrets whose name has this prefix. If omitted, also those without a name.", load_default=""
    )
    labels = labels_field(description="Only secrets that have all of these labels.")
    deleted = Flag(
        load_default=False,
        metadata={
            "description": "If true, list the deleted secrets that can be restored, instead of the others.",
            "example": False,
        },
    )
    limit = number_field("Maximum number of secrets; 100 if omitted.", 100, maximum=_MAX_LISTED, default=100)
    cursor = text_field(
        "The `cursor` of the previous page. If omitted, the list starts at the first secret.",
        CURSOR,
        shape=_CURSOR_SHAPE,
        load_default=None,
    )


def _time(description: str, example: str | None, *, allow_none: bool = False) -> Moment:
    metadata = {"description": description, "example": example}
    return Moment(required=True, allow_none=allow_none, metadata=metadata)


def _secret_id(description: str = "The secret's ID.") -> fields.String:
    return fields.String(required=True, metadata=SECRET_ID | {"description": description})


def _number(description: str, example: int, **options: Any) -> fields.Integer:
    return fields.Integer(required=True, metadata={"description": description, "example": example}, **options)


def _item_problem() -> fields.Nested:
    description = "The refusal that this item would get on its own. It does not affect the other items."
    return fields.Nested(Problem, metadata={"description": description})


class SecretLocation(Reply):
    """The ID of a secret."""

    secret_id = _secret_id("The secret's ID. Keep it: without a name, it is the only way to the secret.")


class SecretValue(Reply):
    """A secret's value."""

    secret = Base64(
        required=True,
        metadata=SECRET | {"description": "The secret, exactly as it was created.", "format": "byte"},
    )


class CreatedItem(Reply):
    """The outcome for one secret of a batch: `problem` if it failed, otherwise `secret_id`."""

    secret_id = fields.String(metadata=SECRET_ID | {"description": "The secret's ID.", "format": "uuid"})
    problem = _item_problem()


class CreatedBatch(Reply):
    """The outcomes for all secrets of a batch."""

    secrets = fields.List(
        fields.Nested(CreatedItem), required=True, metadata={"description": "In the order of the request."}
    )


class FetchedItem(Reply):
    """The outcome for one secret of a batch: `problem` if it failed, otherwise all other fields."""

    secret_id = fields.String(metadata=SECRET_ID | {"description": "The secret's ID.", "format": "uuid"})
    name = fields.String(
        allow_none=True, metadata=NAME | {"description": "The secret's name; null if it has none."}
    )
    version = fields.Integer(metadata={"description": "The version of the value.", "example": 1})
    secret = Base64(
        metadata=SECRET | {"description": "The secret, exactly as it was created.", "format": "byte"}
    )
    problem = _item_problem()


class FetchedBatch(Reply):
    """The outcomes for all secrets of a batch."""

    secrets = fields.List(
        fields.Nested(FetchedItem),
        required=True,
        metadata={"description": "In the order of the request; for `name_prefix`, in order of name."},
    )


class UpdatedSecret(Reply):
    """The version of the new value."""

    secret_id = _secret_id()
    version = _number("The new version.", 2)


class DeletedSecret(Reply):
    """A deleted secret."""

    secret_id = _secret_id()
    restorable_until = _time(
        "The end of the period in which `restore` works; null without one, which is the default.",
        None,
        allow_none=True,
    )


class PurgedSecret(Reply):
    """A purged secret or version."""

    secret_id = _secret_id()
    version = _number("The purged version; null for the whole secret.", 1, allow_none=True)


class KeptVersion(Reply):
    """A version that is kept."""

    version = _number("The version's number; the first is 1.", 2)
    created_at = _time("The time of its creation.", _UPDATED)
    deleted_at = _time(
        "The time of its deletion, which can be ahead; null for none. From then on, the version cannot be "
        "fetched until `undelete` of Vault's API restores it.",
        None,
        allow_none=True,
    )


class SecretSummary(Reply):
    """A secret in a list."""

    secret_id = _secret_id()
    name = fields.String(
        required=True,
        allow_none=True,
        metadata=NAME | {"description": "The secret's name; null if it has none."},
    )
    labels = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata=LABELS | {"description": "The secret's labels."},
    )


class SecretDescription(SecretSummary):
    """Everything about a secret except its value."""

    version = _number("The newest version; 0 if the secret has no value yet.", 2)
    versions = fields.List(
        fields.Nested(KeptVersion),
        required=True,
        metadata={"description": "The kept versions, newest first."},
    )
    purged_versions = fields.List(
        fields.Integer(),
        required=True,
        metadata={
            "description": "Purged versions that would otherwise be kept, newest first.",
            "example": [1],
        },
    )
    created_at = _time("The time of the secret's creation.", _CREATED)
    expires_at = _time("The time of the secret's expiry; null for never.", _EXPIRES, allow_none=True)
    max_reads = _number("Maximum number of fetches; null for no limit.", 5, allow_none=True)
    reads_left = _number("Remaining number of fetches; null for no limit.", 4, allow_none=True)
    last_fetched_at = _time(
        "The time of the last fetch in the newest 1,000 audit entries about the secret; null for none.",
        _FETCHED,
        allow_none=True,
    )
    recovery_days = _number("Days in which a delete can be undone; 0 if it is permanent.", 7)


class SecretPage(Reply):
    """A page of secrets, and the cursor for the next page."""

    secrets = fields.List(
        fields.Nested(SecretSummary),
        required=True,
        metadata={"description": "In order of name; secrets without a name come first."},
    )
    cursor = text_field(
        "The `cursor` for the next page; null on the last page.",
        CURSOR,
        shape=_CURSOR_SHAPE,
        required=True,
        allow_none=True,
    )
