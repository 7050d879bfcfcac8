"""The pages of rotation plans: all of them, and one with its runs; and what people do with them."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flask import Blueprint, Response, url_for
from marshmallow import fields, validate
from werkzeug.exceptions import BadRequest

from vault.common.durations import duration_text
from vault.common.errors import StorageUnavailableError
from vault.common.paths import name_flaw
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.core.trail import reader
from vault.core.trail.reader import Filter, Order
from vault.features.rotation.api import secret_field, user_field
from vault.features.rotation.plans import MAX_LIST_BYTES, NewRotation, RotationInfo, Rotations, may_run
from vault.features.rotation.sources.source import SourceKind
from vault.toolkit.document.fields import number_field
from vault.toolkit.operations.blueprint import current_attempt, current_slot, services
from vault.toolkit.operations.replies import reply_memory
from vault.toolkit.pages.entries import ENTRY_BYTES, Row
from vault.toolkit.pages.operations import FormBody, answer, arguments, body, operation, page, see_other

blueprint = Blueprint("rotations", __name__, template_folder="templates")

_SECONDS_A_DAY, _SECONDS_AN_HOUR = 86_400, 3_600
_MAX_DAYS, _MAX_HOURS = 3_650, 87_600

#: The states in the order in which they need a person; of one state, what comes next comes first.
_ORDER = ("altered", "drifted", "failing", "published", "running", "waiting", "paused")

#: The entries of a plan's runs; others are its steps.
_RUNS = (Action.ROTATION_DONE, Action.ROTATION_FAILED, Action.ROTATION_DRIFT)
_MAX_RUNS = 20

#: By a part of the reason of a failure, or by the state of an altered plan.
REMEDIES: Mapping[str, str] = {
    "the server does not have the user": "Create both users.",
    "the administrator may not change the user's password": (
        "Give it the right; from PostgreSQL 16 on, ADMIN OPTION for both users."
    ),
    "strict_password_validation": "Turn it off: MariaDB gets only hashes, which it cannot check.",
    "TLS to the server fails": "Check the authority's file, and that the certificate has the host's name.",
    "the source does not answer within": "Check the network; the service retries.",
    "names another server": "If the change is right, create the plan again.",
    "the secret does not exist": "Restore it and run the plan, or delete the plan.",
    "someone has changed it there": "Store the right password, or set it again at the source.",
    "someone has put back earlier documents": "Find out who; store the value in use as the next version.",
    "altered": "Someone changed the plan in MongoDB: find out who, delete it and create it again.",
}


@blueprint.get("/rotations")
@operation(Action.ROTATION_LIST, Scope.ROTATION_MANAGE)
def index() -> Response:
    """Return the page of all plans within the person's paths."""
    name = arguments().get("name", "")
    name = "" if name_flaw(name) else name
    with reply_memory(MAX_LIST_BYTES):
        plans = services().of(Rotations).list(attempt=current_attempt())
        return page(
            "rotations",
            plans=sorted(plans, key=_urgency),
            name=name,
            kinds=list(SourceKind),
            may_run=may_run(current_attempt().principal),
        )


def _urgency(plan: RotationInfo) -> tuple[Any, ...]:
    return _ORDER.index(plan.state), plan.next_at or datetime.min.replace(tzinfo=UTC), plan.name


@blueprint.get("/rotation")
@operation(Action.ROTATION_SHOW, Scope.ROTATION_MANAGE)
def show() -> Response:
    """Return the page of a plan, with its runs for those who may read the trail: a query of its own."""
    attempt = current_attempt()
    plan = services().of(Rotations).show(_name_of(arguments()), attempt=attempt)
    runs = None
    if Scope.AUDIT_READ in attempt.principal.scopes and plan.secret_id:
        which = Filter(secret_id=plan.secret_id, actions=[action.value for action in _RUNS])
        query = replace(attempt, action=Action.AUDIT_QUERY, details={"via": "console"}, receipt=None)
        with reply_memory(_MAX_RUNS * ENTRY_BYTES):
            found = reader.page(which, cursor=None, limit=_MAX_RUNS, order=Order.NEWEST_FIRST, attempt=query)
            runs = [Row.of(entry, attempt.principal.namespace) for entry in found.entries]
    durations = [
        duration_text(timedelta(seconds=seconds)) for seconds in (plan.every_seconds, plan.grace_seconds)
    ]
    return page(
        "rotation",
        plan=plan,
        durations=durations,
        remedy=remedy_of(plan.state, plan.error),
        runs=runs,
        may_run=may_run(attempt.principal),
    )


def _name_of(asked: dict[str, str]) -> str:
    name = asked.get("name")
    if name is None or name_flaw(name):
        raise BadRequest("A secret's name is missing, or invalid.")
    return name


@blueprint.post("/rotations/run")
@operation(Action.ROTATION_RUN, Scope.ROTATION_MANAGE)
def run() -> Response:
    """Run a plan up to its publication."""
    name = _name_of(arguments())
    proceed = services().of(Rotations).run(name, attempt=current_attempt())
    # The source can be slow.
    with current_slot().given_back():
        proceed()
    return see_other("console.rotations.show", name=name)


@blueprint.post("/rotations/pause")
@operation(Action.ROTATION_PAUSE, Scope.ROTATION_MANAGE)
def pause() -> Response:
    """Start no run of a plan until someone runs it."""
    name = _name_of(arguments())
    services().of(Rotations).pause(name, attempt=current_attempt())
    return see_other("console.rotations.show", name=name)


@blueprint.post("/rotations/delete")
@operation(Action.ROTATION_DELETE, Scope.ROTATION_MANAGE)
def delete() -> Response:
    """Delete a plan."""
    services().of(Rotations).delete(_name_of(arguments()), attempt=current_attempt())
    return see_other("console.rotations.index")


class _NewRotation(FormBody):
    """A plan to create."""

    name = secret_field("The secret with the password.")
    kind = fields.Enum(SourceKind, by_value=True, required=True)
    admin = secret_field("The secret with the administrator's URL.")
    first_user = user_field(required=True)
    second_user = user_field(required=True)
    days = number_field("Days between two rotations.", 30, maximum=_MAX_DAYS, default=30)
    hours = number_field("Hours after which the former password ends.", 24, maximum=_MAX_HOURS, default=24)
    form = fields.String(validate=validate.OneOf(["object", "password"]), load_default="object")


@blueprint.post("/rotations/create")
@operation(Action.ROTATION_CREATE, Scope.ROTATION_MANAGE, is_page=False)
def create() -> Response:
    """Create a plan."""
    asked = body(_NewRotation)
    new = NewRotation(
        name=asked["name"],
        kind=asked["kind"],
        admin=asked["admin"],
        users=(asked["first_user"], asked["second_user"]),
        every_seconds=asked["days"] * _SECONDS_A_DAY,
        grace_seconds=asked["hours"] * _SECONDS_AN_HOUR,
        password_only=asked["form"] == "password",
    )
    services().of(Rotations).create(new, attempt=current_attempt())
    return answer(message="Created.", location=url_for("console.rotations.show", name=new.name))


def panel_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the panel on the page of a secret shows besides the *values* of the page."""
    name, principal = values["secret"]["name"], current_attempt().principal
    plan, may_plan, is_readable = None, False, True
    if name and Scope.ROTATION_MANAGE in principal.scopes:
        may_plan = may_run(principal)
        try:
            plan = services().of(Rotations).of(name, principal)
        except StorageUnavailableError:
            is_readable = False
    remedy = remedy_of(plan.state, plan.error) if plan else ""
    return {"plan": plan, "may_plan": may_plan, "plan_is_readable": is_readable, "remedy": remedy}


def remedy_of(state: str, error: str) -> str:
    """Return what to do about a plan with this *state* and last *error*; empty if that is unknown."""
    reason = state if state in REMEDIES else error
    return next((remedy for part, remedy in REMEDIES.items() if part in reason), "")
