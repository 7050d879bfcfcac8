"""What can be known of secrets without their values."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vault.core.attempt import Action, Attempt, Status
from vault.core.errors import InvalidCursorError, SecretNotFoundError
from vault.crypto import Keyring
from vault.documents import AuditEntry
from vault.documents.guard import storage_errors
from vault.documents.secret import Secret
from vault.keys.guard import KeyringGuard
from vault.secrets.requests import Reference

#: Above every character that a name may have.
_ABOVE_ALL = "\x7f"

_ORDER = [("name", 1), ("_id", 1)]

#: Where a page ends: the last secret's name, if it has one, and its id.
Position = tuple[str | None, str]


def find_page(
    namespace: str,
    *,
    now: datetime,
    after: Position | None,
    limit: int,
    name_prefix: str,
    labels: Sequence[str],
    deleted: bool,
) -> Iterator[Mapping[str, Any]]:
    """Yield what readers may see, or with *deleted* what can be restored: id, name and labels of each."""
    conditions: list[dict[str, Any]] = [
        # As `Secret.is_visible` says it of one that has been read.
        {"namespace": namespace, "pending": None, "deleted_at": {"$exists": True} if deleted else None},
        {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]},
        {"$or": [{"max_reads": None}, {"$expr": {"$lt": [{"$ifNull": ["$reads", 0]}, "$max_reads"]}}]},
    ]
    if deleted:
        conditions.append({"purge_at": {"$gt": now}})
    if name_prefix:
        conditions.append({"name": {"$gte": name_prefix, "$lt": name_prefix + _ABOVE_ALL}})
    if labels:
        conditions.append({"labels": {"$all": list(labels)}})
    if after:
        conditions.append(_beyond(after))
    wanted = {"name": 1, "labels": 1}
    found: Iterator[Mapping[str, Any]] = (
        Secret.raw().find({"$and": conditions}, wanted).sort(_ORDER).limit(limit)
    )
    return found


def _beyond(position: Position) -> dict[str, Any]:
    name, secret_id = position
    same = {"name": name, "_id": {"$gt": secret_id}}
    # Secrets without a name come before all others.
    return {"$or": [same, {"name": {"$ne": None} if name is None else {"$gt": name}}]}


#: Of a secret with many entries, fetched long ago: how many of them describing it may read.
_ENTRIES_LOOKED_AT = 1_000


class SecretQueries:
    """Describes and lists the secrets that one keyring opens."""

    def __init__(self, keyring: Keyring, key_watch: KeyringGuard) -> None:
        self._keyring = keyring
        self._key_watch = key_watch

    def describe(self, reference: Reference, *, attempt: Attempt) -> dict[str, Any]:
        """Return everything about a secret but its value, once the audit entry is durable.

        Raises:
            CredentialRequiredError: By name, without a credential.
            SecretNotFoundError: There is no such secret, or it may no longer be read.
            DecryptionError: What is stored does not verify.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: It could not be read.
            AuditUnavailableError: The entry could not be written.
        """
        reference.record_target(attempt)
        self._key_watch.require()
        secret = reference.find(attempt=attempt, without=("older.envelope",))
        if secret.namespace != attempt.principal.namespace:
            raise SecretNotFoundError
        # So that what is said of its name and limits is what it was created with.
        secret.decrypt(self._keyring)
        if not secret.is_visible(datetime.now(UTC)):
            raise SecretNotFoundError
        last_fetch = _last_fetch(secret.id)
        attempt.finish(Status.SUCCESS)
        return _summary(secret.id, secret.name, secret.labels) | {
            "version": secret.version,
            "versions": [
                {"version": stored.version, "created_at": stored.created_at} for stored in secret.versions()
            ],
            "purged_versions": secret.purged_versions()[::-1],
            "created_at": secret.created_at,
            "expires_at": secret.expires_at,
            "max_reads": secret.max_reads,
            "reads_left": secret.reads_left,
            "last_fetched_at": last_fetch,
        }

    def page(
        self,
        *,
        name_prefix: str,
        labels: Mapping[str, str],
        deleted: bool,
        cursor: str | None,
        limit: int,
        attempt: Attempt,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return up to *limit* secrets of the principal's namespace by name, and the next page's cursor.

        With *deleted*, those that can be restored; else those that can be read.

        Raises:
            InvalidCursorError: *cursor* is not one that this function returned.
            KeyMissingError: This process may not serve.
            StorageUnavailableError: MongoDB is not there.
            AuditUnavailableError: That somebody looked could not be recorded.
        """
        after = None if cursor is None else _position(cursor)
        self._key_watch.require()
        with storage_errors():
            found = list(
                find_page(
                    attempt.principal.namespace,
                    now=datetime.now(UTC),
                    after=after,
                    # One more tells whether there is a next page.
                    limit=limit + 1,
                    name_prefix=name_prefix,
                    labels=[f"{key}={value}" for key, value in labels.items()],
                    deleted=deleted,
                )
            )
        shown = found[:limit]
        summaries = [_summary(one["_id"], one.get("name"), one.get("labels")) for one in shown]
        attempt.finish(Status.SUCCESS)
        more = _cursor(shown[-1].get("name"), shown[-1]["_id"]) if len(found) > limit else None
        return summaries, more


def _summary(secret_id: str, name: str | None, labels: object) -> dict[str, Any]:
    # One document that somebody else wrote must not keep a whole namespace from being listed.
    texts = [label for label in labels if isinstance(label, str)] if isinstance(labels, list) else []
    pairs = (label.partition("=") for label in texts)
    return {"secret_id": secret_id, "name": name, "labels": {key: value for key, _, value in pairs}}


def _last_fetch(secret_id: str) -> datetime | None:
    """Return when the secret was last fetched, as far as the newest entries about it tell."""
    fetched = {"action": Action.FETCH, "status": Status.SUCCESS}
    with storage_errors():
        entries = AuditEntry.objects(secret_id=secret_id).order_by("-id").limit(_ENTRIES_LOOKED_AT)
        newest = entries.aggregate([{"$match": fetched}, {"$limit": 1}, {"$project": {"ts": 1}}])
        return next((entry["ts"] for entry in newest), None)


def _cursor(name: str | None, secret_id: str) -> str:
    return urlsafe_b64encode(json.dumps([name, secret_id]).encode()).decode()


def _position(cursor: str) -> Position:
    try:
        name, secret_id = json.loads(urlsafe_b64decode(cursor))
    except (RecursionError, TypeError, ValueError):
        raise InvalidCursorError from None
    if not isinstance(secret_id, str) or not isinstance(name, str | None):
        raise InvalidCursorError
    # Decoders forgive much; an encoder makes one form only.
    if not f"{name}{secret_id}".isascii() or _cursor(name, secret_id) != cursor:
        raise InvalidCursorError
    return name, secret_id
