"""The timeouts of custody that a process exceeds if a busy machine stalls it or a provider."""

NAMES = ("features.custody.child.TIMEOUT_SECONDS", "features.custody.http._REQUEST_SECONDS")
