"""Create and fetch secrets, one or a batch of them."""

from collections.abc import Callable, Iterable, Sequence
from typing import NoReturn, TypeVar

from vault.common import clock
from vault.common.errors import (
    SecretBusyError,
    SecretNotFoundError,
    SecretTooLargeError,
    TooLargeForBatchError,
    VaultError,
)
from vault.common.observability import metrics
from vault.common.outcomes import Status
from vault.common.timestamps import to_milliseconds
from vault.core.attempt import Action, Attempt, Outcome, finish_all
from vault.core.crypto import Keyring
from vault.core.documents.guard import best_effort_cleanup
from vault.core.documents.secret import UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import Scope
from vault.core.secrets import reach, read_limits, use_rules
from vault.core.secrets.idempotency import IdempotentCreate
from vault.core.secrets.items import CreateRequest, Creation, Fetch, Item, Reserve, need_not_reserve
from vault.core.secrets.read_limits import HeldRead
from vault.core.secrets.requests import KEPT, NewSecret, Reference, Written
from vault.core.secrets.store import SecretStore, share

#: What a reader makes of a value.
Made = TypeVar("Made")

#: The size from which a fetched value needs memory that is reserved.
_LARGE_BYTES = 16_384


class SecretService:
    """Creates and fetches the secrets that one keyring opens.

    All methods raise:
        KeyMissingError: This process may not serve.
        StorageUnavailableError: MongoDB is unavailable, or the outcome is unknown.
        AuditUnavailableError: The entry could not be written.
    """

    def __init__(
        self, keyring: Keyring, guard: KeyringGuard, *, is_atomic: Callable[[], bool], max_bytes: int
    ) -> None:
        """Store new secrets with their entries while *is_atomic* returns that this is possible."""
        self._keyring = keyring
        self._guard = guard
        self._is_atomic = is_atomic
        self._max_bytes = max_bytes
        self._store = SecretStore(max_bytes=max_bytes)
        self._idempotent_create = IdempotentCreate(keyring, self._store)

    def create(self, new_secret: NewSecret, *, idempotency_key: str | None = None, attempt: Attempt) -> str:
        """Store a new secret and return its ID, once both secret and audit entry are durable.

        If the *idempotency_key* was used for the same new secret before, return that one's ID.

        Raises:
            CredentialRequiredError: It has a name or is a canary, and the caller has no credential.
            OutsidePathsError: Its name is outside the principal's paths, or it has none.
            ScopeMissingError: It is a canary, and the principal may not create those; or it has use rules,
                and the principal may not fetch.
            UseRulesRefusedError: It cannot have use rules.
            SecretTooLargeError: It is longer than the limit in bytes.
            NameTakenError: Another secret of the namespace has the name.
            WeakIdempotencyKeyError: The idempotency key of an anonymous caller is too short.
            IdempotencyMismatchError: The idempotency key was used for another new secret.
            SecretBusyError: Another request is creating it.
            DecryptionError: The record of the idempotency key does not verify.
        """
        return self._create_one(new_secret, idempotency_key, attempt).secret_id

    def create_named(self, new_secret: NewSecret, *, attempt: Attempt) -> Written:
        """Store a new secret as `create` does, and return its first version."""
        secret = self._create_one(new_secret, None, attempt).secret
        info = VersionInfo(
            version=1 if new_secret.plaintext else 0,
            created_at=to_milliseconds(secret.created_at) if secret else None,
        )
        return Written(secret_id=attempt.secret_id or "", info=info, description=new_secret.description)

    def _create_one(self, new_secret: NewSecret, key: str | None, attempt: Attempt) -> Creation:
        item = Creation(attempt=attempt, new_secret=new_secret)
        self._check(item)
        self._create([item], key, attempt=attempt, is_batch=False)
        return item

    def create_all(
        self, items: Sequence[Creation], *, idempotency_key: str | None = None, attempt: Attempt
    ) -> None:
        """Store new secrets as `create` does, and set the error of each that failed.

        The *idempotency_key* covers all of them. Raises the errors of `create` that do not concern one item.
        """
        for item in items:
            if item.error is None:
                with item.failing_alone():
                    self._check(item)
        self._create(items, idempotency_key, attempt=attempt, is_batch=True)

    def _check(self, item: Creation) -> None:
        if item.new_secret.name is not None:
            reach.require_credential(item.new_secret.name, item.attempt)
        reach.require_within(item.new_secret.name, item.attempt)
        if item.new_secret.canary:
            item.attempt.require(Scope.CANARY_MANAGE)
        if item.new_secret.use_rules:
            use_rules.require_right(item.attempt)
            use_rules.require_usable(
                item.new_secret.use_rules, item.new_secret.name, item.new_secret.plaintext
            )
        require_size(item.new_secret.plaintext, self._max_bytes)

    def _create(
        self, items: Sequence[Creation], key: str | None, *, attempt: Attempt, is_batch: bool
    ) -> None:
        self._guard.require()
        request = CreateRequest(items, namespace=attempt.principal.namespace, is_batch=is_batch)
        reservation = self._idempotent_create.reserve(request, key=key, principal=attempt.principal)
        for number, item in enumerate(items):
            if number in reservation.existing:
                item.repeat(reservation.existing[number])
            else:
                item.begin()
        try:
            is_stored = self._is_atomic() and self._store.create(self._outcomes(items), _new_secrets(items))
            if not is_stored:
                self._hold_names(items, is_batch=is_batch, is_repeatable=key is not None)
                self._store.record(self._outcomes(items), _new_secrets(items))
        except VaultError:
            reservation.abandon()
            raise
        reservation.complete([item.outcome for item in items])

    def _hold_names(self, items: Sequence[Creation], *, is_batch: bool, is_repeatable: bool) -> None:
        refused = self._store.hold_names(_new_secrets(items))
        for item in items:
            if item.secret and item.secret.id in refused:
                error = refused[item.secret.id]
                # A repeat would return the outcome of a busy item for as long as its key is remembered.
                if not is_batch or (is_repeatable and isinstance(error, SecretBusyError)):
                    raise error
                item.fail(error)

    def fetch(
        self,
        reference: Reference,
        *,
        version: int | None = None,
        reserve: Reserve = need_not_reserve,
        attempt: Attempt,
    ) -> bytes:
        """Return the plaintext of a secret's newest, or the given, version, once the audit entry is durable.

        With a read limit the fetch counts, even if the caller never receives the reply. *reserve* is called
        before a large value is decrypted. Raises its errors, too.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The secret or version does not exist, or may no longer be read.
            SecretBusyError: The reserved read ended before it was counted.
            DecryptionError: The stored secret does not verify.
        """
        item = Fetch(attempt=attempt, reference=reference, version=version, reserve=reserve)
        return self.read(item, lambda found: found.plaintext)

    def read(self, item: Fetch, make: Callable[[Fetch], Made]) -> Made:
        """Return what *make* returns for *item*, which has its plaintext, once the audit entry is durable.

        Raises the errors of `fetch` and of *make*: then there is no entry, and no read is counted. If only
        the version may not be read, *item* has the secret all the same.
        """
        item.reference.admit(item.attempt)
        self._guard.require()
        secret = self._find_with_memory(item)
        if secret.stored(item.version) is None:
            self._miss(item, secret)
        self._open(item, secret)
        made = make(item)
        self._finish_fetches([item])
        if item.error:
            raise item.error
        return made

    def fetch_all(self, items: Sequence[Fetch], *, on_size: Callable[[int], None], attempt: Attempt) -> None:
        """Set the plaintext or the error of each of *items*, as `fetch` returns them, once all are recorded.

        One read finds all secrets, and one commit records the fetches. *on_size* is called with the size of
        all plaintexts in between. Raises the errors of `fetch` that do not concern one item.
        """
        _admit(items)
        self._guard.require()
        namespace = attempt.principal.namespace
        self._open_each(items, self._store.find_each(items, namespace, max_bytes=self._max_bytes))
        on_size(_size(items))
        self._finish_fetches(items)

    def fetch_by_prefix(
        self,
        prefix: str,
        *,
        admit: Callable[[int], None],
        on_size: Callable[[int], None],
        attempt: Attempt,
    ) -> list[Fetch]:
        """Fetch all secrets whose names begin with *prefix* and whose newest versions can be read.

        As `fetch_all` does. Return them in the order of their names. *admit* is called with their number
        before they are decrypted. Raises the errors of `fetch_all` and of *admit*.

        Raises:
            TooManyMatchesError: There are more than a batch can have.
        """
        self._guard.require()
        found = self._store.find_by_prefix(prefix, attempt.principal, max_bytes=self._max_bytes)
        admit(len(found))
        items = [Fetch(attempt=attempt.part(), reference=_reference(secret)) for secret in found]
        _admit(items)
        self._open_each(items, found)
        on_size(_size(items))
        listing = attempt.part(Action.LIST)
        reach.record(attempt.principal.namespace, prefix, listing)
        # Shows later that programs read by this prefix, so that no canary belongs there.
        listing.details["fetched"] = len(items)
        self._finish_fetches(items, listing)
        return items

    def batch_bytes(self, count: int) -> int:
        """Return the maximum size of all values in a batch of *count* fetches."""
        return share(self._max_bytes, count) * count

    def _find_with_memory(self, item: Fetch) -> StoredSecret:
        """Return the secret of *item*, and reserve memory for its value if that is large."""
        # Alone: what waits for memory must not hold the values of all who wait.
        found = [self._find(item)]
        if _size_of_version(found[0], item.version) > _LARGE_BYTES:
            # Not the value's own size: an update may store a larger one during the wait.
            item.reserve(self._max_bytes, found.clear)
        return found.pop() if found else self._find(item)

    def _find(self, item: Fetch) -> StoredSecret:
        """Return the secret of *item*: without its older versions, unless a version is asked for."""
        namespace = item.attempt.principal.namespace
        if item.version is None and namespace not in KEPT:
            return reach.reached(self._store.find(item.reference.key(namespace)), item.attempt)
        return item.reference.find(attempt=item.attempt)

    def _miss(self, item: Fetch, secret: StoredSecret) -> NoReturn:
        """Raise SecretNotFoundError for a version that is not stored; *item* gets a genuine *secret*."""
        secret.decrypt(self._keyring)
        if secret.is_visible(clock.now()):
            item.secret = secret
        raise SecretNotFoundError

    def _open_each(self, items: Sequence[Fetch], secrets: Iterable[StoredSecret | None]) -> None:
        for item, secret in zip(items, secrets, strict=True):
            if item.error is None:
                with item.failing_alone():
                    self._open(item, reach.reached(secret, item.attempt))

    def _open(self, item: Fetch, secret: StoredSecret) -> None:
        now = clock.now()
        stored = secret.stored(item.version)
        if stored is None:
            raise SecretNotFoundError
        plaintext = b"" if stored.is_withheld else secret.decrypt_version(stored, self._keyring)
        # Only after decryption: until then, the limits may not be those of the secret's creation.
        if not secret.is_visible(now):
            raise SecretNotFoundError
        # The items of a batch would keep all envelopes in memory.
        item.secret = None if item.attempt.whole else secret
        has_value = plaintext or stored.is_withheld
        if not has_value or not secret.is_readable(stored.version, now):
            raise SecretNotFoundError
        if stored.is_withheld:
            raise TooLargeForBatchError
        item.plaintext = plaintext
        item.name, item.max_reads, item.fetched_version = secret.name, secret.max_reads, stored.version
        item.is_canary = secret.is_canary
        if item.version or secret.version > 1:
            item.attempt.details["version"] = stored.version

    def _finish_fetches(self, items: Sequence[Fetch], *further: Attempt) -> None:
        """Record the outcomes of *items* and the success of *further* attempts, and count limited reads."""
        held = _reserve_reads(items)
        canaries = [item for item in items if item.is_canary and item.error is None]
        for item in canaries:
            item.attempt.details["canary"] = True
        outcomes = [*((attempt, Status.SUCCESS) for attempt in further), *self._outcomes(items)]
        if held:
            _finish_held(held, outcomes)
        else:
            finish_all(outcomes)
        if canaries:
            metrics.CANARY_READS.inc(len(canaries))

    def _outcomes(self, items: Sequence[Item]) -> list[Outcome]:
        return [(item.attempt, item.error.outcome if item.error else Status.SUCCESS) for item in items]


def _new_secrets(items: Sequence[Creation]) -> list[UnstoredSecret]:
    return [item.secret for item in items if item.secret]


def _reference(secret: StoredSecret) -> Reference:
    """Return a reference to a *secret* that was found by its name. An attacker may have stored a list."""
    return Reference(name=secret.name) if secret.name else Reference(secret_id=secret.id)


def _admit(items: Sequence[Fetch]) -> None:
    for item in items:
        with item.failing_alone():
            item.reference.admit(item.attempt)


def _size(items: Sequence[Fetch]) -> int:
    return sum(len(item.plaintext) for item in items)


def _size_of_version(secret: StoredSecret, version: int | None) -> int:
    """Return the bytes of the newest, or the given, *version*; 0 if it is not stored."""
    stored = secret.stored(version)
    return len(stored.envelope) if stored else 0


def _reserve_reads(items: Sequence[Fetch]) -> list[tuple[Fetch, HeldRead]]:
    """Reserve the reads of the *items* that have a limit; those without a read left fail."""
    limited = [item for item in items if item.error is None and item.max_reads is not None]
    if not limited:
        return []
    held = []
    reads = read_limits.reserve_reads([item.attempt.secret_id or "" for item in limited])
    for item, read in zip(limited, reads, strict=True):
        if read:
            held.append((item, read))
        else:
            item.error = SecretNotFoundError()
    return held


def _finish_held(held: Sequence[tuple[Fetch, HeldRead]], outcomes: Sequence[Outcome]) -> None:
    """Record *outcomes*, and count the reads; those that were not counted fail."""
    reads = [read for _, read in held]
    try:
        finish_all(outcomes)
        counted = read_limits.commit_reads(reads)
    except VaultError:
        with best_effort_cleanup():
            read_limits.release_reads(reads)
        raise
    for (item, _), is_counted in zip(held, counted, strict=True):
        if not is_counted:
            item.error = SecretBusyError()


def require_size(plaintext: bytes, limit: int) -> None:
    """Return if *plaintext* has at most *limit* bytes.

    Raises:
        SecretTooLargeError: It is longer.
    """
    if len(plaintext) > limit:
        raise SecretTooLargeError(f"A secret may have at most {limit} bytes.")
