"""Putting every secret, and the token key, under the primary key."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

from vault.crypto import Keyring
from vault.documents import Secret, key_usage, rewrapped
from vault.documents.rewrapped import Rewrapped
from vault.documents.storage import storage_errors
from vault.documents.token_key import StoredTokenKey
from vault.errors import DecryptionError, RewrapRefusedError
from vault.operations.attempt import Action, Attempt, Status
from vault.operations.principal import OPERATOR

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
        writing = key_usage.writing_key_ids()
        if writing and keyring.primary.id not in writing:
            names = ", ".join(sorted(writing))
            raise RewrapRefusedError(
                f"running workers encrypt under {names}, and {keyring.primary.id} is primary here: "
                "make it theirs first, or run this with their keys"
            )
    left = _left(keyring)
    with storage_errors():
        outcome = Rewrap(total=left, left=left, unreadable=key_usage.unnamed_versions())
    if dry_run:
        outcome.add(_rewrap_token_key(keyring, dry_run=True))
        _rewrap_all(keyring, outcome, progress, _pretend)
        return outcome
    _record(Action.REWRAP_START, Status.SUCCESS, keyring, outcome)
    try:
        outcome.add(_rewrap_token_key(keyring, dry_run=False))
        _rewrap_all(keyring, outcome, progress, rewrapped.replace)
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


def _batches(keyring: Keyring) -> Iterator[tuple[str, list[Secret]]]:
    """Yield each fallback key's id with all secrets under it, by their ids, so that none is met twice."""
    for key in keyring:
        if key is keyring.primary:
            continue
        batch = _batch_after("", key.id)
        while batch:
            yield key.id, batch
            batch = _batch_after(batch[-1].id, key.id)


def _batch_after(secret_id: str, key_id: str) -> list[Secret]:
    with storage_errors():
        return rewrapped.under_key(key_id, after=secret_id, limit=_BATCH)


def _rewrap_batch(
    key_id: str, batch: list[Secret], keyring: Keyring, write: Callable[[Sequence[Rewrapped]], int]
) -> Rewrap:
    made = [
        rewrapped.rewrap(secret, stored, keyring)
        for secret in batch
        # Versions under other keys have their own turn, or none if those keys are not held.
        for stored in rewrapped.versions_under(key_id, secret)
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
            done = bool(stored.reveal(keyring)) if dry_run else stored.rewrap(keyring)
        except DecryptionError:
            return Rewrap(unreadable=1)
    return Rewrap(rewrapped=int(done), overtaken=int(not done))


def _left(keyring: Keyring) -> int:
    with storage_errors():
        others = key_usage.stored_key_ids() - {keyring.primary.id}
        unnamed = key_usage.unnamed_versions() + key_usage.unnamed_token_keys()
        return unnamed + sum(
            key_usage.stored_versions(key_id) + key_usage.opens_tokens(key_id) for key_id in others
        )
