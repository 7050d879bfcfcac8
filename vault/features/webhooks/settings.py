"""The settings of webhooks."""

from dataclasses import dataclass

from vault.common.config import validators as forms
from vault.common.config.fields import setting
from vault.common.networks import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookSettings:
    """The settings of webhooks."""

    webhook_networks: tuple[Network, ...] = setting(
        forms.Networks(load_default=()),
        "networks besides public ones to which [webhooks](webhooks.md#addresses) may lead, separated by "
        "commas, such as `127.0.0.0/8` for receivers on this machine",
        topic="Networks and hosts",
        trial=("127.0.0.0/8,::1/128", "webhooks may lead to this machine"),
    )
