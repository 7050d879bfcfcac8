"""Agreement of a process with its database: the keys in use, the trail's signer, and the trail's state."""

from dataclasses import dataclass

from vault.crypto import Keyring
from vault.crypto.chain import SigningKey
from vault.documents import key_usage
from vault.documents.storage import storage_errors
from vault.errors import AuditStateError, KeyMissingError, KeyUnsharedError
from vault.operations import signers
from vault.printable import printable


@dataclass(frozen=True, slots=True)
class Disagreement:
    """The reasons why a process must not write to its database; false if there are none."""

    #: Ids of master keys that are in use and not in the keyring.
    missing: frozenset[str] = frozenset()
    #: The signer of the audit trail, if the keyring neither holds nor trusts it.
    signer: str = ""
    #: `AUDIT_ENABLED` differs from the state of the database.
    audit_state: bool = False

    def __bool__(self) -> bool:
        """Return whether there is a reason."""
        return bool(self.missing or self.signer or self.audit_state)


def compare(keyring: Keyring, *, audit_enabled: bool | None) -> Disagreement:
    """Compare this process with its database, without a look at other processes.

    With None for *audit_enabled* the state of the trail does not matter.

    Raises:
        StorageUnavailableError: MongoDB is not there.
    """
    with storage_errors():
        missing = key_usage.stored_key_ids() - {key.id for key in keyring}
        state = key_usage.trail_state()
    return Disagreement(
        missing=frozenset(missing),
        signer=_unknown_signer(keyring, state.signer),
        audit_state=None not in (audit_enabled, state.enabled) and state.enabled is not audit_enabled,
    )


def require(keyring: Keyring, *, audit_enabled: bool | None) -> None:
    """Return if this process may write to its database, entries of the audit trail included.

    Raises:
        AuditStateError: *audit_enabled* disagrees with the database.
        KeyMissingError: A key in use is missing here; the message says which.
        KeyUnsharedError: Running workers lack the primary key.
        StorageUnavailableError: MongoDB is not there.
    """
    found = compare(keyring, audit_enabled=audit_enabled)
    with storage_errors():
        claims = key_usage.claims()
    # Anyone who can write to the database can store any text as an id, and the message goes to a terminal.
    missing = [printable(key_id) for key_id in sorted(found.missing | _unheld(keyring, claims))]
    if found.signer:
        missing.append(_signing_key(found.signer))
    if missing:
        raise KeyMissingError(*missing)
    if not _is_primary_shared(keyring, claims):
        raise KeyUnsharedError({claim.key_id for claim in claims}, keyring.primary.id)
    if found.audit_state:
        raise AuditStateError(audit_enabled=bool(audit_enabled))


def require_signer(keyring: Keyring) -> None:
    """Return if *keyring* holds or trusts the key that signs the trail; other keys do not matter.

    Raises:
        KeyMissingError: It does not; the message names the signer.
        StorageUnavailableError: MongoDB is not there.
    """
    signer = compare(keyring, audit_enabled=None).signer
    if signer:
        raise KeyMissingError(_signing_key(signer))


def unshared_keys(keyring: Keyring, claims: list[key_usage.Claim]) -> set[str]:
    """Return the ids of keys that this process or another worker encrypts under, and the other lacks."""
    own = set() if _is_primary_shared(keyring, claims) else {keyring.primary.id}
    return _unheld(keyring, claims) | own


def _signing_key(signer: str) -> str:
    return f"the key that signs the audit trail (signer {printable(signer)})"


def _unheld(keyring: Keyring, claims: list[key_usage.Claim]) -> set[str]:
    return {claim.key_id for claim in claims} - {key.id for key in keyring}


def _is_primary_shared(keyring: Keyring, claims: list[key_usage.Claim]) -> bool:
    return all(keyring.primary.id in claim.held for claim in claims)


def _unknown_signer(keyring: Keyring, recorded: str) -> str:
    """Return the signer of the trail if it is not trusted; empty if it is, or if there is no trail."""
    own = SigningKey(keyring.primary).public.signer
    if recorded == own:
        return ""
    if recorded:
        return "" if recorded in signers.trusted(keyring) else recorded
    # Written by a version before this: one entry of a wrong key, newest of all, must not stop the service.
    with storage_errors():
        found = key_usage.recent_signers()
    if not found or own in found or found & signers.trusted(keyring).keys():
        return ""
    return min(found)
