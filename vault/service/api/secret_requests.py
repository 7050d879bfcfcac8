"""The schemas of requests about secrets."""

from typing import Any, ClassVar

from marshmallow import Schema, ValidationError, fields, post_load, validate, validates_schema

from vault.common.attributes import ATTRIBUTES, NAMES, Description
from vault.common.limits import MAX_ITEMS, MAX_READS, MAX_VERSION
from vault.common.paths import MAX_NAME_BYTES, name_flaw, prefix_flaw
from vault.common.text import ONE_LINE_PATTERN
from vault.core.principal import Scope
from vault.core.secrets.idempotency import MIN_ANONYMOUS_KEY_LENGTH
from vault.core.secrets.requests import Reference
from vault.core.secrets.search import MAX_CHARACTERS
from vault.core.secrets.selection import CURSOR_PATTERN
from vault.service.api.deliveries import delivery_field
from vault.toolkit.document.fields import (
    BASE64_PATTERN,
    LIST,
    NAME_OF_SECRET_PATTERN,
    PREFIX_PATTERN,
    TEXT,
    VISIBLE_PATTERN,
    Base64,
    Base64OfItem,
    Body,
    BoundedList,
    Item,
    attribute_fields,
    cursor_field,
    feature_fields,
    flag_field,
    flawless,
    id_field,
    matches,
    neither_nor_both,
    number_field,
    one_line,
    text_field,
)

SECRET = {"example": "bXlfc2VjcmV0X3Bhc3N3b3Jk"}
NAME = {"example": "billing/db-password"}
CURSOR = "550e8400-e29b-41d4-a716-446655440000/billing/db-password"

_TEN_YEARS_SECONDS = 315_360_000
_MAX_LISTED = 1_000


def name_field(*, description: str, **options: Any) -> fields.String:
    """Return the field for a secret's name."""
    shape = {"pattern": NAME_OF_SECRET_PATTERN, "maxLength": MAX_NAME_BYTES, "description": description}
    return fields.String(validate=flawless(name_flaw), metadata=NAME | shape, **options)


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
        maximum=MAX_READS,
    )
    name = name_field(
        description="A name in addition to the ID, unique in the namespace: a path of up to 512 bytes in "
        "UTF-8, of visible characters except `*`, in the Unicode normal form NFC. Its parts are not empty, "
        "`.` or `..`, and have no space at an end. Using a name requires a credential."
    )
    locals().update(attribute_fields("create"), **feature_fields("create"))
    canary = flag_field(
        "If true, each read of the secret is an alarm, and readers cannot tell it from others. This requires "
        f"the scope `{Scope.CANARY_MANAGE}`."
    )

    @post_load
    def _describe(self, data: dict[str, Any], **_: Any) -> dict[str, Any]:
        values = {one.name: data.pop(one.name) for one in ATTRIBUTES}
        return data | {"description": Description.of(values)}


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

    refused: ClassVar = {"anyOf": neither_nor_both(secret_id=TEXT, name=TEXT)}

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

    version = number_field("A version that is still kept; by default the newest.", 1, maximum=MAX_VERSION)
    delivery = delivery_field()


class FetchBatch(Body):
    """References to secrets, or a prefix of their names."""

    refused: ClassVar = {"anyOf": neither_nor_both(secrets=LIST, name_prefix=TEXT)}

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
        maximum=MAX_VERSION,
    )


class NewVersion(SecretReference):
    """A new value for a secret."""

    secret = value_field("The new value")
    expected_version = number_field(
        "The version that you expect to be the newest. If it is not, nothing is changed. If omitted, any "
        "version may be the newest.",
        1,
        maximum=MAX_VERSION,
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

    locals().update(attribute_fields("change"), **feature_fields("change"))
    ttl_seconds = number_field(
        "Seconds from now until the secret expires. If omitted, the expiry does not change.",
        2_592_000,
        maximum=_TEN_YEARS_SECONDS,
    )
    never_expires = flag_field("If true, the secret no longer expires.")

    @validates_schema
    def _one_expiry(self, data: dict[str, Any], **_: Any) -> None:
        if data.get("never_expires") and data.get("ttl_seconds"):
            raise ValidationError("Set either `ttl_seconds` or `never_expires`, not both.", "never_expires")


class ListQuery(Body):
    """Filters for secrets, all optional."""

    name_prefix = prefix_field(
        "Only secrets whose name has this prefix. If omitted, also those without a name.", load_default=""
    )
    locals().update(attribute_fields("filter"))
    deleted = flag_field("If true, list the deleted secrets that can be restored, instead of the others.")
    search = text_field(
        f"Only secrets that have all these words in their name or {NAMES}, in any case.",
        "db",
        shape={"pattern": ONE_LINE_PATTERN},
        load_default="",
        validate=[validate.Length(max=MAX_CHARACTERS), one_line],
    )
    expires_within = number_field(
        "Only secrets that expire in this many seconds; each then has `expires_at`.",
        30 * 86_400,
        maximum=_TEN_YEARS_SECONDS,
    )
    limit = number_field("Maximum number of secrets; 100 if omitted.", 100, maximum=_MAX_LISTED, default=100)
    cursor = cursor_field("secret", CURSOR, CURSOR_PATTERN)
