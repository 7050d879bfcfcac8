"""The timeouts of links that a process exceeds if a busy machine stalls it or MongoDB."""

NAMES = ("vault.features.links.shares._WAIT_TIMEOUT_SECONDS",)
