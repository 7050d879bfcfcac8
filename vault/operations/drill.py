"""Whether what is stored can be used: every value decrypted, every token and the whole trail verified."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mongoengine.errors import InvalidDocumentError, NotRegistered

from vault.crypto import Keyring
from vault.documents import Secret, Token
from vault.documents.storage import storage_errors
from vault.documents.token_key import StoredTokenKey
from vault.errors import DecryptionError, KeyMissingError
from vault.operations import checkpoint, signers, trail, verification
from vault.operations.archive import Progress
from vault.operations.attempt import Action, Attempt
from vault.operations.backup import Backup
from vault.operations.principal import OPERATOR
from vault.operations.stream_state import Record
from vault.operations.trail import Filter
from vault.operations.verify import Finding, Kind, Verifier

#: Secrets that are read in one round trip.
_BATCH = 1_000


@dataclass(slots=True)
class Checked:
    """How many were looked at, and how many of them do not verify."""

    seen: int = 0
    wrong: int = 0

    def add(self, *, is_right: bool) -> None:
        """Count one more."""
        self.seen += 1
        self.wrong += not is_right


def record(backup: Backup) -> None:
    """Record a drill of *backup* in the trail of the database that is connected, not of the scratch.

    Raises:
        AuditUnavailableError: The entry could not be written: decrypt nothing.
        StorageUnavailableError: MongoDB is not there.
    """
    details = {"backup": backup.id, "as_of": backup.manifest["as_of"], "documents": backup.counts}
    trail.record(Attempt(action=Action.BACKUP_DRILL, principal=OPERATOR, details=details))


def decrypt_secrets(keyring: Keyring, progress: Progress) -> Checked:
    """Decrypt every version of every secret; keep nothing.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    checked = Checked()
    with storage_errors():
        for document in Secret.raw().find(batch_size=_BATCH):
            for is_right in _decrypted(document, keyring):
                checked.add(is_right=is_right)
            progress(1)
    return checked


def _decrypted(document: Mapping[str, Any], keyring: Keyring) -> Iterator[bool]:
    try:
        secret = Secret.of(document)
    except (InvalidDocumentError, NotRegistered):
        yield False
        return
    for stored in secret.versions():
        try:
            secret.reveal_version(stored, keyring)
        except (DecryptionError, KeyMissingError):
            yield False
        else:
            yield True


def verify_tokens(keyring: Keyring) -> Checked:
    """Hold every token against its seal.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    checked = Checked()
    with storage_errors():
        stored = StoredTokenKey.stored()
        try:
            key = stored and stored.reveal(keyring)
        except (DecryptionError, KeyMissingError):
            key = None
        for token in Token.objects(pending=None):
            checked.add(is_right=key is not None and token.is_genuine(key))
    return checked


def verify_trail(backup: Backup, keyring: Keyring, progress: Progress) -> tuple[Verifier, list[Finding]]:
    """Verify the trail's chains, signatures and the heads in *backup*; return all findings except notes.

    Raises:
        StorageUnavailableError: MongoDB went away.
    """
    manifest = backup.manifest
    kept_since = verification.kept_since(manifest["audit_ttl_days"], datetime.fromisoformat(manifest["ts"]))
    verifier = Verifier(
        signers.trusted(keyring),
        kept_since=lambda: kept_since,
        heads={head["stream"]: head for head in manifest["heads"]},
        retirements=signers.retirements(keyring),
        retired=checkpoint.retired_by(manifest),
        dropped=signers.dropped(keyring),
    )
    found = verification.verify(verifier, _counted(progress))
    return verifier, [finding for finding in found if finding.kind is not Kind.NOTE]


def _counted(progress: Progress) -> Iterator[Record]:
    for record in trail.export(Filter()):
        yield record
        progress(1)
