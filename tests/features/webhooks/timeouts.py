"""The timeouts of webhooks that a process exceeds if a busy machine stalls it or MongoDB."""

NAMES = (
    "vault.features.webhooks.endpoint.TIMEOUT_SECONDS",
    *("vault.features.webhooks.sender.LEASE_SECONDS", "vault.features.webhooks.sender._TURN_SECONDS"),
)
