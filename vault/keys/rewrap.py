"""Putting every secret, and the token key, under the primary key."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from heapq import merge
from itertools import islice
from operator import itemgetter

from pymongo import UpdateOne

from vault.core.attempt import Action, Attempt, Status
from vault.core.errors import DecryptionError, RewrapRefusedError
from vault.core.principal import OPERATOR
from vault.crypto import Keyring
from vault.documents.guard import storage_errors
from vault.documents.secret import Secret, StoredSecret, StoredVersion
from vault.documents.token import StoredTokenKey
from vault.keys import registry


@dataclass(frozen=True, slots=True, repr=False)
class Rewrapped:
    """One version's new envelope, and the one that it takes the place of."""

    secret_id: str
    version: int
    is_newest: bool
    before: bytes
    envelope: bytes
    key_id: str

    def write(self) -> UpdateOne:
        """Return the write that puts it in place, if what it replaces is still there."""
        fields = {"envelope": self.envelope, "key_id": self.key_id}
        if self.is_newest:
            return UpdateOne({"_id": self.secret_id, "envelope": self.before}, {"$set": fields})
        before = {"$elemMatch": {"version": self.version, "envelope": self.before}}
        placed = {f"older.$.{name}": value for name, value in fields.items()}
        return UpdateOne({"_id": self.secret_id, "older": before}, {"$set": placed})


def under_key(key_id: str, *, after: str, limit: int) -> list[StoredSecret]:
    """Return up to *limit* secrets with a version under the key, by their ids, from *after* on."""
    # Each by its own index: for both in one query MongoDB may prefer to read all secrets by their ids.
    newest, older = {"key_id": key_id}, {"older.key_id": key_id, "key_id": {"$ne": key_id}}
    found = [
        Secret.raw().find({"_id": {"$gt": after}} | which).sort("_id", 1).limit(limit)
        for which in (newest, older)
    ]
    in_order = merge(*found, key=itemgetter("_id"))
    return [StoredSecret(document) for document in islice(in_order, limit)]


def versions_under(key_id: str, secret: StoredSecret) -> Iterator[StoredVersion]:
    """Yield the versions of *secret* that say that they are under the key, in whichever form."""
    return (stored for stored in secret.versions if key_id in (stored.key_id, *stored.listed_key_ids))


def rewrap_version(secret: StoredSecret, stored: StoredVersion, keyring: Keyring) -> Rewrapped | None:
    """Return a version of *secret*, which is under a key of *keyring*, under the primary one.

    None if it does not verify.
    """
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
    """Write each new envelope if the one that it replaces is still there; return how many were."""
    if not changes:
        return 0
    writes = [change.write() for change in changes]
    matched: int = Secret.raw().bulk_write(writes, ordered=False).matched_count
    return matched


#: Secrets that are read, and then written, in one round trip each.
_BATCH = 100

#: Batches under way at a time: while MongoDB writes some, others are read and encrypted.
_WORKERS = 3


@dataclass(slots=True)
class Rewrap:
    """How far a rewrap has come, in versions of secrets; the token key counts as one."""

    total: int = 0
    rewrapped: int = 0
    #: Changed or removed by somebody else between being read and being written.
    overtaken: int = 0
    #: Does not verify, so it cannot be put under another key.
    unreadable: int = 0
    #: Still needs another key than the primary.
    left: int = 0

    @property
    def seen(self) -> int:
        """How many were looked at."""
        return self.rewrapped + self.overtaken + self.unreadable

    def add(self, batch: "Rewrap") -> None:
        """Count what was done with a *batch*."""
        self.rewrapped += batch.rewrapped
        self.overtaken += batch.overtaken
        self.unreadable += batch.unreadable
        self.left -= batch.rewrapped


def rewrap(keyring: Keyring, *, dry_run: bool, progress: Callable[[Rewrap], None]) -> Rewrap:
    """Put every version of every secret, and the token key, under the primary key; return what was done.

    It may be interrupted at any point, repeated, and run twice at a time: each secret is changed only if
    it is still what was read. *progress* is called after each batch. With *dry_run* everything is read and
    decrypted, and nothing is changed.

    Raises:
        RewrapRefusedError: Replicas are running that write under other keys; they may lack the primary one.
        StorageUnavailableError: MongoDB went away; what was done until then is done.
        AuditUnavailableError: The start or the end could not be recorded.
    """
    with storage_errors():
        writing = registry.writing_key_ids()
        if writing and keyring.primary.id not in writing:
            names = ", ".join(sorted(writing))
            raise RewrapRefusedError(
                f"running workers encrypt under {names}, and {keyring.primary.id} is primary here: "
                "make it theirs first, or run this with their keys"
            )
    left = _left(keyring)
    with storage_errors():
        outcome = Rewrap(total=left, left=left, unreadable=registry.unnamed_versions())
    if dry_run:
        outcome.add(_rewrap_token_key(keyring, dry_run=True))
        _rewrap_all(keyring, outcome, progress, _pretend)
        return outcome
    _record(Action.REWRAP_START, Status.SUCCESS, keyring, outcome)
    try:
        outcome.add(_rewrap_token_key(keyring, dry_run=False))
        _rewrap_all(keyring, outcome, progress, write_rewrapped)
        outcome.left = _left(keyring)
    finally:
        _record(Action.REWRAP_END, Status.ERROR if outcome.left else Status.SUCCESS, keyring, outcome)
    return outcome


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
    under_way: deque[Future[Rewrap]] = deque()

    def finish(most: int) -> None:
        while len(under_way) > most:
            # It stays in the queue while it is waited for: that is where an interruption comes.
            outcome.add(under_way[0].result())
            under_way.popleft()
            progress(outcome)

    try:
        with ThreadPoolExecutor(_WORKERS) as pool:
            for key_id, batch in _batches(keyring):
                under_way.append(pool.submit(_rewrap_batch, key_id, batch, keyring, write))
                finish(_WORKERS)
            finish(0)
    finally:
        # After an interruption or a failure: what was under way then has gone through, and counts.
        for rest in under_way:
            if not rest.exception():
                outcome.add(rest.result())


def _batches(keyring: Keyring) -> Iterator[tuple[str, list[StoredSecret]]]:
    """Yield each fallback key's id with all secrets under it, by their ids, so that none is met twice."""
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
        # Versions under other keys have their own turn, or none if those keys are not held.
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
        others = registry.stored_key_ids() - {keyring.primary.id}
        unnamed = registry.unnamed_versions() + registry.unnamed_token_keys()
        return unnamed + sum(
            registry.stored_versions(key_id) + registry.opens_tokens(key_id) for key_id in others
        )
