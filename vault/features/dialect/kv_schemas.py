"""The schemas of secrets in Vault's dialect, for the OpenAPI document."""

from typing import Any

from marshmallow import fields

from vault.toolkit.document.fields import Reply, boolean_field, integer_field, text_field

_TIME = "2026-11-24T15:30:00.000Z"
_METADATA = {"team": "billing"}


def _object(description: str, example: Any, *, allow_none: bool = False) -> fields.Dict:
    return fields.Dict(
        keys=fields.String(),
        allow_none=allow_none,
        metadata={"description": description, "example": example, "additionalProperties": True},
    )


def _labels() -> fields.Dict:
    return _object("The labels of the secret; null for none.", _METADATA, allow_none=True)


def _query(name: str, description: str, kind: str, example: Any) -> dict[str, Any]:
    schema = {"type": kind, "example": example}
    return {"in": "query", "name": name, "description": description, "required": False, "schema": schema}


VERSION = _query("version", "A version that is still kept; by default, or with 0, the newest.", "integer", 1)
DEPTH = _query("depth", "The number of levels of keys; by default, or with 0, all.", "integer", 1)
LIST = _query("list", "If `true`, list the keys below the path.", "string", "false")
AFTER = _query("after", "Of a list, only the keys that come after this one.", "string", "billing/")
LIMIT = _query("limit", "Of a list, the maximum number of keys; by default, or with 0, all.", "integer", 100)


class KVVersionState(Reply):
    """A version of a secret."""

    created_time = text_field("The time of its creation.", _TIME)
    deletion_time = text_field("The time of its deletion; empty if it is not deleted.", "")
    destroyed = boolean_field("True if the version has no value any more.")


class KVVersion(KVVersionState):
    """A version of a secret, and the secret's labels."""

    version = integer_field("The number of the version; the first is 1.", 2)
    custom_metadata = _labels()


class KVSecret(Reply):
    """A value, and its version."""

    data = _object("The value; null if it is deleted or destroyed.", {"password": "x"}, allow_none=True)
    metadata = fields.Nested(KVVersion)


class KVSubkeys(Reply):
    """The keys of a value, and its version."""

    subkeys = _object("The keys; null if it is deleted or destroyed.", {"password": None}, allow_none=True)
    metadata = fields.Nested(KVVersion)


class KVConfig(Reply):
    """The configuration of the secrets engine."""

    cas_required = boolean_field("Whether a write must have `cas`.")
    delete_version_after = text_field("The time after which new versions are deleted; `0s` for never.", "0s")
    max_versions = integer_field("The number of versions of a secret that are kept.", 10)
    metadata_cas_required = boolean_field("Whether a change of the metadata must have `metadata_cas`.")


class KVMetadata(KVConfig):
    """Everything about a secret except its values."""

    max_versions = integer_field("0: as in the configuration.", 0)
    created_time = text_field("The time of the secret's creation.", _TIME)
    updated_time = text_field("The time of the newest version.", _TIME)
    current_version = integer_field("The newest version; 0 if there is none yet.", 2)
    oldest_version = integer_field("The oldest version, once older ones were dropped; until then 0.", 0)
    current_metadata_version = integer_field("The number of changes to the metadata.", 0)
    custom_metadata = _labels()
    versions = fields.Dict(
        keys=fields.String(),
        values=fields.Nested(KVVersionState),
        metadata={
            "description": "The versions by their numbers.",
            "example": {"2": {"created_time": _TIME, "deletion_time": "", "destroyed": False}},
        },
    )


class KVKeys(Reply):
    """Names one level below a path."""

    keys = fields.List(
        fields.String(metadata={"example": "db-password"}),
        metadata={"description": "Secrets, and folders with a slash at their end."},
    )


class KVOptions(Reply):
    """Options of a write."""

    cas = integer_field("The version that must be the newest; 0 for a secret without one.", 1)


class KVWrite(Reply):
    """A new value for a secret."""

    data = _object("The value: any object.", {"password": "x"}, allow_none=True)
    options = fields.Nested(KVOptions)


class KVVersions(Reply):
    """Versions of a secret."""

    versions = fields.List(
        fields.Integer(), metadata={"description": "Their numbers, also as texts.", "example": [1, 2]}
    )


class KVMetadataChange(Reply):
    """New metadata of a secret."""

    custom_metadata = _labels()
    cas_required = boolean_field("Whether a write must have `cas`.")
    delete_version_after = text_field("The time after which new versions are deleted.", "720h")
    max_versions = integer_field("The number of versions to keep; 0 as in the configuration.", 0)
    metadata_cas_required = boolean_field("Whether a change of the metadata must have `metadata_cas`.")
    metadata_cas = integer_field(
        "The number of changes to the metadata so far; if it differs, nothing is done.", 0
    )
