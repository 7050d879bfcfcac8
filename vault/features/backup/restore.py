"""Restoring a backup into an empty database."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from vault.common.errors import AuditStateError, DecryptionError, DuplicateNameError
from vault.common.outcomes import Status
from vault.core.access.publishing import kinds
from vault.core.attempt import Action, Attempt, finish_all
from vault.core.crypto import Keyring
from vault.core.documents import Database, registry
from vault.core.documents.guard import storage_errors
from vault.core.documents.token import StoredTokenKey
from vault.core.principal import OPERATOR
from vault.features.backup import dump
from vault.features.backup.archive import Progress
from vault.features.backup.create import VerifiedBackup
from vault.features.backup.errors import RestoreRefusedError

#: Maximum documents, and bytes of documents, per round trip.
_BATCH = 1_000
_BATCH_BYTES = 16_777_216


def restore(
    backup: VerifiedBackup,
    database: Database,
    *,
    audit_enabled: bool,
    progress: Progress,
    also: Sequence[Attempt] = (),
) -> None:
    """Restore *backup* into the connected *database*, which must be empty.

    From before the first write until the end, no worker serves on the database. An interrupted restore is
    resumed by restoring the same backup again. The attempts *also* are recorded with the restore. Rotation
    plans are paused, and their runs end.

    Raises:
        InvalidBackupError: The file was changed after it was verified; all written documents are verified.
        AuditStateError: *audit_enabled*, the setting, disagrees with the backup; nothing was written.
        RestoreRefusedError: The database is not empty, or workers serve on it; nothing was written.
        StorageUnavailableError: MongoDB became unavailable.
        DuplicateNameError: Everything was restored, but two documents have one name.
        AuditUnavailableError: The entry could not be written, so the restore is unfinished.
    """
    if backup.audit_enabled not in (None, audit_enabled):
        raise AuditStateError(audit_enabled=audit_enabled)
    again = _begin(backup)
    fill(backup, again=again, progress=progress)
    with storage_errors():
        _change_restored(backup.keyring)
    duplicate = None
    try:
        database.build_indexes()
    except DuplicateNameError as error:
        # The backup had it, and an operator can remove it here: no worker serves until then.
        duplicate = error
    details = {"backup": backup.id, "as_of": backup.manifest["as_of"], "documents": backup.counts}
    attempt = Attempt(action=Action.BACKUP_RESTORE, principal=OPERATOR, details=details)
    finish_all([(one, Status.SUCCESS) for one in (*also, attempt)])
    with storage_errors():
        registry.end_restore()
    if duplicate:
        raise duplicate


def fill(backup: VerifiedBackup, *, again: bool, progress: Progress) -> None:
    """Write all documents of *backup*; with *again*, skip those that are stored already.

    Raises:
        InvalidBackupError: The file was changed after it was verified.
        StorageUnavailableError: MongoDB became unavailable.
    """
    for collection, batch in _batches(backup):
        dump.insert(collection, batch, again=again)
        progress(len(batch))


def _change_restored(keyring: Keyring) -> None:
    """Change the sealed documents that must not act in a copy of their database."""
    stored = StoredTokenKey.stored()
    # Without a valid key, none acts.
    with suppress(DecryptionError):
        if key := stored and stored.decrypt(keyring):
            for kind in kinds():
                kind.after_restore(key)


def _begin(backup: VerifiedBackup) -> bool:
    """Keep workers from serving; return whether a restore of the same backup was interrupted."""
    with storage_errors():
        unfinished = registry.unfinished_restore()
        if unfinished is None:
            if filled := dump.filled_collection():
                raise RestoreRefusedError(
                    f"the database is not empty: there are documents in {filled}",
                    hint="name a new database in MONGO_URI",
                )
        elif unfinished != backup.id:
            raise RestoreRefusedError(
                "the restore of another backup into this database is not finished",
                hint="restore that one again, or drop the database",
            )
        begun = registry.begin_restore(
            backup.id, audit_enabled=backup.audit_enabled, auth_enabled=backup.auth_enabled
        )
        if not begun:
            raise RestoreRefusedError(
                "workers serve on this database",
                hint="stop the service; after one that was killed wait 20 seconds",
            )
    return unfinished is not None


def _batches(backup: VerifiedBackup) -> Iterator[tuple[str, list[bytes]]]:
    batch: list[bytes] = []
    size = 0
    before = ""
    for collection, document in backup.documents():
        if batch and (collection != before or len(batch) == _BATCH or size > _BATCH_BYTES):
            yield before, batch
            batch, size = [], 0
        batch.append(document)
        size += len(document)
        before = collection
    if batch:
        yield before, batch
