"""Webhooks: the changes in the audit trail, sent to URLs as events."""

from vault.common.feature import Collection, Command, Feature, Screen
from vault.core.principal import Scope

FEATURE = Feature(
    name="webhooks",
    errors="vault.features.webhooks.errors",
    settings="vault.features.webhooks.settings:WebhookSettings",
    collections={"webhooks": Collection(("find", "insert", "update", "remove"))},
    documents=("vault.features.webhooks.documents:Webhook",),
    services="vault.features.webhooks.wiring:services",
    tasks="vault.features.webhooks.wiring:tasks",
    blueprints=("vault.features.webhooks.api:blueprint",),
    pages=("vault.features.webhooks.pages:blueprint",),
    status="vault.features.webhooks.status:lines",
    screens=(Screen(Scope.WEBHOOK_MANAGE, "console.webhooks.index", "Webhooks"),),
    commands={
        "webhooks": Command(
            "vault.features.webhooks.commands:webhooks", "Create, list, test, replay and delete webhooks."
        ),
    },
)
