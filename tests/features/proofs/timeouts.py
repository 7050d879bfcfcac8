"""The timeouts of witnesses that a process exceeds if a busy machine stalls them."""

NAMES = ("vault.features.proofs.witness._TIMEOUT_SECONDS",)
