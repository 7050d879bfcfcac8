"""The broker's service: secrets are used by programs and agents that never get their values."""

from vault.common.feature import Command, EventKind, Feature, Panel
from vault.core.attempt import Action

FEATURE = Feature(
    name="broker",
    errors="vault.features.broker.errors",
    secret_fields="vault.features.broker.fields",  # noqa: S106 - a path
    services="vault.features.broker.wiring:services",
    blueprints=("vault.features.broker.api:blueprint",),
    pages=("vault.features.broker.pages:blueprint",),
    panels=(Panel("secret", "console/use_panel.html", "vault.features.broker.pages:panel_values"),),
    events=(
        EventKind(
            "canary.used",
            Action.USE,
            "a broker used a [canary](evidence.md#canaries)",
            shown=("name", "namespace", "version", "host"),
            required=("name", "namespace"),
            mark="canary",
        ),
    ),
    commands={"secret rules": Command("vault.features.broker.commands:rules")},
)
