"""Rewrap: re-encrypt every secret version, and the token key, under the primary key.

`rewrap` reads batches of secrets under each fallback key, and rewraps and writes several batches at a time.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import islice
from operator import itemgetter

from pymongo import UpdateOne

from vault.common.errors import DecryptionError, RewrapRefusedError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents import keys_in_use, registry
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret, StoredVersion
from vault.core.documents.token import StoredTokenKey
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import OPERATOR

#: Secrets that are read in one round trip, and written in another.
_BATCH = 100

#: Batches in progress at a time: while MongoDB writes some, others are read and encrypted.
_WORKERS = 3


@dataclass(slots=True)
class Rewrap:
    """The progress of a rewrap in secret versions; the token key counts as one."""

    total: int = 0
    rewrapped: int = 0
    #: Changed or removed by another process between the read and the write.
    overtaken: int = 0
    #: Do not verify, and so cannot be rewrapped.
    unreadable: int = 0
    #: Still need another key than the primary key.
    left: int = 0

    @property
    def seen(self) -> int:
        """The number of versions read."""
        return self.rewrapped + self.overtaken + self.unreadable

    def add(self, batch: "Rewrap") -> None:
        """Add the counts of a *batch*."""
        self.rewrapped += batch.rewrapped
        self.overtaken += batch.overtaken
        self.unreadable += batch.unreadable
        self.left -= batch.rewrapped


@dataclass(frozen=True, slots=True, repr=False)
class Rewrapped:
    """A version's new envelope, and the one that it replaces."""

    secret_id: str
    version: int
    is_newest: bool
    before: bytes
    envelope: bytes
    key_id: str

    def write(self) -> UpdateOne:
        """Return the write that replaces the envelope, if it is still the same."""
        fields = {"envelope": self.envelope, "key_id": self.key_id}
        if self.is_newest:
            return UpdateOne({"_id": self.secret_id, "envelope": self.before}, {"$set": fields})
        before = {"$elemMatch": {"version": self.version, "envelope": self.before}}
        placed = {f"older.$.{name}": value for name, value in fields.items()}
        return UpdateOne({"_id": self.secret_id, "older": before}, {"$set": placed})


def rewrap(
    keyring: Keyring, guard: KeyringGuard, *, dry_run: bool, progress: Callable[[Rewrap], None]
) -> Rewrap:
    """Put every version of every secret, and the token key, under the primary key; return the counts.

    It may be interrupted at any point, repeated, and run twice at a time: each version is replaced only if
    its envelope is still the one that was read. *progress* is called after each batch. With *dry_run*,
    everything is read and decrypted, and nothing is changed. Otherwise it has a claim as workers have: no
    process that lacks the primary key starts meanwhile.

    Raises:
        KeyMissingError: As `KeyringGuard.require`, whose other errors are possible, too.
        RewrapRefusedError: Running workers encrypt under other keys; they may lack the primary one.
        StorageUnavailableError: MongoDB became unavailable; finished batches stay rewrapped.
        AuditUnavailableError: The start or the end could not be recorded.
    """
    with storage_errors():
        writing = registry.writing_key_ids()
        if writing and keyring.primary.id not in writing:
            names = ", ".join(sorted(writing))
            raise RewrapRefusedError(
                f"running workers encrypt under {names}, and {keyring.primary.id} is primary here",
                hint="make it theirs first, or run this with their keys",
            )
    left = _left(keyring)
    with storage_errors():
        outcome = Rewrap(total=left, left=left, unreadable=keys_in_use.unnamed_versions())
    if dry_run:
        outcome.add(_rewrap_token_key(keyring, dry_run=True))
        _rewrap_all(keyring, outcome, progress, _pretend)
        return outcome

    def write(changes: Sequence[Rewrapped]) -> int:
        guard.require()
        return write_rewrapped(changes)

    _record(Action.REWRAP_START, Status.SUCCESS, keyring, outcome)
    try:
        guard.require()
        outcome.add(_rewrap_token_key(keyring, dry_run=False))
        _rewrap_all(keyring, outcome, progress, write)
        outcome.left = _left(keyring)
    finally:
        _record(Action.REWRAP_END, Status.ERROR if outcome.left else Status.SUCCESS, keyring, outcome)
    return outcome


def other_writing_keys(keyring: Keyring) -> set[str]:
    """Return the IDs of other keys than the primary key that running workers encrypt under.

    After a rewrap, they may still write values that need another one.

    Raises:
        StorageUnavailableError: MongoDB is not available.
    """
    with storage_errors():
        return registry.writing_key_ids() - {keyring.primary.id}


def _pretend(changes: Sequence[Rewrapped]) -> int:
    return len(changes)


def _record(action: Action, status: Status, keyring: Keyring, outcome: Rewrap) -> None:
    details = {"primary": keyring.primary.id, **asdict(outcome)}
    Attempt(action=action, principal=OPERATOR, details=details).finish(status)


def _rewrap_all(
    keyring: Keyring,
    outcome: Rewrap,
    progress: Callable[[Rewrap], None],
    write: Callable[[Sequence[Rewrapped]], int],
) -> None:
    in_progress: deque[Future[Rewrap]] = deque()

    def finish(max_in_progress: int) -> None:
        while len(in_progress) > max_in_progress:
            # It stays in the queue during the wait, which is where an interruption arrives.
            outcome.add(in_progress[0].result())
            in_progress.popleft()
            progress(outcome)

    try:
        with ThreadPoolExecutor(_WORKERS) as pool:
            for key_id, batch in _batches(keyring):
                in_progress.append(pool.submit(_rewrap_batch, key_id, batch, keyring, write))
                finish(_WORKERS)
            finish(0)
    finally:
        # After an interruption or a failure, the batches in progress have finished, and count.
        for rest in in_progress:
            if not rest.exception():
                outcome.add(rest.result())


def _batches(keyring: Keyring) -> Iterator[tuple[str, list[StoredSecret]]]:
    """Yield batches of the secrets under each fallback key, ordered by ID so that none comes twice."""
    for key in keyring:
        if key is keyring.primary:
            continue
        batch = _batch_after("", key.id)
        while batch:
            yield key.id, batch
            batch = _batch_after(batch[-1].id, key.id)


def _batch_after(secret_id: str, key_id: str) -> list[StoredSecret]:
    with storage_errors():
        return under_key(key_id, after=secret_id, limit=_BATCH)


def _rewrap_batch(
    key_id: str, batch: list[StoredSecret], keyring: Keyring, write: Callable[[Sequence[Rewrapped]], int]
) -> Rewrap:
    made = [
        rewrap_version(secret, stored, keyring)
        for secret in batch
        # Versions under other keys have their own turn, if those keys are held.
        for stored in versions_under(key_id, secret)
    ]
    changes = [change for change in made if change]
    with storage_errors():
        written = write(changes)
    return Rewrap(rewrapped=written, overtaken=len(changes) - written, unreadable=len(made) - len(changes))


def _rewrap_token_key(keyring: Keyring, *, dry_run: bool) -> Rewrap:
    with storage_errors():
        stored = StoredTokenKey.stored()
        if stored is not None and not isinstance(stored.key_id, str):
            return Rewrap(unreadable=1)
        if stored is None or stored.key_id == keyring.primary.id or stored.key_id not in keyring:
            return Rewrap()
        try:
            done = bool(stored.decrypt(keyring)) if dry_run else stored.rewrap(keyring)
        except DecryptionError:
            return Rewrap(unreadable=1)
    return Rewrap(rewrapped=int(done), overtaken=int(not done))


def _left(keyring: Keyring) -> int:
    with storage_errors():
        held = {key.id for key in keyring}
        others = (held | keys_in_use.stored_key_ids(held)) - {keyring.primary.id}
        unnamed = keys_in_use.unnamed_versions() + keys_in_use.unnamed_token_keys()
        return unnamed + sum(
            keys_in_use.stored_versions(key_id) + keys_in_use.opens_tokens(key_id) for key_id in others
        )


def under_key(key_id: str, *, after: str, limit: int) -> list[StoredSecret]:
    """Return up to *limit* secrets with a version under the key, ordered by ID, from *after* on."""
    # One query for each index: for both in one, MongoDB may prefer to scan all secrets by ID.
    newest, older = {"key_id": key_id}, {"older.key_id": key_id, "key_id": {"$ne": key_id}}
    found = [
        Secret.raw().find({"_id": {"$gt": after}} | which).sort("_id", 1).limit(limit)
        for which in (newest, older)
    ]
    in_order = merge(*found, key=itemgetter("_id"))
    return [StoredSecret(document) for document in islice(in_order, limit)]


def versions_under(key_id: str, secret: StoredSecret) -> Iterator[StoredVersion]:
    """Yield the versions of *secret* that name the key, in any form."""
    return (stored for stored in secret.versions if key_id in (stored.key_id, *stored.listed_key_ids))


def rewrap_version(secret: StoredSecret, stored: StoredVersion, keyring: Keyring) -> Rewrapped | None:
    """Rewrap a version of *secret* that is under a key of *keyring*; return None if it does not verify."""
    try:
        plaintext = secret.decrypt_version(stored, keyring)
    except DecryptionError:
        return None
    return Rewrapped(
        secret_id=secret.id,
        version=stored.version,
        is_newest=stored.version == secret.version,
        before=stored.envelope,
        envelope=keyring.encrypt(plaintext, secret.binding(stored.version)),
        key_id=keyring.primary.id,
    )


def write_rewrapped(changes: Sequence[Rewrapped]) -> int:
    """Write each new envelope if the one that it replaces is still stored; return how many were."""
    if not changes:
        return 0
    writes = [change.write() for change in changes]
    matched: int = Secret.raw().bulk_write(writes, ordered=False).matched_count
    return matched
