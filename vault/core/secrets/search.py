"""Searches for secrets by texts, attributes and times, each for a limited time."""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from time import monotonic
from typing import Any

from bson import ObjectId

from vault.common import clock
from vault.common.attributes import ATTRIBUTES, Description
from vault.common.outcomes import Status
from vault.core.attempt import Action
from vault.core.documents import AuditEntry
from vault.core.documents.secret import Secret
from vault.core.principal import Principal
from vault.core.secrets.selection import (
    BY_BYTES,
    LABELLED_AT_ONCE,
    ORDER,
    SUMMARY_FIELDS,
    Position,
    described,
    position_of,
    rank,
    reached,
    visible,
)

#: The maximum length of a text to search for.
MAX_CHARACTERS = 200
#: The time after which a search looks at no further secrets.
MAX_SECONDS = 1.0
#: The number that it looks at in between, at first and at most: as many as take about this time. A document
#: can have 640 KB.
_AT_FIRST = 100
_AT_ONCE = 4_000
_STEP_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A search for secrets that meet all of these criteria."""

    #: Words that are all in the name or the description, in any case.
    text: str = ""
    #: The beginning of the names.
    folder: str = ""
    #: Attributes that they have; of pairs, at least these.
    description: Description = field(default_factory=Description)
    #: True for restorable secrets instead of readable ones.
    deleted: bool = False
    #: The time in which they expire.
    expires_within: timedelta | None = None
    #: The time before which they were created and, by the trail, since which they were not fetched.
    unused_for: timedelta | None = None

    @property
    def indexed(self) -> dict[str, Any]:
        """The condition by whose index MongoDB finds secrets without reading the others."""
        return described(self.description)

    def conditions(self, now: datetime) -> list[dict[str, Any]]:
        """Return the conditions for secrets at the time *now*, besides folder, `indexed` and the trail."""
        return [
            *visible(now, deleted=self.deleted),
            *map(_containing, sorted(set(self.text.split()))),
            *([{"expires_at": {"$lte": now + self.expires_within}}] if self.expires_within else []),
            *([{"created_at": {"$lte": now - self.unused_for}}] if self.unused_for else []),
        ]


class Finder:
    """Finds the secrets of a search that a principal reaches, window by window, in their order."""

    def __init__(self, search: Search, principal: Principal, after: Position | None) -> None:
        """Begin *after* a position."""
        self._search = search
        self._principal = principal
        self._now = clock.now()
        self._wanted = search.conditions(self._now)
        #: The end of the last window; None if there are no more secrets.
        self.end = after

    def find(self, limit: int) -> Iterator[Mapping[str, Any]]:
        """Yield secrets, from each window at least the first *limit*, until the time is over."""
        now = monotonic()
        until = now + MAX_SECONDS
        count = _AT_FIRST
        is_last = False
        while not is_last:
            began = now
            own = reached(self._principal, prefix=self._search.folder, after=self.end)
            window = {"$and": [own, self._search.indexed]}
            self.end = _end_of_window(window, count)
            yield from self._found(window, count, limit, until)
            now = monotonic()
            is_slow = now - began >= _STEP_SECONDS
            count = max(count // 2, 1) if is_slow else min(count * 2, _AT_ONCE)
            is_last = self.end is None or now >= until

    def _found(
        self, window: Mapping[str, Any], count: int, limit: int, until: float
    ) -> Iterator[Mapping[str, Any]]:
        """Yield the secrets of a *window*; if each asks the trail, only *until* a time, and move the end."""
        unused_for = self._search.unused_for
        if unused_for is None:
            yield from _matches(self._wanted, window, self.end, count, limit)
            return
        for document in _matches(self._wanted, window, self.end, count, count):
            if not _is_fetched(document["_id"], self._now - unused_for):
                yield document
            if monotonic() >= until:
                self.end = position_of(document)
                return


def _end_of_window(window: Mapping[str, Any], count: int) -> Position | None:
    """Return the position of the secret with this *count* of a *window*; None if there are fewer."""
    # The index has all of these fields.
    last = Secret.raw().find(window, {"name": 1}, collation=BY_BYTES).sort(ORDER).skip(count - 1).limit(1)
    return next(map(position_of, last), None)


def _matches(
    wanted: Sequence[Mapping[str, Any]],
    window: Mapping[str, Any],
    end: Position | None,
    count: int,
    limit: int,
) -> Iterator[Mapping[str, Any]]:
    """Yield up to *limit* secrets that meet all of *wanted*, of the first *count* of a *window*."""
    steps = [
        {"$match": window},
        {"$sort": dict(ORDER)},
        # Before the other conditions, so that the secrets that do not meet them count, too.
        {"$limit": count},
        {"$match": {"$and": wanted}},
        {"$limit": limit},
        {"$project": {**SUMMARY_FIELDS, "expires_at": 1}},
    ]
    found = Secret.raw().aggregate(steps, batchSize=LABELLED_AT_ONCE, collation=BY_BYTES)
    # If secrets were removed after the end was read, the steps go beyond it.
    return takewhile(lambda document: end is None or rank(position_of(document)) <= rank(end), found)


def _containing(word: str) -> dict[str, Any]:
    """Return the condition for secrets with *word* in their name or description."""
    literal = {"$regex": re.escape(unicodedata.normalize("NFC", word)), "$options": "i"}
    return {"$or": [{"name": literal}, *({one.name: literal} for one in ATTRIBUTES)]}


def _is_fetched(secret_id: str, since: datetime) -> bool:
    """Return whether the trail has a fetch of the secret *since* a time."""
    # Identifiers begin with the time. In the index, the newest one comes first.
    earliest = ObjectId.from_datetime(since)
    fetched = {"action": Action.FETCH.value, "status": Status.SUCCESS.value}
    query = {"secret_id": secret_id, "_id": {"$gte": earliest}, **fetched}
    return AuditEntry.raw().find_one(query, {"_id": 1}, sort=[("_id", -1)]) is not None
