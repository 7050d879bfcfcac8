"""Counter-signatures: the statement of another installation that it was shown a checkpoint."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vault.audit import checkpoint
from vault.core.timestamps import moment
from vault.crypto import Keyring
from vault.crypto.audit_chain import SigningKey, VerifyingKey


def make(sender: str, digest: str, keyring: Keyring) -> dict[str, Any]:
    """Return the signed statement that *sender* has shown the checkpoint with *digest* now."""
    public_key = SigningKey(keyring.primary).public.raw.hex()
    now = moment(datetime.now(UTC))
    made = {"sender": sender, "digest": digest, "ts": now, "public_key": public_key}
    return checkpoint.signed(made, keyring)


def verifies(made: Mapping[str, Any], digest: str, keys: Mapping[str, VerifyingKey] | None = None) -> bool:
    """Return whether *made* is a signed statement about *digest*, by one of *keys*, or by the key in it."""
    if keys is None:
        own = VerifyingKey.of(made.get("public_key"))
        keys = {own.signer: own} if own else {}
    try:
        datetime.fromisoformat(made["ts"])
        return made["digest"] == digest and checkpoint.is_signed(made, keys)
    except (KeyError, TypeError, ValueError):
        return False
