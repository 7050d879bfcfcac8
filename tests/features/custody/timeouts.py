"""The timeouts of custody that a process exceeds if a busy machine stalls it or a provider."""

NAMES = ("vault.features.custody.child.TIMEOUT_SECONDS", "vault.features.custody.http._REQUEST_SECONDS")
