"""The standing of a keyring file: of one without MACs, the database has to know the file, or all its keys.

Anyone who can write to a file without MACs can add a key of their own, or take the MACs out of another file.
Functions raise `StorageUnavailableError`.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto

from vault.common.errors import KeyringFileUnknownError
from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import registry
from vault.core.documents.audit import AuditEntry, AuditKey
from vault.core.documents.guard import storage_errors


class Standing(Enum):
    """The reason to trust a keyring file."""

    #: All its keys confirm it, or there is no file.
    CONFIRMED = auto()
    #: The database knows it, or all its keys.
    KNOWN = auto()
    #: The database knows no key yet, so anything is as good.
    NEW = auto()
    #: Nothing does.
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class NewestFile:
    """The newest keyring file on record, by its hash, and the time of its latest entry."""

    digest: str
    time: datetime


def newest_file() -> NewestFile | None:
    """Return the newest keyring file on record: of the last change, or an unchanged one that was used since.

    None if the trail has none. Entries about a file that someone put back have `is_newest` false.
    """
    actions = (Action.CUSTODY_CHANGED, Action.CUSTODY_CHECKED, Action.KEY_OPENED)
    query = {"action": {"$in": [*actions]}, "status": Status.SUCCESS, "details.is_newest": True}
    with storage_errors():
        # By the index of the retention: a running service has an entry for each check.
        found = AuditEntry.raw().find_one(query, {"ts": 1, "details.file": 1}, sort=[("ts", -1)])
    return NewestFile(found["details"]["file"], found["ts"]) if found else None


def standing(keyring: Keyring) -> Standing:
    """Return the standing of the file that *keyring* comes from."""
    if keyring.is_confirmed:
        return Standing.CONFIRMED
    with storage_errors():
        served = registry.served_files()
    if keyring.file in served.unconfirmed:
        return Standing.KNOWN
    unknown = unknown_keys(keyring)
    # A file with MACs was served before: without them, it is another one.
    if not served.confirmed and unknown is None:
        return Standing.NEW
    if not served.confirmed and not unknown:
        return Standing.KNOWN
    # Only now: this search can take long.
    newest = newest_file()
    return Standing.KNOWN if newest and newest.digest == keyring.file else Standing.REFUSED


def require_standing(keyring: Keyring) -> Standing:
    """Return the standing of the file of *keyring*.

    Raises:
        KeyringFileUnknownError: Nothing vouches for it.
    """
    found = standing(keyring)
    if found is Standing.REFUSED:
        raise KeyringFileUnknownError(*unknown_keys(keyring) or ())
    return found


def refused_keys(keyring: Keyring) -> tuple[str, ...] | None:
    """Return None if `require_standing` accepts the file, or else the keys that the trail does not know."""
    try:
        require_standing(keyring)
    except KeyringFileUnknownError as error:
        return error.unknown
    return None


def require_known_primary(keyring: Keyring) -> list[str]:
    """Require that the trail knows the primary key, if it knows any, before an operator accepts the file.

    Return the IDs of the other keys that it does not know.

    Raises:
        KeyringFileUnknownError: It does not know the primary key.
    """
    unknown = unknown_keys(keyring) or []
    if keyring.primary.id in unknown:
        raise KeyringFileUnknownError(keyring.primary.id, is_primary=True)
    return unknown


def unknown_keys(keyring: Keyring) -> list[str] | None:
    """Return the IDs of the keys that the audit trail does not know; None if it knows no key at all.

    It knows the key that signs it. That key has endorsed the others of its keyring, and all earlier ones.
    """
    signers = {SigningKey(key).public.signer: key.id for key in keyring}
    with storage_errors():
        state = registry.trail_state()
        own = {state.signer} if state.signer else registry.recent_signers()
        if state.enabled is False or not own:
            return None
        endorsed = {"_id": {"$in": [*signers]}, "public_key": {"$exists": True}}
        known = own | {found["_id"] for found in AuditKey.raw().find(endorsed, {"_id": 1})}
    return [key_id for signer, key_id in signers.items() if signer not in known]
