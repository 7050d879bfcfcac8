"""Audit queries over HTTP, and the schemas of their requests and replies."""

from datetime import MINYEAR, UTC, datetime
from typing import Any

from marshmallow import fields

from vault.api.blueprint import Blueprint, current_attempt
from vault.api.fields import ONE_LINE, SECRET_ID, Body, Reply, id_field, number_field, text_field
from vault.audit import reader
from vault.audit.reader import Filter
from vault.core.attempt import Action
from vault.core.principal import Scope

_TIME = "2026-11-24T15:30:00Z"
_CURSOR = "6b05a36cf43fd516532765c5"
_MAX_ENTRIES = 1_000
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class _Time(fields.AwareDateTime):
    """A time in UTC. Times outside years 1 to 9999 are clamped to Python's limits."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        time = super()._deserialize(value, *args, **kwargs)
        try:
            return time.astimezone(UTC)
        except OverflowError:
            return _FIRST if time.year == MINYEAR else _LAST


def _time(description: str, example: str) -> fields.AwareDateTime:
    metadata = {"description": description, "example": example}
    return _Time(default_timezone=UTC, load_default=None, metadata=metadata)


class AuditQuery(Body):
    """Filters for audit entries, all optional."""

    since = _time("Only entries from this time on.", _TIME)
    until = _time("Only entries before this time.", "2026-11-25T00:00:00Z")
    action = text_field("Only entries of this action.", "fetch", load_default=None, validate=ONE_LINE)
    principal = text_field(
        "Only entries of this principal.", "anonymous", load_default=None, validate=ONE_LINE
    )
    secret_id = id_field("Only entries about this secret.", load_default=None)
    limit = number_field("Maximum number of entries; 100 if omitted.", 100, maximum=_MAX_ENTRIES, default=100)
    cursor = text_field(
        "The `cursor` or `follow` of an earlier reply. If omitted, start at the first entry.",
        _CURSOR,
        load_default=None,
    )


class AuditRecord(Reply):
    """One audit entry. Further fields chain it to the previous entry, see `secret-manager audit verify`."""

    ts = text_field("Time of the entry, in UTC.", _TIME, required=True)
    action = text_field("The operation.", "fetch", required=True)
    status = text_field(
        "The outcome: `success`, `bad_request`, `not_found`, `denied` or `error`.", "success", required=True
    )
    principal = text_field("The caller.", "anonymous", required=True)
    secret_id = fields.String(metadata=SECRET_ID | {"description": "The secret."})
    ip = text_field("The client's address.", "192.0.2.7")
    ua = text_field("The client's `User-Agent`.", "curl/8.14.1")
    request_id = text_field("The request's ID, as in the logs.", "r-2041")
    details = fields.Dict(
        metadata={
            "description": "Names, versions, limits, key IDs, counts, and the reason for a denial.",
            "example": {"total": 12},
        }
    )
    stream = text_field("The entry's chain.", "9f" * 16, required=True)
    seq = fields.Integer(
        required=True, metadata={"description": "The entry's number in its chain.", "example": 7}
    )


class AuditPage(Reply):
    """A page of entries, and the cursors for further ones."""

    entries = fields.List(
        fields.Nested(AuditRecord),
        required=True,
        metadata={"description": "Oldest first; before them, entries that became visible after newer ones."},
    )
    cursor = text_field(
        "The `cursor` for the next query; null if there are no more entries.",
        _CURSOR,
        required=True,
        allow_none=True,
    )
    follow = text_field(
        "The `cursor` for a later query, which returns all entries after these, including future ones.",
        _CURSOR,
        required=True,
    )


blueprint = Blueprint("Audit", __name__, url_prefix="/vault/audit", description="Query the audit trail.")


@blueprint.post("/query")
@blueprint.operation(Action.AUDIT_QUERY, scope=Scope.AUDIT_READ, refusals=("InvalidQuery",))
@blueprint.arguments(AuditQuery)
@blueprint.response(200, AuditPage, description="Entries in order of time.")
def query_audit(body: dict[str, Any]) -> dict[str, Any]:
    """Query the audit trail.

    Requires the scope `audit:read`, which anonymous callers never have. Without filters, it returns all
    entries, page by page: send each reply's `cursor` with the next query until it is null. To continue later,
    send `follow` instead. Then every entry is returned exactly once, including entries that other workers
    were still writing.
    """
    limit, cursor = body.pop("limit"), body.pop("cursor")
    page = reader.page(Filter(**body), cursor=cursor, limit=limit, attempt=current_attempt())
    return {"entries": page.entries, "cursor": page.cursor, "follow": page.follow}
