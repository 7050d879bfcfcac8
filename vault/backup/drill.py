"""Whether what is stored can be used: every value decrypted, every token and the whole trail verified."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vault.audit import checkpoint, reader, signing_keys
from vault.audit.reader import Filter
from vault.audit.verifier import Finding, Kind, Verifier, retention_start, verify_records
from vault.backup.archive import Progress
from vault.backup.create import Backup
from vault.core.attempt import Action, Attempt
from vault.core.errors import DecryptionError, KeyMissingError
from vault.core.principal import OPERATOR
from vault.crypto import Keyring
from vault.documents import Secret, Token
from vault.documents.audit import Record
from vault.documents.guard import storage_errors
from vault.documents.secret import StoredSecret
from vault.documents.token import StoredTokenKey

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
    reader.record(Attempt(action=Action.BACKUP_DRILL, principal=OPERATOR, details=details))


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
    secret = StoredSecret(document)
    for stored in secret.versions:
        try:
            secret.decrypt_version(stored, keyring)
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
            key = stored and stored.decrypt(keyring)
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
    kept_since = retention_start(manifest["audit_ttl_days"], datetime.fromisoformat(manifest["ts"]))
    verifier = Verifier(
        signing_keys.trusted(keyring),
        kept_since=lambda: kept_since,
        heads={head["stream"]: head for head in manifest["heads"]},
        retirements=signing_keys.retirements(keyring),
        retired=checkpoint.retired_by(manifest),
        dropped=signing_keys.dropped(keyring),
    )
    found = verify_records(verifier, _counted(progress))
    return verifier, [finding for finding in found if finding.kind is not Kind.NOTE]


def _counted(progress: Progress) -> Iterator[Record]:
    for record in reader.export(Filter()):
        yield record
        progress(1)
