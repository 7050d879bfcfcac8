"""The daily look for what expires soon and what no one uses: it puts each find on record, once.

The entries make the events, as those of all other changes.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from vault.common.errors import VaultError
from vault.common.feature import EventKind
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt, finish_all
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.audit import record_of
from vault.core.documents.base import is_text, text
from vault.core.documents.guard import storage_errors
from vault.core.documents.secret import Secret
from vault.core.documents.token import Token
from vault.core.principal import SERVICE
from vault.core.trail.reader import earliest_id
from vault.core.trail.streams.collection import collection

#: Seconds between two looks: less than a day, so that one of them has an hour left of each last day.
INTERVAL_SECONDS = 82_800

#: The days before an expiry at which it is announced.
_DAYS = (1, 7, 30)
_UNUSED = timedelta(days=90)

#: Entries in one commit.
_BATCH = 100

_SHOWN = {"name": True, "namespace": True, "expires_at": True}
_ENTRY = {"action": True, "ts": True}


def look(kinds: Iterable[EventKind], key: TokenKey) -> None:
    """Look for what makes events of *kinds*. What an outage of MongoDB prevents, the next look finds."""
    now, wanted = datetime.now(UTC), {kind.action for kind in kinds}
    # Already logged.
    with suppress(VaultError):
        if Action.SECRET_EXPIRING in wanted:
            _announce(_expiring_secrets(now))
        if Action.SECRET_UNUSED in wanted:
            _announce(_unused_secrets(now))
        if Action.TOKEN_EXPIRING in wanted:
            _announce_tokens(now, key)


def _announce(attempts: Iterable[Attempt]) -> None:
    remaining = iter(attempts)
    while batch := [(attempt, Status.SUCCESS) for attempt in islice(remaining, _BATCH)]:
        finish_all(batch)


def _secrets(query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the named secrets of *query* that can be read. Wrapped replies have no name."""
    live = {"pending": None, "deleted_at": None, "name": {"$type": "string"}, **query}
    with storage_errors():
        yield from filter(_is_written, Secret.raw().find(live, _SHOWN))


def _is_written(document: Mapping[str, Any]) -> bool:
    is_time = isinstance(document.get("expires_at"), datetime | None)
    return is_time and all(is_text(document.get(name)) for name in ("_id", "name", "namespace"))


def _expiring_secrets(now: datetime) -> Iterator[Attempt]:
    soon = now + timedelta(days=max(_DAYS))
    # A secret is purged at its expiry or before, and there is an index on that.
    for document in _secrets({"purge_at": {"$lte": soon}, "expires_at": {"$gt": now, "$lte": soon}}):
        details = _details(document["expires_at"], now)
        known = {f"details.{name}": value for name, value in details.items()}
        known |= {"secret_id": document["_id"], "action": Action.SECRET_EXPIRING.value}
        if not _newest(known):
            yield _attempt(Action.SECRET_EXPIRING, document, details)


def _unused_secrets(now: datetime) -> Iterator[Attempt]:
    earliest = earliest_id(now - _UNUSED)
    # A younger trail does not have all reads.
    if not _newest({"_id": {"$lt": earliest}}):
        return
    # An imported secret is older than its entry.
    reads = [Action.FETCH.value, Action.USE.value]
    actions = [Action.CREATE.value, *reads, Action.SECRET_UNUSED.value]
    for document in _secrets({"created_at": {"$lte": now - _UNUSED}}):
        newest = _newest(
            {"secret_id": document["_id"], "action": {"$in": actions}, "status": Status.SUCCESS.value}
        )
        is_known = newest and newest["action"] == Action.SECRET_UNUSED.value
        # As text: an attacker can have stored an identifier of any type.
        if not is_known and (not newest or str(newest["_id"]) < str(earliest)):
            is_fetched = newest and newest["action"] in reads
            last = text(record_of(newest).get("ts")) if newest and is_fetched else ""
            yield _attempt(Action.SECRET_UNUSED, document, {"last_fetched_at": last or None})


def _newest(query: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the newest entry of *query*, if there is one."""
    with storage_errors():
        found: Mapping[str, Any] | None = collection().find_one(query, _ENTRY, sort=[("_id", -1)])
    return found


def _attempt(action: Action, document: Mapping[str, Any], details: Mapping[str, Any]) -> Attempt:
    about = {"name": document["name"], "namespace": document["namespace"], **details}
    return Attempt(action=action, principal=SERVICE, secret_id=document["_id"], details=about)


def _details(expires_at: datetime, now: datetime) -> dict[str, Any]:
    """Return the details of the announcement that is due: the days before the expiry, and the expiry."""
    left = expires_at - now
    return {
        "days": next(days for days in _DAYS if left <= timedelta(days=days)),
        "expires_at": moment(expires_at),
    }


def _announce_tokens(now: datetime, key: TokenKey) -> None:
    """Announce tokens that expire soon, and cannot be renewed. Each keeps what was announced last."""
    soon = now + timedelta(days=max(_DAYS))
    query = {"pending": None, "revoked_at": None, "expires_at": {"$gt": now, "$lte": soon}}
    with storage_errors():
        found = [token for token in Token.objects(__raw__=query) if token.is_genuine(key)]
    for token in found:
        details = _details(token.expires_at, now)
        announced = " ".join(map(str, details.values()))
        if token.renewable_until is None and token.announced != announced:
            about = {"token": token.plain_name, "namespace": token.namespace, **details}
            attempt = Attempt(action=Action.TOKEN_EXPIRING, principal=SERVICE, details=about)
            attempt.finish(Status.SUCCESS)
            with storage_errors():
                Token.raw().update_one({"_id": token.id}, {"$set": {"announced": announced}})
