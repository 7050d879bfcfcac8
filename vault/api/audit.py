"""The shapes of audit queries and their replies."""

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
    """A time in UTC. Hours before the year 1, or after 9999, Python has none: then its first or last."""

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
    """Which entries are wanted; what is left out does not matter."""

    since = _time("Entries from this time on.", _TIME)
    until = _time("Entries before this time.", "2026-11-25T00:00:00Z")
    action = text_field("Entries of this action.", "fetch", load_default=None, validate=ONE_LINE)
    principal = text_field("Entries of this principal.", "anonymous", load_default=None, validate=ONE_LINE)
    secret_id = id_field("Entries about this secret.", load_default=None)
    limit = number_field("How many entries to return at the most.", 100, most=_MAX_ENTRIES, default=100)
    cursor = text_field("The `cursor` or `follow` of an earlier reply.", _CURSOR, load_default=None)


class AuditRecord(Reply):
    """One audit entry. Further fields chain it to the one before, see `audit verify`."""

    ts = text_field("When, in UTC.", _TIME, required=True)
    action = text_field("What was tried.", "fetch", required=True)
    status = text_field(
        "How it ended: `success`, `bad_request`, `not_found`, `denied` or `error`.", "success", required=True
    )
    principal = text_field("Who.", "anonymous", required=True)
    secret_id = fields.String(metadata=SECRET_ID | {"description": "On which secret."})
    ip = text_field("From which address.", "192.0.2.7")
    ua = text_field("By which program.", "curl/8.14.1")
    request_id = text_field("The request's id, as in the logs.", "r-2041")
    details = fields.Dict(
        metadata={
            "description": "Names, versions, limits, key ids, counts; why something was denied.",
            "example": {"total": 12},
        }
    )
    stream = text_field("Which chain.", "9f" * 16, required=True)
    seq = fields.Integer(required=True, metadata={"description": "Number in its chain.", "example": 7})


class AuditPage(Reply):
    """Some entries, and where to go on."""

    entries = fields.List(
        fields.Nested(AuditRecord),
        required=True,
        metadata={
            "description": "The oldest first; before them, entries that became visible after younger ones."
        },
    )
    cursor = text_field(
        "For the next query; null when there may be no more entries.",
        _CURSOR,
        required=True,
        allow_none=True,
    )
    follow = text_field(
        "For a later query: it returns all entries after these, including those that do not exist yet.",
        _CURSOR,
        required=True,
    )


blueprint = Blueprint("Audit", __name__, url_prefix="/vault/audit", description="Who did what, and when.")


@blueprint.post("/query")
@blueprint.operation(Action.AUDIT_QUERY, scope=Scope.AUDIT_READ, refusals=("InvalidQuery",))
@blueprint.arguments(AuditQuery)
@blueprint.response(200, AuditPage, description="Entries in the order of time.")
def query_audit(body: dict[str, Any]) -> dict[str, Any]:
    """Query the audit trail.

    Needs the scope `audit:read`; it is never open to anonymous callers. Without a filter it returns
    everything, page by page: send the `cursor` of a reply with the next query, until it is null. To go on
    later, send `follow` in its place: then every entry is returned exactly once, including those that other
    workers were still writing.
    """
    limit, cursor = body.pop("limit"), body.pop("cursor")
    page = reader.page(Filter(**body), cursor=cursor, limit=limit, attempt=current_attempt())
    return {"entries": page.entries, "cursor": page.cursor, "follow": page.follow}
