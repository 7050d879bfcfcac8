"""The settings of webhooks."""

import pytest

from vault.common.config.settings import Settings
from vault.common.errors import SettingsError
from vault.common.networks import network
from vault.features.webhooks.settings import WebhookSettings


def networks(**environment: str) -> object:
    settings = Settings.from_mapping({"MASTER_KEY": "32 characters that are the key..", **environment})
    return settings.of(WebhookSettings).webhook_networks


def test_networks_are_none_unless_they_are_set() -> None:
    """By default, webhooks lead to public addresses only; another text is refused, and not shown."""
    assert networks() == ()
    assert networks(WEBHOOK_NETWORKS="127.0.0.0/8,::1/128") == (network("127.0.0.0/8"), network("::1/128"))
    with pytest.raises(SettingsError) as caught:
        networks(WEBHOOK_NETWORKS="hunter2-nowhere")
    assert "WEBHOOK_NETWORKS" in str(caught.value)
    assert "hunter2" not in str(caught.value)
