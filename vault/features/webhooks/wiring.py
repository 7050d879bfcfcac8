"""The service of webhooks, and the task that sends events."""

from collections.abc import Iterator

from vault.common.feature import Task
from vault.core.parts import Parts
from vault.features.webhooks.sender import Sender
from vault.features.webhooks.settings import WebhookSettings
from vault.features.webhooks.webhooks import Webhooks


def services(parts: Parts) -> Iterator[object]:
    """Yield the service: webhooks."""
    yield Webhooks(parts.token_keys, parts.settings.of(WebhookSettings).webhook_networks)


def tasks(parts: Parts) -> Iterator[Task]:
    """Yield the task: the sender of events."""
    networks = parts.settings.of(WebhookSettings).webhook_networks
    yield Sender(parts.token_keys, networks, parts.database.ping)
