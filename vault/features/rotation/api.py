"""Rotation plans over HTTP, and the schemas of their requests and replies."""

from typing import Any

from marshmallow import ValidationError, fields, post_load, validate

from vault.common.limits import MAX_VERSION
from vault.common.paths import MAX_NAME_BYTES, name_flaw
from vault.common.text import ONE_LINE_PATTERN
from vault.core.attempt import Action
from vault.core.principal import Scope
from vault.features.rotation.documents import Step
from vault.features.rotation.errors import (
    RotationBusyError,
    RotationExistsError,
    RotationFailedError,
    RotationRefusedError,
)
from vault.features.rotation.holders import MAX_HOLDERS, Waiting
from vault.features.rotation.plans import (
    MAX_LIST_BYTES,
    MAX_USER_LENGTH,
    STATES,
    NewRotation,
    RotationInfo,
    Rotations,
)
from vault.features.rotation.sources.source import SourceKind
from vault.features.rotation.value import PASSWORD
from vault.service.api.deliveries import docker_text
from vault.service.api.secret_replies import secret_id_field
from vault.service.api.token_schemas import NoOptions
from vault.toolkit.document.errors import ErrorDoc
from vault.toolkit.document.fields import (
    NAME_OF_SECRET_PATTERN,
    Body,
    BoundedList,
    Moment,
    Reply,
    choice_field,
    flawless,
    integer_field,
    not_blank,
    number_field,
    objects_field,
    one_line,
    text_field,
    texts_field,
    time_field,
)
from vault.toolkit.operations.blueprint import Blueprint, current_attempt, current_slot, services
from vault.toolkit.operations.replies import reply_memory

blueprint = Blueprint(
    "Rotation",
    __name__,
    url_prefix="/vault/rotation",
    description="Change passwords at their sources, such as a database, without a failed login.",
    error_docs={
        "RotationExists": ErrorDoc(RotationExistsError("The secret has a rotation plan."), "limit_reached"),
        "InvalidRotation": ErrorDoc(
            RotationRefusedError("A plan has two users, which take turns."), "unprocessable_entity"
        ),
        "RotationBusy": ErrorDoc(RotationBusyError("The former password is still open.")),
        "RotationFailed": ErrorDoc(
            RotationFailedError("The rotation failed at the step set: the server does not have the user")
        ),
    },
)

_NAME = "billing/db"
_ADMIN = "billing/db-admin"
_USERS = ["billing_a", "billing_b"]
_TASK = "kzzqdtbrqefyh3pmblf5kv9m0"
_KINDS = [kind.value for kind in SourceKind]
_TIME = "2026-11-24T15:30:00.000Z"
_TEN_YEARS_SECONDS = 315_360_000


def secret_field(description: str, example: str = _NAME) -> fields.String:
    """Return the field for the name of a secret, with its documentation."""
    shape = {"pattern": NAME_OF_SECRET_PATTERN, "maxLength": MAX_NAME_BYTES}
    return text_field(description, example, shape=shape, required=True, validate=flawless(name_flaw))


def user_field(**options: Any) -> fields.String:
    """Return the field for a user at a source."""
    return fields.String(
        validate=[validate.Length(1, MAX_USER_LENGTH), one_line, not_blank],
        metadata={"pattern": ONE_LINE_PATTERN},
        **options,
    )


def _are_different(users: list[str]) -> None:
    if len(set(users)) < len(users):
        raise ValidationError("Must be different.")


class NewRotationSchema(Body):
    """A rotation plan to create."""

    name = secret_field("The secret with the password. It must exist.")
    kind = choice_field("The kind of the source.", _KINDS[0], _KINDS, required=True)
    admin = secret_field(
        "The secret with the administrator's URL; for the kind `command`, with the program's path.", _ADMIN
    )
    users = BoundedList(
        user_field(),
        max_size=2,
        required=True,
        validate=[validate.Length(equal=2), _are_different],
        metadata={
            "description": "The two users that take turns. They must exist.",
            "example": _USERS,
            "uniqueItems": True,
        },
    )
    every_seconds = number_field(
        "Seconds between two rotations.", 2_592_000, maximum=_TEN_YEARS_SECONDS, required=True
    )
    grace_seconds = number_field(
        "Seconds after which the former password ends, even if someone may still use it.",
        86_400,
        maximum=_TEN_YEARS_SECONDS,
        default=86_400,
    )
    field = choice_field(
        "`password` if the value of the secret is the password alone. By default, the value is a JSON object "
        "with the members `username` and `password`; its other members stay.",
        PASSWORD,
        [PASSWORD],
    )

    @post_load
    def _rotation(self, data: dict[str, Any], **_: object) -> NewRotation:
        is_alone = data.pop("field", None) is not None
        return NewRotation(**data | {"kind": SourceKind(data["kind"])}, password_only=is_alone)


class RotationReference(Body):
    """A rotation plan."""

    name = secret_field("The secret of the plan.")


class RotationName(Reply):
    """A rotation plan."""

    name = text_field("The secret of the plan.", _NAME, required=True)


class RotationRun(RotationName):
    """A rotation up to its publication."""

    version = integer_field("The version with the new password.", 2, required=True)


class RotationRecord(RotationName):
    """A rotation plan, and the state of its run."""

    state = text_field(
        "`waiting` for its time, `running`, `published` while the former password is open, `failing`, "
        "`drifted` if someone has changed the password at the source, `paused`, or `altered` if someone "
        "changed the plan in the database. Altered plans do not run.",
        "waiting",
        shape={"enum": list(STATES)},
        required=True,
    )
    kind = text_field("The kind of the source.", _KINDS[0], required=True)
    admin = text_field("The secret with the administrator's URL.", _ADMIN, required=True)
    users = texts_field("The users that take turns.", _USERS)
    field = text_field(
        "`password` if the value is the password alone; otherwise null.", None, allow_none=True, required=True
    )
    every_seconds = integer_field("Seconds between two rotations.", 2_592_000, required=True)
    grace_seconds = integer_field(
        "Seconds after which the former password ends at the latest.", 86_400, required=True
    )
    created_at = Moment(required=True, allow_none=True, metadata={"example": _TIME})
    created_by = text_field("The principal that created the plan.", "operator", required=True)
    step = text_field(
        "The last completed step of the run; null between two runs.",
        Step.PUBLISHED.value,
        shape={"enum": [step.value for step in Step]},
        allow_none=True,
        required=True,
    )
    done_at = time_field("The time of the last publication; null before the first.", _TIME)
    version = integer_field(
        "The version of that publication; null before the first.", 2, required=True, allow_none=True
    )
    next_at = time_field("The time of the next run, or of the next step of this one.", _TIME)
    open_user = text_field(
        "The user whose former password is still open; null for none.", None, allow_none=True, required=True
    )
    holders = texts_field(
        "The principals that may still use it, at the last look; `(unknown)` if the trail may lack some.",
        ["billing-app"],
    )
    close_at = time_field("The time at which it ends at the latest; null for none.", None)
    error = text_field("The reason of the last failure; otherwise empty.", "", required=True)


class RotationList(Reply):
    """All rotation plans that the caller sees."""

    rotations = objects_field(RotationRecord, "In the order of their names.")


class WaitingRotation(RotationName):
    """A published rotation that waits for tasks."""

    secret_id = secret_id_field("The ID of the secret.")
    version = integer_field("The version with the new password.", 2, required=True)
    tasks = texts_field("The IDs of tasks with an earlier version, at most 100.", [_TASK])


class WaitingRotations(Reply):
    """The rotations that wait for the caller's tasks."""

    rotations = objects_field(WaitingRotation, "In the order of their names.")


class ReleaseSchema(RotationReference):
    """Tasks that have ended."""

    version = number_field("The version with the new password.", 2, maximum=MAX_VERSION, required=True)
    tasks = BoundedList(
        docker_text("The task's ID.", _TASK),
        max_size=MAX_HOLDERS,
        required=True,
        validate=validate.Length(1, MAX_HOLDERS),
        metadata={"description": "The IDs of the tasks.", "example": [_TASK]},
    )


@blueprint.post("/create")
@blueprint.operation(
    Action.ROTATION_CREATE,
    scope=Scope.ROTATION_MANAGE,
    refusals=("SecretNotFound", "RotationExists", "InvalidRotation"),
)
@blueprint.arguments(
    NewRotationSchema,
    example={
        "name": _NAME,
        "kind": _KINDS[0],
        "admin": _ADMIN,
        "users": _USERS,
        "every_seconds": 2_592_000,
    },
)
@blueprint.response(200, RotationRecord, description="The plan is created.")
def create_rotation(new: NewRotation) -> RotationInfo:
    """Create a rotation plan.

    Requires the scopes `rotation:manage`, `secret:fetch` and `secret:update`, and both secrets within your
    paths. The first rotation comes after one period. Later, the administrator's secret must name the same
    server.
    """
    return services().of(Rotations).create(new, attempt=current_attempt())


@blueprint.post("/list")
@blueprint.operation(Action.ROTATION_LIST, scope=Scope.ROTATION_MANAGE)
@blueprint.arguments(NoOptions, example={})
@blueprint.response(200, RotationList, description="The plans.")
def list_rotations(_body: dict[str, Any]) -> dict[str, list[RotationInfo]]:
    """List rotation plans.

    Requires the scope `rotation:manage`. Returns the plans of your namespace and paths.
    """
    with reply_memory(MAX_LIST_BYTES):
        return {"rotations": services().of(Rotations).list(attempt=current_attempt())}


@blueprint.post("/show")
@blueprint.operation(Action.ROTATION_SHOW, scope=Scope.ROTATION_MANAGE, refusals=("RotationNotFound",))
@blueprint.arguments(RotationReference, example={"name": _NAME})
@blueprint.response(200, RotationRecord, description="The plan.")
def show_rotation(body: dict[str, Any]) -> RotationInfo:
    """Show a rotation plan.

    Requires the scope `rotation:manage`.
    """
    return services().of(Rotations).show(**body, attempt=current_attempt())


@blueprint.post("/run")
@blueprint.operation(
    Action.ROTATION_RUN,
    scope=Scope.ROTATION_MANAGE,
    refusals=("RotationNotFound", "RotationBusy", "RotationFailed"),
)
@blueprint.arguments(RotationReference, example={"name": _NAME})
@blueprint.response(200, RotationRun, description="The new password is published.")
def run_rotation(body: dict[str, Any]) -> dict[str, Any]:
    """Rotate a password now.

    Requires the scopes `rotation:manage`, `secret:fetch` and `secret:update`, and both secrets within your
    paths. The reply comes after the publication; the former password stays open for its holders. Refused
    until that is closed. Ends a pause.
    """
    run = services().of(Rotations).run(**body, attempt=current_attempt())
    # The source can be slow.
    with current_slot().given_back():
        version = run()
    return {"name": body["name"], "version": version}


@blueprint.post("/pause")
@blueprint.operation(Action.ROTATION_PAUSE, scope=Scope.ROTATION_MANAGE, refusals=("RotationNotFound",))
@blueprint.arguments(RotationReference, example={"name": _NAME})
@blueprint.response(200, RotationName, description="The plan is paused.")
def pause_rotation(body: dict[str, Any]) -> dict[str, str]:
    """Pause a rotation plan.

    Requires the scope `rotation:manage`. Until someone runs it, no rotation begins. A former password that
    is open still ends.
    """
    services().of(Rotations).pause(**body, attempt=current_attempt())
    return {"name": body["name"]}


@blueprint.post("/delete")
@blueprint.operation(Action.ROTATION_DELETE, scope=Scope.ROTATION_MANAGE, refusals=("RotationNotFound",))
@blueprint.arguments(RotationReference, example={"name": _NAME})
@blueprint.response(200, RotationName, description="The plan is deleted.")
def delete_rotation(body: dict[str, Any]) -> dict[str, str]:
    """Delete a rotation plan.

    Requires the scope `rotation:manage`. The passwords stay as they are, also a former one that is open.
    """
    services().of(Rotations).delete(**body, attempt=current_attempt())
    return {"name": body["name"]}


@blueprint.post("/waiting")
@blueprint.operation(Action.ROTATION_WAITING, scope=Scope.SECRET_DELIVER)
@blueprint.arguments(NoOptions, example={})
@blueprint.response(200, WaitingRotations, description="The rotations.")
def list_waiting_rotations(_body: dict[str, Any]) -> dict[str, list[Waiting]]:
    """List the rotations that wait for your tasks.

    Requires the scope `secret:deliver`. Returns the rotations whose former password is open for tasks to
    which you delivered it, with their `service_id`.
    """
    with reply_memory(MAX_LIST_BYTES):
        return {"rotations": services().of(Rotations).tasks.waiting(attempt=current_attempt())}


@blueprint.post("/release")
@blueprint.operation(Action.ROTATION_RELEASE, scope=Scope.SECRET_DELIVER, refusals=("RotationNotFound",))
@blueprint.arguments(ReleaseSchema, example={"name": _NAME, "version": 2, "tasks": [_TASK]})
@blueprint.response(200, RotationName, description="It is on record.")
def release_tasks(body: dict[str, Any]) -> dict[str, str]:
    """Report that tasks have ended, so that a rotation no longer waits for them.

    Requires the scope `secret:deliver`. Only tasks to which you delivered the value matter. Refused unless
    the former password of a rotation to this version is open.
    """
    services().of(Rotations).tasks.release(**body, attempt=current_attempt())
    return {"name": body["name"]}
