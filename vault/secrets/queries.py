"""Descriptions and lists of secrets, without their values."""

import json
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import takewhile
from time import monotonic
from typing import Any
from urllib.parse import quote, unquote

from pymongo.collation import Collation

from vault.core.attempt import Action, Attempt
from vault.core.errors import (
    DecryptionError,
    InvalidCursorError,
    KeyMissingError,
    SecretNotFoundError,
    TooManyKeysError,
)
from vault.core.outcomes import Status
from vault.core.paths import Paths
from vault.core.principal import Principal, Scope
from vault.crypto import Keyring
from vault.documents import AuditEntry
from vault.documents.base import text
from vault.documents.expressions import ABOVE_ALL, beginning_with, within
from vault.documents.guard import storage_errors
from vault.documents.secret import Secret
from vault.documents.stored_secret import StoredSecret
from vault.keys.guard import KeyringGuard
from vault.secrets import reach
from vault.secrets.requests import Reference, stored_labels

_ORDER = [("name", 1), ("_id", 1)]

#: Secrets of a page that are read in one round trip: a default page. Labels can take 40 KiB each.
_LABELLED_AT_ONCE = 101
#: Secrets without their labels that are read in one round trip.
_AT_ONCE = 250
#: Secrets that are read in one round trip with their values, each up to a megabyte.
_OPENED_AT_ONCE = 16
_NEWEST: Mapping[str, Any] = {**StoredSecret.NEWEST, "labels": 0}

#: By the collation of a collection that an attacker has made, other names would be within the bounds.
_BY_BYTES = Collation("simple")

_NO_CONDITION: Mapping[str, Any] = {}
_NO_LABELS: Mapping[str, str] = {}
_SUMMARY_FIELDS: Mapping[str, Any] = {"name": 1, "labels": 1}

#: The end of a page: the last secret's name, if it has one, and its ID.
Position = tuple[str | None, str]

#: The form of cursors: the ID, and the percent-encoded name if there is one. Each text of this form is a
#: position.
CURSOR_PATTERN = "^[0-9a-f-]{36}(?:/(?:[A-Za-z0-9._~/-]|%[0-9A-F]{2}){1,512})?$"


def page_bytes(limit: int) -> int:
    """Return the maximum bytes of a page of *limit* secrets, as JSON."""
    return min(MAX_PAGE_BYTES, limit * _LARGEST_BYTES)


def find_page(
    principal: Principal,
    *,
    now: datetime,
    after: Position | None = None,
    limit: int,
    name_prefix: str,
    labels: Sequence[str] = (),
    deleted: bool = False,
    only: Mapping[str, Any] = _NO_CONDITION,
    wanted: Mapping[str, Any] = _SUMMARY_FIELDS,
) -> Iterator[Mapping[str, Any]]:
    """Yield ID and *wanted* fields of secrets that are visible, or with *deleted* restorable, at *now*.

    Only of those that *principal* reaches, and that meet the condition *only*.
    """
    conditions = [
        _reached(principal, prefix=name_prefix, after=after),
        *_visible(now, deleted=deleted),
        only,
        _with_labels(labels),
    ]
    at_once = _LABELLED_AT_ONCE if "labels" in wanted else _AT_ONCE
    found: Iterator[Mapping[str, Any]] = (
        Secret.raw()
        .find({"$and": conditions}, wanted, batch_size=at_once, collation=_BY_BYTES)
        .sort(_ORDER)
        .limit(limit)
    )
    return found


def _visible(now: datetime, *, deleted: bool = False) -> list[dict[str, Any]]:
    """Return the conditions of `StoredSecret.is_visible`, or with *deleted* those for restorable secrets."""
    return [
        {"pending": None, "deleted_at": {"$exists": True} if deleted else None},
        {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]},
        {"$or": [{"max_reads": None}, {"$expr": {"$lt": [{"$ifNull": ["$reads", 0]}, "$max_reads"]}}]},
        *([{"purge_at": {"$gt": now}}] if deleted else []),
    ]


def _reached(principal: Principal, *, prefix: str = "", after: Position | None = None) -> dict[str, Any]:
    """Return the condition for secrets that *principal* reaches: the twin of `vault.secrets.reach`.

    Only for names that begin with *prefix*, after the end of a page.
    """
    conditions: list[dict[str, Any]] = [{"namespace": principal.namespace}]
    if principal.paths:
        return {"$and": [*conditions, _within(principal.paths, prefix, after)]}
    if prefix:
        conditions.append({"name": beginning_with(prefix)})
    if after:
        conditions.append(_beyond(after))
    return {"$and": conditions}


def _beyond(position: Position) -> dict[str, Any]:
    name, secret_id = position
    same = {"name": name, "_id": {"$gt": secret_id}}
    # Secrets without a name come before all others.
    return {"$or": [same, {"name": {"$ne": None} if name is None else {"$gt": name}}]}


def _within(paths: Paths, prefix: str, after: Position | None) -> dict[str, Any]:
    """Return the condition for names within *paths* that begin with *prefix*, after the end of a page.

    Every alternative begins there, as MongoDB uses the bounds of only one list of alternatives.
    """
    name, secret_id = after or (None, "")
    found: list[dict[str, Any]] = [
        {"name": condition} for condition in within(paths, prefix=prefix, above=name or "")
    ]
    if name and name.startswith(prefix) and paths.include(name):
        found.append({"name": name, "_id": {"$gt": secret_id}})
    return {"$or": found}


#: The maximum length of a text to search for.
MAX_SEARCH_CHARACTERS = 200
#: The time after which a search looks at no further secrets.
MAX_SEARCH_SECONDS = 1.0
#: The number that it looks at in between, at first and at most: as many as take about this time. A document
#: can have 640 KB.
_SEARCHED_AT_FIRST = 100
_SEARCHED_AT_ONCE = 1_000
_SEARCHED_SECONDS = 0.1

#: Maximum bytes of a page of secrets, and of one secret in it, as JSON, where a byte of a label can take 3.
MAX_PAGE_BYTES = 1_048_576
_LARGEST_BYTES = 131_072

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
        secret = reference.find(attempt=attempt, without=("older.envelope",))
        # Proves that name and limits are those of the secret's creation.
        secret.decrypt(self._keyring)
        if not secret.is_visible(datetime.now(UTC)):
            raise SecretNotFoundError
        last_fetch = _last_fetch(secret.id)
        attempt.finish(Status.SUCCESS)
        return _summary(secret) | {
            "version": secret.version,
            "metadata_version": secret.metadata_version,
            "rules": secret.rules,
            "versions": [info for info in secret.infos if not info.is_purged],
            "purged_versions": secret.purged_versions[::-1],
            "infos": secret.infos,
            "created_at": secret.created_at,
            "expires_at": secret.expires_at,
            "max_reads": secret.max_reads,
            "reads_left": secret.reads_left,
            "last_fetched_at": last_fetch,
            **({"canary": secret.is_canary} if _may_see_canaries(attempt) else {}),
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
        """Return up to *limit* secrets that the principal reaches by name, and the next page's cursor.

        With *deleted*, return restorable secrets instead of readable ones. A page ends early if its secrets
        take `MAX_PAGE_BYTES`. Each has `canary` if the principal may see which of them are.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        after = None if cursor is None else _position(cursor)
        self._guard.require()
        with storage_errors():
            found = find_page(
                attempt.principal,
                now=datetime.now(UTC),
                after=after,
                # One more shows whether there is a next page.
                limit=limit + 1,
                name_prefix=name_prefix,
                labels=stored_labels(labels),
                deleted=deleted,
            )
            shown, has_more = _page(found, limit)
            summaries = [_summary(StoredSecret(document)) for document in shown]
            if _may_see_canaries(attempt):
                self._mark_canaries(summaries)
        attempt.finish(Status.SUCCESS)
        more = _cursor(shown[-1].get("name"), shown[-1]["_id"]) if has_more else None
        return summaries, more

    def search(
        self,
        query: str,
        *,
        folder: str,
        cursor: str | None,
        limit: int,
        attempt: Attempt,
        labels: Mapping[str, str] = _NO_LABELS,
        deleted: bool = False,
        expires_within: timedelta | None = None,
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Return secrets with *query* in their names or labels, in any case, and the next page's cursor.

        Only of those in *folder* that the principal reaches, up to *limit* of them; *labels* and *deleted*
        are as for `page`. With *expires_within*, only those that expire in this time, and each has
        `expires_at`. A page ends early after `MAX_SEARCH_SECONDS`, so it can be empty although more follow.

        Raises:
            InvalidCursorError: This function did not return *cursor*.
        """
        end = None if cursor is None else _position(cursor)
        self._guard.require()
        principal, now = attempt.principal, monotonic()
        until = now + MAX_SEARCH_SECONDS
        time = datetime.now(UTC)
        wanted = [
            *_visible(time, deleted=deleted),
            _containing(query),
            _with_labels(stored_labels(labels)),
            *([{"expires_at": {"$lte": time + expires_within}}] if expires_within else []),
        ]

        def matches() -> Iterator[Mapping[str, Any]]:
            nonlocal end, now
            count = _SEARCHED_AT_FIRST
            is_last = False
            while not is_last:
                began, reached = now, _reached(principal, prefix=folder, after=end)
                end = _end_of_window(reached, count)
                yield from _matches(wanted, reached, end, count, limit + 1)
                now = monotonic()
                is_slow = now - began >= _SEARCHED_SECONDS
                count = max(count // 2, 1) if is_slow else min(count * 2, _SEARCHED_AT_ONCE)
                is_last = end is None or now >= until

        with storage_errors():
            shown, has_more = _page(matches(), limit)
            summaries = [_summary(StoredSecret(document)) for document in shown]
            if expires_within:
                for summary, document in zip(summaries, shown, strict=True):
                    summary["expires_at"] = document["expires_at"]
            if _may_see_canaries(attempt):
                self._mark_canaries(summaries)
        attempt.finish(Status.SUCCESS)
        if has_more:
            end = _position_of(shown[-1])
        return summaries, end and _cursor(*end)

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


def _end_of_window(reached: Mapping[str, Any], count: int) -> Position | None:
    """Return the position of the secret with this *count* of those *reached*; None if they are fewer."""
    # The index has all of these fields.
    last = Secret.raw().find(reached, {"name": 1}, collation=_BY_BYTES).sort(_ORDER).skip(count - 1).limit(1)
    return next(map(_position_of, last), None)


def _matches(
    wanted: Sequence[Mapping[str, Any]],
    reached: Mapping[str, Any],
    end: Position | None,
    count: int,
    limit: int,
) -> Iterator[Mapping[str, Any]]:
    """Yield up to *limit* secrets that meet all of *wanted*, of the first *count* that are *reached*."""
    steps = [
        {"$match": reached},
        {"$sort": dict(_ORDER)},
        # Before the other conditions, so that the secrets that do not meet them count, too.
        {"$limit": count},
        {"$match": {"$and": wanted}},
        {"$limit": limit},
        {"$project": {**_SUMMARY_FIELDS, "expires_at": 1}},
    ]
    found = Secret.raw().aggregate(steps, batchSize=_LABELLED_AT_ONCE, collation=_BY_BYTES)
    # If secrets were removed after the end was read, the steps go beyond it.
    return takewhile(lambda document: end is None or _rank(_position_of(document)) <= _rank(end), found)


def _containing(query: str) -> dict[str, Any]:
    """Return the condition for secrets with *query* in their name or a label; none for an empty one."""
    if not query:
        return {}
    literal = {"$regex": re.escape(unicodedata.normalize("NFC", query)), "$options": "i"}
    return {"$or": [{"name": literal}, {"labels": literal}]}


def _with_labels(labels: Sequence[str]) -> dict[str, Any]:
    """Return the condition for secrets that have all of *labels*, as they are stored."""
    return {"labels": {"$all": list(labels)}} if labels else {}


def _position_of(document: Mapping[str, Any]) -> Position:
    """Return the position of a secret. An attacker may have stored another type, which reads as no name."""
    return text(document.get("name")) or None, text(document["_id"])


def _rank(position: Position) -> tuple[str, str]:
    name, secret_id = position
    return name or "", secret_id


def _keys(principal: Principal, folder: str, after: str) -> Iterator[str]:
    """Yield the keys below *folder* that come after another, in order."""
    now = datetime.now(UTC)
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
        if len(names) < _AT_ONCE or end <= position:
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
            limit=_AT_ONCE,
            name_prefix=folder,
            wanted={"name": 1},
        )
        return [text(document.get("name")) for document in page]


def _page(found: Iterable[Mapping[str, Any]], limit: int) -> tuple[list[Mapping[str, Any]], bool]:
    """Return at most *limit* documents, as many as a page has room for, and whether more are found."""
    shown: list[Mapping[str, Any]] = []
    left = MAX_PAGE_BYTES - _LARGEST_BYTES
    for document in found:
        if len(shown) == limit or left <= 0:
            return shown, True
        left -= len(json.dumps(document, default=str))
        shown.append(document)
    return shown, False


def _may_see_canaries(attempt: Attempt) -> bool:
    return Scope.CANARY_MANAGE in attempt.principal.scopes


def _summary(secret: StoredSecret) -> dict[str, Any]:
    return {"secret_id": secret.id, "name": secret.name, "labels": secret.labels}


def _last_fetch(secret_id: str) -> datetime | None:
    """Return the time of the last fetch among the newest entries about the secret."""
    fetched = {"action": Action.FETCH, "status": Status.SUCCESS}
    with storage_errors():
        entries = AuditEntry.objects(secret_id=secret_id).order_by("-id").limit(_MAX_SEARCHED_ENTRIES)
        newest = entries.aggregate([{"$match": fetched}, {"$limit": 1}, {"$project": {"ts": 1}}])
        return next((entry["ts"] for entry in newest), None)


def _cursor(name: str | None, secret_id: str) -> str:
    return secret_id if name is None else f"{secret_id}/{quote(name)}"


def _position(cursor: str) -> Position:
    if not re.fullmatch(CURSOR_PATTERN, cursor):
        raise InvalidCursorError
    secret_id, _, name = cursor.partition("/")
    # What is not UTF-8 is replaced: then it is a position of no secret, like any other text.
    return unquote(name) or None, secret_id
