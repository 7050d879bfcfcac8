"""Whose signatures on the audit trail are to be believed."""

from vault.crypto import Keyring
from vault.crypto.chain import SigningKey, VerifyingKey
from vault.documents.audit_key import AuditKey
from vault.documents.storage import storage_errors


def own(keyring: Keyring) -> dict[str, VerifyingKey]:
    """Return the keys that verify what *keyring* signs, by signer."""
    return {key.signer: key for key in (SigningKey(master_key).public for master_key in keyring)}


def trusted(keyring: Keyring) -> dict[str, VerifyingKey]:
    """Return the keys that are believed, by signer: those of *keyring*, and whatever those vouch for.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    keys = own(keyring)
    with storage_errors():
        candidates = list(AuditKey.objects)
    found = True
    while found:
        found = False
        for stored in candidates:
            key = VerifyingKey.of(stored.public_key)
            if key and key.signer not in keys and _is_endorsed(stored, key, keys):
                keys[key.signer] = key
                found = True
    return keys


def endorse(keyring: Keyring) -> None:
    """Let the primary key vouch for all keys that are believed, before one of them is dropped.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    primary = SigningKey(keyring.primary)
    for signer, key in trusted(keyring).items():
        if signer != primary.public.signer:
            signature = primary.sign(key.endorsement)
            with storage_errors():
                AuditKey.objects(id=signer).update_one(
                    upsert=True,
                    set__public_key=key.raw.hex(),
                    **{f"set__endorsements__{primary.public.signer}": signature},
                )


def _is_endorsed(stored: AuditKey, key: VerifyingKey, keys: dict[str, VerifyingKey]) -> bool:
    # Whoever can write to the database can leave anything there.
    endorsements = stored.endorsements if isinstance(stored.endorsements, dict) else {}
    return any(
        signer in keys and keys[signer].verifies(signature, key.endorsement)
        for signer, signature in endorsements.items()
    )
