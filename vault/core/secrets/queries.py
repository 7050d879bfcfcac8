"""Descriptions and lists of secrets, without their values."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any

from vault.common import clock
from vault.common.attributes import ATTRIBUTES
from vault.common.errors import DecryptionError, KeyMissingError, SecretNotFoundError, TooManyKeysError
from vault.common.outcomes import Status
from vault.common.pages import MAX_PAGE_BYTES, first_page
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.documents import AuditEntry
from vault.core.documents.base import text
from vault.core.documents.expressions import ABOVE_ALL
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys.guard import KeyringGuard
from vault.core.principal import Principal, Scope
from vault.core.secrets import reach
from vault.core.secrets.requests import Reference
from vault.core.secrets.search import Finder, Search
from vault.core.secrets.selection import AT_ONCE, cursor_of, find_page, position_at, position_of

#: Secrets that are read in one round trip with their values, each up to a megabyte.
_OPENED_AT_ONCE = 16
_NEWEST: Mapping[str, Any] = {**StoredSecret.NEWEST, **{one.name: 0 for one in ATTRIBUTES}}

#: Maximum bytes of a secret in a page, as JSON, where a byte of a label can take 3.
LARGEST_BYTES = 131_072

#: Bytes that JSON adds to each key of a level.
_KEY_BYTES = 3

#: The maximum number of audit entries that are searched for the last fetch.
_MAX_SEARCHED_ENTRIES = 1_000


class SecretQueries:
    """Describes and lists the secrets that one keyring opens.

    All methods raise:
        KeyMissingError: This process may not serve.
        StorageUnavailableError: MongoDB is unavailable.
        AuditUnavailableError: The entry could not be written.
    """

    def __init__(self, keyring: Keyring, guard: KeyringGuard) -> None:
        self._keyring = keyring
        self._guard = guard

    def describe(self, reference: Reference, *, attempt: Attempt) -> dict[str, Any]:
        """Return everything about a secret except its value, once the audit entry is durable.

        It has `canary` if the principal may see that.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: The secret does not exist, or may no longer be read.
            DecryptionError: The stored secret does not verify.
        """
        reference.admit(attempt)
        self._guard.require()
        # Without the value: what waits for MongoDB must not hold the values of all who wait.
        found = self._described(reference, attempt)
        last_fetch = _last_fetch(found["secret_id"])
        attempt.finish(Status.SUCCESS)
        return found | {"last_fetched_at": last_fetch}

    def _described(self, reference: Reference, attempt: Attempt) -> dict[str, Any]:
        secret = reference.find(attempt=attempt, without=("older.envelope",))
        # Proves that name and limits are those of the secret's creation.
        secret.decrypt(self._keyring)
        if not secret.is_visible(clock.now()):
            raise SecretNotFoundError
        return _summary(secret) | {
            "description": secret.description,
            "version": secret.version,
            "metadata_version": secret.metadata_version,
            "rules": secret.rules,
            "versions": [info for info in secret.infos if not info.is_purged],
            "purged_versions": secret.purged_versions[::-1],
            "infos": secret.infos,
            "created_at": secret.created_at,
            "expires_at": secret.expires_at,
            "max_reads": secret.max_reads,
            "use_rules": secret.use_rules or [],
            "reads_left": secret.reads_left,
            **({"canary": secret.is_canary} if _may_see_canaries(attempt) else {}),
        }

    def page(
        self, search: Search, *, cursor: str | None, limit: int, attempt: Attempt
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return up to *limit* secrets that the principal reaches by name, and the next page's cursor.

        Of *search*, only the folder, the description and `deleted` count. A page ends early if its secrets
        take `MAX_PAGE_BYTES`. Each has `canary` if the principal may see which of them are.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        after = None if cursor is None else position_at(cursor)
        self._guard.require()
        with storage_errors():
            found = find_page(
                attempt.principal,
                now=clock.now(),
                after=after,
                # One more shows whether there is a next page.
                limit=limit + 1,
                name_prefix=search.folder,
                only=search.indexed,
                deleted=search.deleted,
            )
            shown, has_more = first_page(found, limit, LARGEST_BYTES)
            summaries = [_summary(StoredSecret(document)) for document in shown]
            if _may_see_canaries(attempt):
                self._mark_canaries(summaries)
        attempt.finish(Status.SUCCESS)
        more = cursor_of(shown[-1].get("name"), shown[-1]["_id"]) if has_more else None
        return summaries, more

    def search(
        self, search: Search, *, cursor: str | None, limit: int, attempt: Attempt
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return up to *limit* secrets of *search* that the principal reaches, and the next page's cursor.

        With `expires_within`, each has `expires_at`. A page ends early after `search.MAX_SECONDS`, so it can
        be empty although more follow.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        finder = Finder(search, attempt.principal, None if cursor is None else position_at(cursor))
        self._guard.require()
        with storage_errors():
            # One more shows whether there is a next page.
            shown, has_more = first_page(finder.find(limit + 1), limit, LARGEST_BYTES)
            summaries = [_summary(StoredSecret(document)) for document in shown]
            if search.expires_within:
                for summary, document in zip(summaries, shown, strict=True):
                    summary["expires_at"] = document["expires_at"]
            if _may_see_canaries(attempt):
                self._mark_canaries(summaries)
        attempt.finish(Status.SUCCESS)
        end = position_of(shown[-1]) if has_more else finder.end
        return summaries, end and cursor_of(*end)

    def _mark_canaries(self, summaries: Sequence[dict[str, Any]]) -> None:
        """Add to each summary whether the secret is a canary; None for one that does not verify."""
        ids = [summary["secret_id"] for summary in summaries]
        found = Secret.raw().find({"_id": {"$in": ids}}, _NEWEST, batch_size=_OPENED_AT_ONCE)
        canaries = {document["_id"]: self._is_canary(StoredSecret(document)) for document in found}
        for summary in summaries:
            summary["canary"] = canaries.get(summary["secret_id"])

    def _is_canary(self, secret: StoredSecret) -> bool | None:
        with suppress(DecryptionError, KeyMissingError):
            secret.decrypt(self._keyring)
            return secret.is_canary
        return None

    def level(self, folder: str, *, after: str, limit: int | None, attempt: Attempt) -> list[str]:
        """Return up to *limit* keys below *folder*, which is empty or ends in a slash, that come after a key.

        A key is the rest of the name of a secret that the principal reaches or, with a slash at its end, the
        name of a folder. MongoDB seeks past what is in a folder.

        Raises:
            TooManyKeysError: The keys take more than `MAX_PAGE_BYTES`.
        """
        reach.record(attempt.principal.namespace, folder or None, attempt)
        self._guard.require()
        found: list[str] = []
        left = MAX_PAGE_BYTES
        for key in _keys(attempt.principal, folder, after):
            left -= len(key.encode()) + _KEY_BYTES
            if left < 0:
                raise TooManyKeysError
            found.append(key)
            if len(found) == limit:
                break
        attempt.finish(Status.SUCCESS)
        return found


def current_id_of(name: str, namespace: str) -> str:
    """Return the ID of the secret that has *name* in *namespace* now; empty without one."""
    with storage_errors():
        return next(iter(Secret.ids_of(namespace, name)), "")


def _keys(principal: Principal, folder: str, after: str) -> Iterator[str]:
    """Yield the keys below *folder* that come after another, in order."""
    now = clock.now()
    key, position = after, folder + _end(after)
    while True:
        names = _names_after(position, principal, folder, now)
        for name in names:
            first, slash, _ = name.removeprefix(folder).partition("/")
            if name and first + slash != key:
                key = first + slash
                yield key
        # In an attacker's folder, names may come after its end.
        end = max([folder + _end(key), *names[-1:]])
        if len(names) < AT_ONCE or end <= position:
            return
        position = end


def _end(key: str) -> str:
    """Return the position after a secret, or after all that is in a folder."""
    return key + ABOVE_ALL if key.endswith("/") else key


def _names_after(position: str, principal: Principal, folder: str, now: datetime) -> list[str]:
    """Return the next names in *folder*. An attacker may have stored a list, which reads as empty."""
    with storage_errors("find"):
        page = find_page(
            principal,
            now=now,
            after=(position, ABOVE_ALL),
            limit=AT_ONCE,
            name_prefix=folder,
            wanted={"name": 1},
        )
        return [text(document.get("name")) for document in page]


def _may_see_canaries(attempt: Attempt) -> bool:
    return Scope.CANARY_MANAGE in attempt.principal.scopes


def _summary(secret: StoredSecret) -> dict[str, Any]:
    return {"secret_id": secret.id, "name": secret.name, **secret.description.shown}


def _last_fetch(secret_id: str) -> datetime | None:
    """Return the time of the last fetch among the newest entries about the secret."""
    fetched = {"action": Action.FETCH, "status": Status.SUCCESS}
    with storage_errors():
        entries = AuditEntry.objects(secret_id=secret_id).order_by("-id").limit(_MAX_SEARCHED_ENTRIES)
        newest = entries.aggregate([{"$match": fetched}, {"$limit": 1}, {"$project": {"ts": 1}}])
        return next((entry["ts"] for entry in newest), None)
