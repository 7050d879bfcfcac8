"""The pages of the audit trail: its entries, and the activity of a period."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response
from marshmallow import fields
from werkzeug.exceptions import BadRequest

from vault.common.outcomes import Status
from vault.common.paths import name_flaw
from vault.common.text import is_one_line
from vault.common.turns import Turns
from vault.core.attempt import Action
from vault.core.principal import Principal, Scope
from vault.core.secrets.queries import current_id_of
from vault.core.trail import assurance, reader
from vault.core.trail.activity import summarize_within
from vault.core.trail.reader import Filter, Order
from vault.toolkit.document.fields import id_field
from vault.toolkit.operations.blueprint import current_attempt
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages import charts, style
from vault.toolkit.pages.entries import ENTRY_BYTES, Row
from vault.toolkit.pages.operations import FormBody, answer, arguments, body, operation, page
from vault.toolkit.pages.references import reference_of

blueprint = Blueprint("trail", __name__, template_folder="templates")

#: Rows of a page.
_PAGE_SIZE = 50

#: The periods that people choose from, in days.
_PERIODS = (1, 7, 30)
#: The entries and the seconds beyond which a period takes too long for a page.
_MAX_ENTRIES, _MAX_SECONDS = 300_000, 5.0
#: MongoDB can be busy with one for seconds, and every person who looks at the trail can ask for any number.
_SUMMARIES = Turns(3, seconds=5.0)

#: The name by which people ask for all entries of who got or used a value, and their actions.
READS, _READS = "reads", (Action.FETCH, Action.UNWRAP, Action.USE)


@blueprint.route("/audit", methods=["GET", "POST"])
@operation(Action.AUDIT_QUERY, Scope.AUDIT_READ)
def audit() -> Response:
    """Return a page of entries, the newest first: all, or those of a principal, an action or a secret."""
    asked, attempt = arguments(), current_attempt()
    which = _filter_of(asked, attempt.principal)
    with reply_memory(_PAGE_SIZE * ENTRY_BYTES):
        found = reader.page(
            which,
            cursor=asked.get("cursor"),
            limit=_PAGE_SIZE,
            order=Order.NEWEST_FIRST,
            attempt=attempt,
        )
        rows = _rows(found.entries, which, attempt.principal)
        return page(
            "audit",
            rows=rows,
            found=found,
            which=which,
            action_asked=asked.get("action"),
            actions=[READS, *Action],
        )


class _Following(FormBody):
    """The entries after those of a page."""

    cursor = fields.String(required=True)
    principal = fields.String(load_default="")
    action = fields.String(load_default="")
    name = fields.String(load_default="")
    secret_id = id_field("A secret's ID.", load_default="")


@blueprint.post("/audit/follow")
@operation(Action.AUDIT_QUERY, Scope.AUDIT_READ, is_page=False)
def follow() -> Response:
    """Return the entries that came since a page, without those of following itself."""
    asked, attempt = body(_Following), current_attempt()
    which, cursor = _filter_of(asked, attempt.principal), asked["cursor"]
    with reply_memory(_PAGE_SIZE * ENTRY_BYTES):
        found = reader.page(which, cursor=cursor, limit=_PAGE_SIZE, attempt=attempt)
        own = attempt.principal.name
        others = [entry for entry in found.entries if not _is_following(entry, own)]
        rows = _rows(others, which, attempt.principal)
        return answer(rows=[asdict(row) for row in rows], cursor=found.follow)


def _is_following(entry: Mapping[str, Any], principal: str) -> bool:
    # Those of others are shown: no one can read the trail unseen.
    is_own_query = entry.get("action") == Action.AUDIT_QUERY and entry.get("principal") == principal
    details = entry.get("details")
    return is_own_query and isinstance(details, dict) and details.get("via") == "console"


def _rows(entries: Sequence[Mapping[str, Any]], which: Filter, person: Principal) -> list[Row]:
    """Return the rows of *entries*. Those of a name can be about several secrets: it was used again."""
    own = person.namespace
    current_id = current_id_of(which.secret_name, own) if which.secret_name else ""
    return [Row.of(entry, own, current_id=current_id) for entry in entries]


def _filter_of(asked: Mapping[str, str], person: Principal) -> Filter:
    principal, action, name = (asked.get(field) or None for field in ("principal", "action", "name"))
    if action is not None and action not in (READS, *Action):
        raise BadRequest("There is no such action.")
    if principal is not None and not is_one_line(principal):
        raise BadRequest("A principal's name is one line.")
    if name is not None and name_flaw(name):
        raise BadRequest("A secret's name is invalid.")
    secret_id = reference_of({"secret_id": asked["secret_id"]}).secret_id if asked.get("secret_id") else None
    is_reads = action == READS
    return Filter(
        action=None if is_reads else action,
        actions=_READS if is_reads else None,
        principal=principal,
        secret_name=name,
        namespace=person.namespace if name else None,
        secret_id=secret_id,
    )


@blueprint.get("/activity")
@operation(Action.AUDIT_REPORT, Scope.AUDIT_READ)
def activity() -> Response:
    """Return the report's charts of a period, and the state of the trail."""
    days = arguments().get("days", str(_PERIODS[0]))
    if days not in map(str, _PERIODS):
        raise BadRequest("There is no such period.")
    attempt, now = current_attempt(), datetime.now(UTC)
    since = now - timedelta(days=int(days))
    only = reader.shown(attempt.principal)
    with _SUMMARIES:
        activity = summarize_within(_MAX_SECONDS, since, now, _MAX_ENTRIES, only=only)
    # Of the whole trail, for those who see all of it.
    sees_all = attempt.principal.sees_all_entries
    state = assurance.state(since, now) if sees_all else None
    attempt.finish(Status.SUCCESS)
    chart = activity and charts.stacked_bars(
        [(slot.start, asdict(slot.counts)) for slot in activity.slots],
        unit=activity.unit,
        since=activity.since,
        until=activity.until,
    )
    return page(
        "activity",
        days=int(days),
        since=since,
        until=now,
        periods=_PERIODS,
        activity=activity,
        chart=chart,
        charts=charts,
        weekdays=style.WEEKDAYS,
        busiest_hour=max(map(max, activity.hours)) if activity else 0,
        state=state,
    )
