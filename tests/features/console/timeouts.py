"""The timeouts of the console that a process exceeds if a busy machine stalls it."""

NAMES = ("vault.features.console.open_id_provider.FETCH_SECONDS",)
