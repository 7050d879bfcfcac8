"""The shapes of audit queries and their replies."""

from datetime import UTC

from marshmallow import fields, validate

from vault.api.fields import ONE_LINE, SECRET_ID, UUID_PATTERN, Body, Reply, SecretId

_TIME = "2026-11-24T15:30:00Z"
_MOST_ENTRIES = 1_000


class AuditQuery(Body):
    """Which entries are wanted; what is left out does not matter."""

    since = fields.AwareDateTime(
        default_timezone=UTC,
        load_default=None,
        metadata={"description": "Entries from this time on.", "example": _TIME},
    )
    until = fields.AwareDateTime(
        default_timezone=UTC,
        load_default=None,
        metadata={"description": "Entries before this time.", "example": "2026-11-25T00:00:00Z"},
    )
    action = fields.String(
        load_default=None,
        validate=ONE_LINE,
        metadata={"description": "Entries of this action.", "example": "fetch"},
    )
    principal = fields.String(
        load_default=None,
        validate=ONE_LINE,
        metadata={"description": "Entries of this principal.", "example": "anonymous"},
    )
    secret_id = SecretId(
        load_default=None,
        metadata=SECRET_ID
        | {"description": "Entries about this secret.", "format": "uuid", "pattern": UUID_PATTERN},
    )
    limit = fields.Integer(
        strict=True,
        load_default=100,
        validate=validate.Range(1, _MOST_ENTRIES),
        metadata={"description": "How many entries to return at the most.", "example": 100},
    )
    cursor = fields.String(
        load_default=None,
        metadata={"description": "The `cursor` of the page before.", "example": "6b05a36cf43fd516532765c5"},
    )


class AuditRecord(Reply):
    """One audit entry. Further fields chain it to the one before, see `audit verify`."""

    ts = fields.String(required=True, metadata={"description": "When, in UTC.", "example": _TIME})
    action = fields.String(required=True, metadata={"description": "What was tried.", "example": "fetch"})
    status = fields.String(
        required=True,
        metadata={
            "description": "How it ended: `success`, `bad_request`, `not_found`, `denied` or `error`.",
            "example": "success",
        },
    )
    principal = fields.String(required=True, metadata={"description": "Who.", "example": "anonymous"})
    secret_id = fields.String(metadata=SECRET_ID | {"description": "On which secret."})
    ip = fields.String(metadata={"description": "From which address.", "example": "192.0.2.7"})
    ua = fields.String(metadata={"description": "By which program.", "example": "curl/8.14.1"})
    request_id = fields.String(
        metadata={"description": "The request's id, as in the logs.", "example": "r-2041"}
    )
    details = fields.Dict(
        metadata={
            "description": "Names, versions, limits, key ids, counts; why something was denied.",
            "example": {"total": 12},
        }
    )
    stream = fields.String(required=True, metadata={"description": "Which chain.", "example": "9f" * 16})
    seq = fields.Integer(required=True, metadata={"description": "Number in its chain.", "example": 7})


class AuditPage(Reply):
    """Some entries, and where to go on."""

    entries = fields.List(
        fields.Nested(AuditRecord), required=True, metadata={"description": "The oldest first."}
    )
    cursor = fields.String(
        required=True,
        allow_none=True,
        metadata={
            "description": "For the next query; null when there may be no more entries.",
            "example": "6b05a36cf43fd516532765c5",
        },
    )
