"""Rotation: passwords are changed at their sources, such as a database, without a failed login."""

from vault.common.feature import Collection, Command, Feature, Panel, Screen
from vault.core.principal import Scope
from vault.features.rotation.errors import (
    RotationBusyError,
    RotationExistsError,
    RotationFailedError,
    RotationNotFoundError,
    RotationRefusedError,
)

FEATURE = Feature(
    name="rotation",
    errors=(
        RotationExistsError,
        RotationNotFoundError,
        RotationRefusedError,
        RotationBusyError,
        RotationFailedError,
    ),
    settings="vault.features.rotation.settings:RotationSettings",
    collections={"rotations": Collection(("find", "insert", "update", "remove"))},
    documents=("vault.features.rotation.documents:Rotation",),
    services="vault.features.rotation.wiring:services",
    tasks="vault.features.rotation.wiring:tasks",
    rotate="vault.features.rotation.wiring:rotate",
    blueprints=("vault.features.rotation.api:blueprint",),
    pages=("vault.features.rotation.pages:blueprint",),
    screens=(Screen(Scope.ROTATION_MANAGE, "console.rotations.index", "Rotation"),),
    panels=(Panel("secret", "console/rotation_panel.html", "vault.features.rotation.pages:panel_values"),),
    commands={
        "rotation": Command(
            "vault.features.rotation.commands:rotation",
            "Change passwords at their sources, such as a database.",
        )
    },
)
