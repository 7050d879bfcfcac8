"""The timeouts of webhooks that a process exceeds if a busy machine stalls it or MongoDB."""

NAMES = (
    "features.webhooks.endpoint.TIMEOUT_SECONDS",
    *("features.webhooks.sender.LEASE_SECONDS", "features.webhooks.sender._TURN_SECONDS"),
)
