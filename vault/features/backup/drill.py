"""A drill of a backup: restore it into a scratch database, decrypt every value, verify seals and trail."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any, Protocol

from vault.common.errors import DecryptionError, KeyMissingError
from vault.core.access.publishing import kinds
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents import Database, Secret, Token
from vault.core.documents.guard import storage_errors
from vault.core.documents.sealed import SealedDocument
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.token import StoredTokenKey
from vault.core.principal import OPERATOR
from vault.core.trail import reader
from vault.core.trail.findings import Finding, Gravity
from vault.core.trail.reader import Filter
from vault.core.trail.streams import checkpoint
from vault.core.trail.verifier import Verifier, retention_start, verify_records
from vault.features.backup import dump
from vault.features.backup.archive import Progress
from vault.features.backup.create import Backup, VerifiedBackup
from vault.features.backup.errors import RestoreRefusedError
from vault.features.backup.restore import fill

#: Secrets that are read in one round trip.
_BATCH = 1_000


class Step(Enum):
    """A step of a drill, in this order."""

    RESTORE = auto()
    DECRYPT_SECRETS = auto()
    VERIFY_TOKENS = auto()
    BUILD_INDEXES = auto()
    VERIFY_TRAIL = auto()


class ShowStep(Protocol):
    """Shows one step, of *total* documents, while the block runs; yields what shows its progress."""

    def __call__(self, step: Step, total: int = 0) -> AbstractContextManager[Progress]:
        """Return the context of the block."""


@dataclass(slots=True)
class Checked:
    """The number of checked items, and of those that failed."""

    seen: int = 0
    failed: int = 0

    def add(self, *, passed: bool) -> None:
        """Count one more item."""
        self.seen += 1
        self.failed += not passed

    def __str__(self) -> str:
        return f"{self.seen} checked, {self.failed} failed"


@dataclass(frozen=True, slots=True)
class Report:
    """The results of a drill."""

    versions: Checked
    tokens: Checked
    #: All other sealed documents, such as issuers of JWTs and roles.
    roles: Checked
    #: Audit entries, and their streams.
    entries: int
    streams: int
    findings: list[Finding]

    @property
    def is_good(self) -> bool:
        """True if everything decrypts and verifies. Findings other than tampering need a look."""
        failed = self.versions.failed or self.tokens.failed or self.roles.failed
        return not (failed or any(finding.tampering for finding in self.findings))


def record(backup: Backup) -> None:
    """Record a drill of *backup* in the trail of the connected database, not of the scratch database."""
    details = {"backup": backup.id, "as_of": backup.manifest["as_of"], "documents": backup.counts}
    reader.record(Attempt(action=Action.BACKUP_DRILL, principal=OPERATOR, details=details))


@contextmanager
def dropped_afterwards(scratch: Database) -> Iterator[None]:
    """Drop the connected *scratch* database after the block in any case, except if it held documents before.

    Raises:
        RestoreRefusedError: The scratch database exists already.
    """
    if filled := dump.filled_collection():
        raise RestoreRefusedError(f"the scratch database {scratch.name} exists, with {filled} in it")
    try:
        yield
    finally:
        scratch.drop()


def drill(backup: VerifiedBackup, scratch: Database, keyring: Keyring, *, show: ShowStep) -> Report:
    """Restore *backup* into the connected, empty *scratch* database, and check all of it.

    Raises:
        InvalidBackupError: The file was changed after it was verified.
    """
    counts = backup.counts
    with show(Step.RESTORE, sum(counts.values())) as progress:
        fill(backup, again=False, progress=progress)
    # Before the indexes exist: they let MongoDB remove expired documents.
    with show(Step.DECRYPT_SECRETS, counts["secrets"]) as progress:
        versions = decrypt_secrets(keyring, progress)
    with show(Step.VERIFY_TOKENS):
        tokens, roles = verify_sealed(keyring)
    with show(Step.BUILD_INDEXES):
        scratch.build_indexes()
    with show(Step.VERIFY_TRAIL, counts["audit_logs"]) as progress:
        verifier, findings = verify_trail(backup, keyring, progress)
    return Report(versions, tokens, roles, verifier.entries, verifier.streams, findings)


def decrypt_secrets(keyring: Keyring, progress: Progress) -> Checked:
    """Decrypt every version of every secret, and discard the plaintext."""
    checked = Checked()
    with storage_errors():
        for document in Secret.raw().find(batch_size=_BATCH):
            for passed in _decrypted(document, keyring):
                checked.add(passed=passed)
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


def verify_sealed(keyring: Keyring) -> tuple[Checked, Checked]:
    """Verify the seals of all tokens, and of all other sealed documents."""
    tokens, roles = Checked(), Checked()
    with storage_errors():
        stored = StoredTokenKey.stored()
        try:
            key = stored and stored.decrypt(keyring)
        except (DecryptionError, KeyMissingError):
            key = None
        sealed: list[type[SealedDocument]] = [Token, *kinds()]
        for kind in sealed:
            checked = tokens if kind is Token else roles
            for document in kind.active():
                checked.add(passed=kind.genuine(document, key) is not None)
    return tokens, roles


def verify_trail(backup: Backup, keyring: Keyring, progress: Progress) -> tuple[Verifier, list[Finding]]:
    """Verify the trail's chains, signatures and the heads in *backup*; return all findings except notes."""
    manifest = backup.manifest
    kept_since = retention_start(manifest["audit_ttl_days"], datetime.fromisoformat(manifest["ts"]))
    verifier = Verifier.of_database(
        keyring,
        kept_since=lambda: kept_since,
        heads={head["stream"]: head for head in manifest["heads"]},
        retired=checkpoint.retired_by(manifest),
    )
    found = verify_records(verifier, reader.counted(reader.export(Filter()), progress))
    return verifier, [finding for finding in found if finding.kind is not Gravity.NOTE]
