"""Counter-signatures: the statement of another installation that it was shown a checkpoint."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from vault.common.timestamps import moment
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey, VerifyingKey
from vault.core.documents.base import is_text
from vault.core.trail.streams import checkpoint

#: The members, all of which are texts. With others, an answer could keep the sender's trail from storing it.
_MEMBERS = {"sender", "digest", "ts", "public_key", "signer", "signature"}


def make(sender: str, digest: str, keyring: Keyring) -> dict[str, Any]:
    """Return the signed statement that *sender* has shown the checkpoint with *digest* now."""
    public_key = SigningKey(keyring.primary).public.raw.hex()
    now = moment(datetime.now(UTC))
    made = {"sender": sender, "digest": digest, "ts": now, "public_key": public_key}
    return checkpoint.signed(made, keyring)


def verifies(made: Mapping[str, Any], digest: str, keys: Mapping[str, VerifyingKey] | None = None) -> bool:
    """Return whether *made* is a signed statement about *digest*, by one of *keys*, or by the key in it."""
    if made.keys() != _MEMBERS or not all(map(is_text, made.values())):
        return False
    if keys is None:
        own = VerifyingKey.of(made["public_key"])
        keys = {own.signer: own} if own else {}
    try:
        confirmed_at(made)
        return made["digest"] == digest and checkpoint.is_signed(made, keys)
    except (OverflowError, ValueError):
        return False


def confirmed_at(made: Mapping[str, Any]) -> datetime:
    """Return the time in *made*, a statement that verifies."""
    return datetime.fromisoformat(made["ts"]).astimezone(UTC)
