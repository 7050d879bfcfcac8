"""Backups: creating one, and reading one after verifying every byte of it."""

import os
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, BinaryIO

from vault import __version__
from vault.common import deadline
from vault.common.errors import VaultError, remedy_of
from vault.common.outcomes import Status
from vault.common.text import printable
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, audit_chain
from vault.core.documents import keys_in_use, registry
from vault.core.documents.collections import TRAIL
from vault.core.documents.guard import OPERATION_TIMEOUT_SECONDS, storage_errors
from vault.core.principal import OPERATOR
from vault.core.trail.streams import checkpoint, ends, signing_keys
from vault.core.trail.streams.collection import MAJORITY, collection
from vault.core.trail.streams.summaries import Listed
from vault.features.backup import archive, dump
from vault.features.backup.archive import ArchiveWriter, Progress
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError

#: The file format of this version. Files that it could not read correctly have another number.
FORMAT = 1

#: The number of closed streams that are read at once.
_STREAMS_AT_ONCE = 1_000

_NO_ARRAY: Mapping[str, Any] = {"$not": {"$type": "array"}}


@dataclass(frozen=True, slots=True)
class Backup:
    """A backup by its manifest."""

    manifest: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The manifest's hash. It names the backup in the audit trail, and in a database during a restore."""
        return str(self.manifest["hash"])

    @property
    def audit_enabled(self) -> bool | None:
        """The state of the audit trail in its database; None if it was not set yet."""
        enabled: bool | None = self.manifest.get("audit_enabled")
        # Earlier versions did not record it.
        return True if enabled is None and self.counts.get(TRAIL) else enabled

    @property
    def auth_enabled(self) -> bool:
        """True if a process has served its database with authentication."""
        # Earlier versions did not record it.
        return bool(self.manifest.get("auth_enabled"))

    @property
    def counts(self) -> dict[str, int]:
        """The number of documents by collection."""
        return {member.collection: member.documents for member in archive.members(self.manifest)}


@dataclass(frozen=True, slots=True)
class VerifiedBackup(Backup):
    """A genuine and complete backup in a file. The keyring has every key that it needs."""

    file: BinaryIO
    keyring: Keyring = field(repr=False)
    #: Detects later changes of the file.
    digests: Sequence[bytes] = field(repr=False)

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """Yield all documents as BSON, each with the name of its collection.

        Raises:
            InvalidBackupError: The file was changed after it was verified.
        """
        return archive.documents(self.file, self.manifest, self.digests)


def make(file: BinaryIO, keyring: Keyring, *, audit_ttl_days: int, progress: Progress) -> Backup:
    """Write a backup into *file*, and record it in the trail.

    Everything except the trail is as of one moment. The trail is read as of a later one: entries are durable
    before their effects begin, so everything in the backup has its entry.

    Raises:
        BackupRefusedError: No backup can be made now, or with this keyring.
        StorageUnavailableError: MongoDB became unavailable.
        AuditUnavailableError: The entry could not be written: do not keep the file.
    """
    attempt = Attempt(action=Action.BACKUP, principal=OPERATOR)
    try:
        made = _make(file, keyring, audit_ttl_days, progress)
        attempt.details = {"backup": made.id, "as_of": made.manifest["as_of"], "documents": made.counts}
        attempt.finish(Status.SUCCESS)
    except BaseException:
        # Report the first error, not one of recording it.
        with suppress(VaultError), deadline.Within(OPERATION_TIMEOUT_SECONDS):
            attempt.finish(Status.ERROR)
        raise
    return made


def write(
    target: AbstractContextManager[BinaryIO], keyring: Keyring, *, audit_ttl_days: int, progress: Progress
) -> tuple[Backup, int]:
    """Make a backup in the file of *target*, which keeps it after its block; return it with its size.

    Raises the errors of `make` and of *target*. If the file is not kept, that is on record.
    """
    made = None
    try:
        with target as file:
            made = make(file, keyring, audit_ttl_days=audit_ttl_days, progress=progress)
            size = file.seek(0, os.SEEK_END)
    except BaseException:
        if made is not None:
            _record_loss(made)
        raise
    return made, size


def _record_loss(made: Backup) -> None:
    """Record that a backup, which is on record as *made*, was not kept. A failure to record is ignored."""
    attempt = Attempt(action=Action.BACKUP, principal=OPERATOR)
    attempt.details = {"backup": made.id, "reason": "the backup could not be written"}
    # The caller reports the first error.
    with suppress(VaultError), deadline.Within(OPERATION_TIMEOUT_SECONDS):
        attempt.finish(Status.ERROR)


def _make(file: BinaryIO, keyring: Keyring, audit_ttl_days: int, progress: Progress) -> Backup:
    writer = ArchiveWriter(file)
    as_of = moment(datetime.now(UTC))
    with dump.snapshot() as state:
        key_ids = _keys_in_use(keyring)
        for name in dump.state():
            writer.add(name, dump.batches(name), progress)
    with dump.no_earlier_than(state):
        heads = checkpoint.heads(keyring)
        before = {head["stream"]: head["seq"] for head in heads}
        closed = Listed(keyring).rows
        ended = dict(_signed_ends(before, closed))
        if any(stream not in closed and ended.get(stream, -1) < seq for stream, seq in before.items()):
            raise BackupRefusedError("the end of the trail was removed in the meantime", hint="try again")
        writer.add(TRAIL, _trail(ended, closed), progress)
    manifest: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "ts": moment(datetime.now(UTC)),
        "as_of": as_of,
        "audit_ttl_days": audit_ttl_days,
        "audit_enabled": _audit_enabled(),
        "auth_enabled": _auth_enabled(),
        "key_ids": key_ids,
        "members": [asdict(member) for member in writer.members],
        "heads": heads,
        "retired": checkpoint.retired(keyring),
    }
    manifest["hash"] = audit_chain.digest(manifest)
    # The manifest is also a checkpoint, with more fields.
    manifest = checkpoint.signed(manifest, keyring)
    writer.finish(manifest)
    return Backup(manifest)


def _keys_in_use(keyring: Keyring) -> list[str]:
    with storage_errors():
        if registry.unfinished_restore():
            raise BackupRefusedError(
                "a restore into this database is not finished", hint="restore the same backup again"
            )
        stored, writing = keys_in_use.stored_key_ids(), registry.writing_key_ids()
    # Anyone who can write to the database can store any value as a key ID.
    missing = sorted(printable(str(key_id)) for key_id in stored | writing if key_id not in keyring)
    if missing:
        raise BackupRefusedError(
            f"master keys that are in use are missing here: {', '.join(missing)}",
            hint="add them to MASTER_KEY_FALLBACKS",
        )
    # The primary key signs the manifest.
    return sorted(stored | {keyring.primary.id})


def _audit_enabled() -> bool | None:
    with storage_errors():
        return registry.trail_state().enabled


def _auth_enabled() -> bool:
    with storage_errors():
        return registry.requires_auth()


def _signed_ends(heads: Mapping[str, int], closed: Container[str]) -> Iterator[tuple[str, int]]:
    """Yield each stream that is not *closed*, with its last signed number: mostly that in *heads*.

    Later entries are of a failed commit or one in progress. Anyone who can write to MongoDB can store
    anything there, so only well-formed entries count.
    """
    # A failover can undo a commit that only the primary has. The next verification would miss its entries.
    entries = collection().with_options(read_concern=MAJORITY)
    for stream, highest in ends.highest(except_for=closed):
        if heads.get(stream) == highest and not isinstance(highest, bool):
            yield stream, highest
            continue
        signed = {"signature": {"$exists": True}, "seq": {"$type": ["int", "long"], **_NO_ARRAY}}
        with storage_errors():
            # By MongoDB: of a field that occurs twice in a document, the driver reads the other one.
            found = entries.find({"stream": _is(stream), **signed}, {"_id": 0, "end": "$seq"})
            for one in found.sort("seq", -1).limit(1):
                yield stream, one["end"]


def _trail(ended: Mapping[str, int], closed: Collection[str]) -> Iterator[bytes]:
    """Yield all entries of the *closed* streams, and those of the *ended* ones up to their numbers."""
    order = (("stream", 1), ("seq", 1))
    names = [*closed]
    for at in range(0, len(names), _STREAMS_AT_ONCE):
        some = {"$in": names[at : at + _STREAMS_AT_ONCE], **_NO_ARRAY}
        yield from dump.batches(TRAIL, {"stream": some}, *order)
    for stream, end in ended.items():
        query = {"stream": _is(stream), "seq": {"$lte": end}}
        # Not by stream: with an array in that field of any entry, MongoDB would sort them itself.
        yield from dump.batches(TRAIL, query, ("seq", 1))


def _is(stream: str) -> dict[str, Any]:
    # MongoDB would find an array once for each stream in it.
    return {"$eq": stream, **_NO_ARRAY}


def read(file: BinaryIO, keyring: Keyring, *, progress: Progress) -> VerifiedBackup:
    """Return the backup in *file* after every byte of it has been verified.

    Raises:
        InvalidBackupError: It cannot be restored with *keyring*; the message says why.
    """
    manifest = archive.read_manifest(file, signing_keys.own(keyring))
    try:
        _require_ours(manifest, keyring)
    except (KeyError, TypeError):
        raise InvalidBackupError("this is not a backup of this service: its manifest differs") from None
    return VerifiedBackup(manifest, file, keyring, archive.verify(file, manifest, progress))


def _require_ours(manifest: Mapping[str, Any], keyring: Keyring) -> None:
    # The signature is not verified yet, and the message goes to a terminal.
    if manifest["format"] != FORMAT:
        raise InvalidBackupError(
            f"the backup has format {printable(str(manifest['format']))}, and this version reads {FORMAT}",
            hint=f"use the version that made it, {printable(str(manifest['version']))}, or a newer one",
        )
    missing = [printable(str(key_id)) for key_id in manifest["key_ids"] if key_id not in keyring]
    if missing:
        is_wrong = len(missing) == len(manifest["key_ids"])
        names = ", ".join(missing)
        problem = f"the backup needs master keys that are missing here: {names}"
        if is_wrong:
            problem = f"the master key here has the ID {keyring.primary.id}, and the backup needs {names}"
        remedy = remedy_of(len(missing), is_wrong=is_wrong, has_file=bool(keyring.file))
        raise InvalidBackupError(problem, hint=remedy or "add them to MASTER_KEY_FALLBACKS")
    if not checkpoint.is_signed(manifest, signing_keys.own(keyring)):
        raise InvalidBackupError(
            "the backup was altered, or made elsewhere: its manifest is complete, but not signed by "
            "a master key of this service"
        )
