"""Stored secrets: batched reads, and the steps by which new secrets become readable."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from pymongo import DeleteOne, UpdateOne

from vault.common import clock
from vault.common.batching import Batcher
from vault.common.errors import (
    NameTakenError,
    SecretBusyError,
    StorageUnavailableError,
    TooManyMatchesError,
    VaultError,
)
from vault.common.greenlets import wait_until_idle
from vault.common.limits import MAX_ITEMS
from vault.common.retries import attempts
from vault.core.attempt import Outcome, finish_all
from vault.core.documents.base import text, texts
from vault.core.documents.expressions import IS_USED_UP, PURGE_AT_EXPIRY, bounded_fetch, has_readable_newest
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.secret import Secret, UnstoredSecret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.transactions import unblocked
from vault.core.principal import Principal
from vault.core.secrets.items import Fetch
from vault.core.secrets.requests import NOT_KEPT, Key
from vault.core.secrets.selection import find_page

#: Maximum bytes of all values in a batch of fetches.
MAX_BATCH_VALUES_BYTES = 8 * 1_048_576

#: The time until MongoDB may remove a named secret that is not published. Publishing takes seconds; the rest
#: allows for clocks that differ.
_PENDING_KEPT = timedelta(minutes=5)

#: The condition under which MongoDB may remove a secret but has not yet, as it does so once a minute.
_IS_PURGEABLE = {"$and": [{"$gt": ["$purge_at", None]}, {"$lte": ["$purge_at", "$$NOW"]}]}


def share(max_bytes: int, count: int) -> int:
    """Return the maximum size of each of *count* values in a batch."""
    return min(max_bytes, MAX_BATCH_VALUES_BYTES // count)


class SecretStore:
    """One process's reads of secrets, and its writes of new ones.

    Methods raise `StorageUnavailableError` without MongoDB.
    """

    def __init__(self, *, max_bytes: int = 1, kept_in: str = "") -> None:
        """Share reads of values of up to *max_bytes*; all values of a round trip are in memory together.

        `find` reads secrets or, with *kept_in*, what is kept in that namespace of the service.
        """
        count = min(MAX_ITEMS, 2 * MAX_BATCH_VALUES_BYTES // max_bytes)
        self._reads: Batcher[Key, StoredSecret | None] = Batcher(
            partial(_read_kept, kept_in) if kept_in else _read,
            gather=wait_until_idle,
            queue="reads",
            max_batch=count,
        )
        self._taken: Batcher[tuple[str, str], bool] = Batcher(
            _are_taken, gather=wait_until_idle, queue="names", max_batch=MAX_ITEMS
        )
        self._writes: Batcher[UnstoredSecret, None] = Batcher(_insert, gather=wait_until_idle, queue="writes")

    def find(self, key: Key) -> StoredSecret | None:
        """Return the secret with this *key*, without its older versions.

        Raises:
            OverloadedError: The queue is full.
        """
        return self._reads.call(key)

    def find_each(
        self, items: Sequence[Fetch], namespace: str, *, max_bytes: int
    ) -> list[StoredSecret | None]:
        """Return the secret of each of *items* in one read, with the older versions that they ask for.

        Values of more than *max_bytes*, or than the share of each in a batch, are withheld. None stands for a
        secret that does not exist, and for those of failed items.
        """
        asked = [item for item in items if item.error is None]
        if not asked:
            return [None] * len(items)
        by_id = [(item.reference.secret_id, item.version) for item in asked if item.reference.secret_id]
        by_name = [(item.reference.name, item.version) for item in asked if item.reference.name]
        wanted = bounded_fetch(share(max_bytes, len(items)), by_id=by_id, by_name=by_name)
        found = find([item.reference.key(namespace) for item in asked], wanted)
        return [found.get(item.reference.key(namespace)) for item in items]

    def find_by_prefix(self, prefix: str, principal: Principal, *, max_bytes: int) -> list[StoredSecret]:
        """Return the visible secrets whose names begin with *prefix*, without older versions, as `find_each`.

        Only those that the *principal* reaches, and whose newest versions can be read.

        Raises:
            TooManyMatchesError: There are more than a batch can have.
        """
        wanted = bounded_fetch(share(max_bytes, MAX_ITEMS))
        with storage_errors("find"):
            now = clock.now()
            page = find_page(
                principal,
                now=now,
                limit=MAX_ITEMS + 1,
                name_prefix=prefix,
                only=has_readable_newest(now),
                wanted=wanted,
            )
            found = [StoredSecret(document) for document in page]
        if len(found) > MAX_ITEMS:
            raise TooManyMatchesError
        return found

    def has_name(self, namespace: str, name: str) -> bool:
        """Return whether a secret of *namespace*, which can be deleted and restorable, has the *name*."""
        free = {"$or": [_IS_PURGEABLE, IS_USED_UP]}
        taken = {"namespace": namespace, "name": name, "$expr": {"$not": [free]}}
        with storage_errors("find"):
            # With a collation, MongoDB finds other names, too.
            found = list(Secret.raw().find(taken, {"name": 1}))
        return any(name in _names(document) for document in found)

    def hold_names(self, secrets: Iterable[UnstoredSecret]) -> Mapping[str, VaultError]:
        """Store those of *secrets* that have names as pending, so that no others get their names.

        Only storing them shows whether the names are free. No caller can find them before `publish`.

        Returns:
            The errors of secrets that were not stored, by ID: NameTakenError if another secret has the name,
            or SecretBusyError if another create held the name for the whole wait.
        """
        named = [secret for secret in secrets if secret.name is not None]
        for secret in named:
            secret.may_be_stored = True
            secret.pending = True
            secret.purge_at = clock.now() + _PENDING_KEPT
        with storage_errors():
            return _insert_pending(named) if named else {}

    def create(self, outcomes: Sequence[Outcome], secrets: Sequence[UnstoredSecret]) -> bool:
        """Record *outcomes*, and store their new *secrets* in the same commit, if all names seem to be free.

        Return whether that was done. If not, nothing is recorded or stored: `hold_names` and `record` follow.

        Raises:
            AuditUnavailableError: The entries could not be written.
            StorageUnavailableError: The outcome is unknown.
        """
        names = [(secret.namespace, secret.name) for secret in secrets if secret.name is not None]
        if not secrets or len(set(names)) < len(names):
            return False
        if names and any(self._taken.call_all(names)):
            return False
        try:
            return finish_all(outcomes, secrets)
        except StorageUnavailableError:
            for secret in secrets:
                secret.may_be_stored = True
            raise

    def record(self, outcomes: Sequence[Outcome], secrets: Sequence[UnstoredSecret]) -> None:
        """Record *outcomes*, and make their new *secrets* readable once the entries are durable.

        Raises the errors of `publish`, too.

        Raises:
            AuditUnavailableError: The entries could not be written.
        """
        finish_all(outcomes)
        self.publish(secrets)

    def publish(self, secrets: Sequence[UnstoredSecret]) -> None:
        """Make new secrets readable: store those without names, and publish those that `hold_names` stored.

        Raises:
            OverloadedError: The queue is full; no secret became readable.
            StorageUnavailableError: Some did not become readable, or were pending for too long.
        """
        unnamed = [secret for secret in secrets if secret.name is None]
        for secret in unnamed:
            secret.may_be_stored = True
        if unnamed:
            self._writes.call_all(unnamed)
        if len(unnamed) < len(secrets):
            _publish_named([secret.id for secret in secrets if secret.name is not None])

    def withdraw(self, secret_ids: Sequence[str]) -> set[str]:
        """Remove secrets whose IDs no caller received, except those that their names find.

        Return the IDs of secrets that are still stored.
        """
        unseen = {"$or": [{"name": None}, {"pending": True}]}
        with storage_errors():
            Secret.raw().bulk_write([DeleteOne({"_id": secret_id, **unseen}) for secret_id in secret_ids])
            left = Secret.raw().find({"_id": {"$in": list(secret_ids)}}, {"_id": 1})
            return {document["_id"] for document in left}

    def roll_back(self, secrets: Iterable[UnstoredSecret]) -> None:
        """Withdraw the new secrets that may be stored. Ignore errors and the request's deadline."""
        if sent := [secret for secret in secrets if secret.may_be_stored]:
            for secret in sent:
                secret.is_abandoned = secret.name is None
            with best_effort_cleanup():
                self.withdraw([secret.id for secret in sent])


def _read(keys: Sequence[Key]) -> Sequence[StoredSecret | None]:
    found = find(keys, StoredSecret.NEWEST)
    return [found.get(key) for key in keys]


def _read_kept(namespace: str, keys: Sequence[Key]) -> Sequence[StoredSecret | None]:
    query = {"_id": {"$in": list(keys)}, "namespace": namespace}
    with storage_errors("find"):
        secrets = map(StoredSecret, Secret.raw().find(query, StoredSecret.NEWEST))
        found = {secret.id: secret for secret in secrets}
    return [found.get(str(key)) for key in keys]


def _are_taken(names: Sequence[tuple[str, str]]) -> Sequence[bool]:
    """Return for each of *names*, with its namespace, whether any document has it."""
    found = find(names, {"namespace": 1, "name": 1})
    return [name in found for name in names]


def find(keys: Sequence[Key], wanted: Mapping[str, Any]) -> Mapping[Key, StoredSecret]:
    """Return the secrets with these *keys*, at least one, with the *wanted* fields."""
    ids = [key for key in keys if isinstance(key, str)]
    names: dict[str, list[str]] = {}
    for namespace, name in (key for key in keys if not isinstance(key, str)):
        names.setdefault(namespace, []).append(name)
    conditions: list[dict[str, Any]] = [{"_id": {"$in": ids}, **NOT_KEPT}] if ids else []
    conditions += ({"namespace": namespace, "name": {"$in": some}} for namespace, some in names.items())
    query = conditions[0] if len(conditions) == 1 else {"$or": conditions}
    with storage_errors("find"):
        found = [StoredSecret(document) for document in Secret.raw().find(query, wanted)]
    # An attacker may have stored a name in another form. With a collation, MongoDB finds others, too.
    by_name = {(secret.namespace, secret.name): secret for secret in found if secret.name}
    return {secret.id: secret for secret in found} | by_name


def _insert(secrets: Sequence[UnstoredSecret]) -> Sequence[None]:
    with storage_errors("insert"):
        Secret.insert_all(secrets)
    Secret.remove_abandoned(secrets)
    return [None] * len(secrets)


def _insert_pending(secrets: Sequence[UnstoredSecret]) -> Mapping[str, VaultError]:
    """Store named secrets of one namespace; return the errors of those that were not stored, by ID."""
    first: dict[str | None, UnstoredSecret] = {}
    for secret in secrets:
        first.setdefault(secret.name, secret)
    refused: dict[str, VaultError] = {
        secret.id: NameTakenError() for secret in secrets if first[secret.name] is not secret
    }
    left = list(first.values())
    for _ in attempts():
        left = unblocked(partial(Secret.insert_each, left))
        if not left:
            return refused
        holders = {"namespace": left[0].namespace, "name": {"$in": [secret.name for secret in left]}}
        Secret.raw().delete_many({**holders, "$expr": {"$or": [_IS_PURGEABLE, IS_USED_UP]}})
        # A pending secret may still be withdrawn, and MongoDB may have removed one just now.
        taken = {
            name
            for found in Secret.raw().find({**holders, "pending": None}, {"name": 1})
            for name in _names(found)
        }
        refused |= {secret.id: NameTakenError() for secret in left if secret.name in taken}
        left = [secret for secret in left if secret.name not in taken]
        if not left:
            return refused
    return refused | {secret.id: SecretBusyError() for secret in left}


def _names(document: Mapping[str, Any]) -> Sequence[str]:
    """Return the names that a stored secret holds. An attacker may have stored a list."""
    name = document.get("name")
    return texts(name) or [text(name)]


def _publish_named(secret_ids: Sequence[str]) -> None:
    change: list[dict[str, Any]] = [{"$set": {"purge_at": PURGE_AT_EXPIRY}}, {"$unset": "pending"}]
    updates = [UpdateOne({"_id": secret_id, "pending": True}, change) for secret_id in secret_ids]
    with storage_errors():
        # Not `update_many`, which the driver does not repeat if it loses the primary.
        result = Secret.raw().bulk_write(updates)
    if result.matched_count < len(updates):
        raise StorageUnavailableError("it took too long to record the secret")
