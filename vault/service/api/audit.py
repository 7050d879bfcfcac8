"""Audit queries over HTTP, and the schemas of their requests and replies."""

import json
import re
from datetime import MINYEAR, UTC, datetime, timedelta
from typing import Any

from marshmallow import fields

from vault.common.outcomes import Status
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.trail import position, reader
from vault.core.trail.reader import Filter, Order
from vault.service.api.secret_requests import name_field
from vault.toolkit.document.fields import (
    SECRET_ID,
    Body,
    Reply,
    choice_field,
    id_field,
    integer_field,
    number_field,
    one_line,
    text_field,
)
from vault.toolkit.document.fields import name_field as namespace_field
from vault.toolkit.operations.blueprint import Blueprint, current_attempt
from vault.toolkit.operations.replies import reply_memory

_TIME = "2026-11-24T15:30:00Z"
_CURSOR = "6b05a36cf43fd516532765c5"
_CURSOR_SHAPE = {"pattern": position.CURSOR_PATTERN, "maxLength": position.MAX_CURSOR_LENGTH}
_MAX_ENTRIES = 1_000
#: Bytes of an entry in a reply; hardly any has more.
_ENTRY_BYTES = 4_096
_LEAP_SECOND = re.compile(r"(?<=T[0-9]{2}:[0-9]{2}:)60")
_YEAR_0 = re.compile("^0000(?=-)")
_FIRST, _LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)


class _Time(fields.AwareDateTime):
    """A time in UTC, in any form of RFC 3339. Times outside years 1 to 9999 are clamped to those."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str):
            raise self.make_error("invalid", input=value, obj_type=self.OBJ_TYPE)
        # Python does not read small letters, leap seconds and the year 0. The year 4 has the same days.
        text, leap_seconds = _LEAP_SECOND.subn("59", value.upper())
        time = super()._deserialize(_YEAR_0.sub("0004", text), *args, **kwargs)
        if _YEAR_0.match(text):
            return _FIRST
        try:
            return time.astimezone(UTC) + timedelta(seconds=leap_seconds)
        except OverflowError:
            return _FIRST if time.year == MINYEAR else _LAST


def bound_field(description: str, example: str) -> fields.AwareDateTime:
    """Return a field for a bound of a period in a request, with its documentation."""
    metadata = {"description": description, "example": example}
    return _Time(default_timezone=UTC, load_default=None, metadata=metadata)


class AuditQuery(Body):
    """Filters for audit entries, all optional."""

    since = bound_field("Only entries from this time on.", _TIME)
    until = bound_field("Only entries before this time.", "2026-11-25T00:00:00Z")
    action = choice_field("Only entries of this action.", Action.FETCH, Action, load_default=None)
    principal = text_field(
        "Only entries of this principal.",
        "anonymous",
        shape={"pattern": ONE_LINE_PATTERN},
        load_default=None,
        validate=one_line,
    )
    secret_id = id_field("Only entries about this secret.", load_default=None)
    name = name_field(
        description="Only entries about the secret with this name in `namespace`, and about earlier ones "
        "that had it there: `secret_id` tells them apart.",
        load_default=None,
        attribute="secret_name",
    )
    namespace = namespace_field(
        "Only entries about this namespace. With `name`, your own is the default.",
        example="default",
        load_default=None,
    )
    status = choice_field("Only entries with this outcome.", Status.DENIED, Status, load_default=None)
    limit = number_field("Maximum number of entries; 100 if omitted.", 100, maximum=_MAX_ENTRIES, default=100)
    order = choice_field(
        "`oldest_first` if omitted. With `newest_first`, the newest come first, and `cursor` leads to "
        "older ones.",
        Order.NEWEST_FIRST,
        Order,
        load_default=Order.OLDEST_FIRST,
    )
    cursor = text_field(
        "The `cursor` of an earlier reply in the same `order`, or for `oldest_first` the `follow` of any. If "
        "omitted, start at the first entry of the order.",
        _CURSOR,
        shape=_CURSOR_SHAPE,
        load_default=None,
    )


class AuditRecord(Reply):
    """One audit entry. Further fields chain it to the previous entry, see `secret-manager audit verify`."""

    ts = text_field("Time of the entry, in UTC.", _TIME, shape={"format": "date-time"}, required=True)
    action = text_field("The operation. New ones may be added.", Action.FETCH, required=True)
    status = text_field(
        "The outcome.", Status.SUCCESS, shape={"enum": [status.value for status in Status]}, required=True
    )
    principal = text_field("The caller.", "anonymous", required=True)
    secret_id = fields.String(metadata=SECRET_ID | {"description": "The secret."})
    ip = text_field("The client's address.", "192.0.2.7")
    ua = text_field("The client's `User-Agent`.", "curl/8.14.1")
    request_id = text_field("The request's ID, as in the logs.", "r-2041")
    details = fields.Dict(
        metadata={
            "description": "Names, versions, limits, key IDs, counts, the task of a delivery, and the "
            "reason for a denial.",
            "example": {"name": "billing/db-password"},
        }
    )
    stream = text_field("The entry's chain.", "2-" + "9f" * 16, required=True)
    seq = integer_field("The entry's number in its chain.", 7, required=True)


class _Record(fields.Nested):
    """An entry. An attacker may have stored anything in it: what JSON does not have appears as text."""

    def _serialize(  # type: ignore[override]
        self, nested_obj: Any, *_: Any, **__: Any
    ) -> dict[str, Any]:
        return {name: _as_json(nested_obj[name]) for name in self.schema.fields if name in nested_obj}


def _as_json(value: object) -> object:
    if isinstance(value, str | int):
        return value
    return json.loads(json.dumps(value, default=str), parse_constant=str)


class AuditPage(Reply):
    """A page of entries, and the cursors for further ones."""

    entries = fields.List(
        _Record(AuditRecord),
        required=True,
        metadata={
            "description": "In the requested order, by default oldest first; before the oldest, entries that "
            "became visible after newer ones."
        },
    )
    cursor = text_field(
        "The `cursor` for the next query; null if there are no more entries.",
        _CURSOR,
        shape=_CURSOR_SHAPE,
        required=True,
        allow_none=True,
    )
    follow = text_field(
        "The `cursor` for a later query, which returns all entries after these, including future ones.",
        _CURSOR,
        shape=_CURSOR_SHAPE,
        required=True,
    )


blueprint = Blueprint("Audit", __name__, url_prefix="/vault/audit", description="Query the audit trail.")


@blueprint.post("/query")
@blueprint.operation(Action.AUDIT_QUERY, scope=Scope.AUDIT_READ, refusals=("InvalidQuery",))
@blueprint.arguments(AuditQuery, example={"action": "fetch", "limit": 100})
@blueprint.response(200, AuditPage, description="Entries in order of time.")
def query_audit(body: dict[str, Any]) -> dict[str, Any]:
    """Query the audit trail.

    Requires the scope `audit:read`, which anonymous callers never have. Without filters, it returns all
    entries, page by page: send each reply's `cursor` with the next query until it is null. To continue later,
    send `follow` instead. Then every entry is returned exactly once, including entries that other workers
    were still writing.

    Outside the namespace `default`, a credential gets only the entries about its own namespace, unless it was
    created with `all_namespaces`.

    With the `order` `newest_first`, each `cursor` leads to older entries, and the first `follow` to the
    entries after it, in the order `oldest_first`. It can repeat entries of the last 30 seconds that are on
    the older pages.
    """
    place = {"limit": body.pop("limit"), "cursor": body.pop("cursor"), "order": Order(body.pop("order"))}
    with reply_memory(place["limit"] * _ENTRY_BYTES):
        attempt = current_attempt()
        if body["secret_name"] is not None:
            body["namespace"] = body["namespace"] or attempt.principal.namespace
        page = reader.page(Filter(**body), **place, attempt=attempt)
        return {"entries": page.entries, "cursor": page.cursor, "follow": page.follow}
