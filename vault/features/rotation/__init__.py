"""Rotation: passwords are changed at their sources, such as a database, without a failed login."""

from functools import partial

from vault.common.feature import Collection, Command, EventKind, Feature, Panel, Screen
from vault.core.attempt import Action
from vault.core.principal import Scope

_EVENT = partial(
    EventKind,
    shown=("name", "namespace", "version", "user", "step", "reason"),
    required=("name", "namespace"),
)

FEATURE = Feature(
    name="rotation",
    errors="vault.features.rotation.errors",
    settings="vault.features.rotation.settings:RotationSettings",
    collections={"rotations": Collection(("find", "insert", "update", "remove"))},
    documents=("vault.features.rotation.documents:Rotation",),
    services="vault.features.rotation.wiring:services",
    tasks="vault.features.rotation.wiring:tasks",
    rotate="vault.features.rotation.wiring:rotate",
    blueprints=("vault.features.rotation.api:blueprint",),
    pages=("vault.features.rotation.pages:blueprint",),
    status="vault.features.rotation.status:lines",
    screens=(Screen(Scope.ROTATION_MANAGE, "console.rotations.index", "Rotation"),),
    panels=(Panel("secret", "console/rotation_panel.html", "vault.features.rotation.pages:panel_values"),),
    commands={
        "rotation": Command(
            "vault.features.rotation.commands:rotation",
            "Change passwords at their sources, such as a database.",
        )
    },
    events=(
        _EVENT(
            "rotation.done",
            Action.ROTATION_DONE,
            "a [rotation](rotation.md) published `version` for `user`",
            same=("version",),
        ),
        _EVENT("rotation.failed", Action.ROTATION_FAILED, "a rotation failed at `step` for a `reason`"),
        _EVENT(
            "rotation.drift",
            Action.ROTATION_DRIFT,
            "someone has changed the password of a plan at its source",
        ),
    ),
)
