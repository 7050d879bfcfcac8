"""The timeouts of issuers that a process exceeds if a busy machine stalls it."""

NAMES = ("vault.features.jwt.verification.FETCH_SECONDS",)
