"""Exposure: who has got which value, by the entries of the trail.

`vault.features.exposure.knowledge` says what an entry proves. Anyone who can write to MongoDB can add and
remove entries; `audit verify` finds that, and a certificate is made of verified entries.

MongoDB groups the entries, so this process needs only the memory of one page. A page covers a limited number
of secrets, in the order of their IDs, and ends early if these have many entries. So a page can be empty
although more follow.

Functions that read MongoDB raise `StorageUnavailableError`.
"""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pymongo.errors import OperationFailure

from vault.common.errors import InvalidCursorError
from vault.common.outcomes import Status
from vault.core.attempt import Attempt
from vault.core.documents import AuditEntry
from vault.core.documents.guard import storage_errors
from vault.core.documents.indexes import (
    BROKER_INDEX,
    PRINCIPAL_INDEX,
    UNWRAP_INDEX,
    USE_INDEX,
    Index,
)
from vault.core.principal import Principal
from vault.core.trail.expressions import Pipeline, text_at
from vault.core.trail.reader import SETTLED_SECONDS, shown
from vault.core.trail.streams.collection import collection
from vault.core.trail.values import SAFE, SUCCESS, fields
from vault.features.exposure import lookup
from vault.features.exposure.knowledge import (
    ABOUT_VALUES,
    ANY_UNWRAP,
    BROKER,
    KNOWN,
    KNOWN_OR_WRAPPED,
    MAX_HOSTS,
    MAX_SERVICES,
    UNWRAPPED,
    USED,
    WRAPPED,
    Exposure,
    Key,
    Question,
    Use,
    broker_fields,
    conditions,
    exposure_of,
    joined,
    key_of,
    use_fields,
    use_of,
)

Row = Mapping[str, Any]
#: Rows in the order of their keys, and the end up to which these are complete; None if they are all.
Found = tuple[list[Row], Key | None]

#: The maximum number of exposures in a page.
MAX_LIMIT = 1_000

#: What the trail cannot know, by its name in replies.
UNKNOWN: Mapping[str, str] = {
    "copies": "values that readers passed on, such as exports by hand",
    "driver_caches": "tasks that got a value from the cache of a Swarm driver",
    "backups": "holders of a backup and of its master key",
    "missing_entries": "entries past their retention, and requests while auditing was off",
}

#: The entries of a step that looks for the next secrets, the steps of a page, and the secrets after which it
#: takes no further one.
_STEP_ENTRIES = 200
_MAX_STEPS = 50
_MAX_SECRETS = 1_000
#: The secrets whose entries one query groups, and the number of entries after which a page ends.
_SECRETS_AT_ONCE = 20
_MAX_ENTRIES = 50_000

#: The parts of `Key`, in an entry's fields and in a group of entries, and what a group has of its times.
_KEY = {name: f"${name}" for name in ("secret_id", "version", "principal")}
_KEY_OF_GROUP = {name: f"$_id.{name}" for name in _KEY}
_TIMES: dict[str, Any] = {
    "first_at": {"$min": "$ts"},
    "last": {"$max": {name: f"${name}" for name in ("ts", "stream", "seq", "hash", "name", "namespace")}},
    "count": {"$sum": 1},
}

CURSOR_PATTERN = "^[A-Za-z0-9_-]+={0,2}$"
MAX_CURSOR_LENGTH = 8_192
#: MongoDB's error code for a hint at an index that does not exist.
_BAD_HINT = 2

#: Above every number of a version.
_AFTER_ALL = 2**31

#: The first digits of an ID, which a cursor can show to those who may not know the secret.
_SHOWN_DIGITS = 8


@dataclass(frozen=True, slots=True)
class ExposurePage:
    """A page of exposures, and of uses, in one order."""

    exposures: Sequence[Exposure]
    uses: Sequence[Use]
    #: The cursor for the next page; None on the last page.
    cursor: str | None
    #: Everything before this time is included.
    complete_until: datetime
    #: The approximate share of all secrets that this page and the pages before it have looked at.
    progress: float


def page(question: Question, *, cursor: str | None, limit: int, attempt: Attempt) -> ExposurePage:
    """Return a page of exposures, as `read`, and record the *attempt*.

    Raises:
        AuditUnavailableError: The question could not be recorded.
        InvalidCursorError: *cursor* is not a cursor that this function returned.
    """
    question.record(attempt)
    found = read(question, attempt.principal, cursor=cursor, limit=limit)
    attempt.finish(Status.SUCCESS)
    return found


def read(question: Question, caller: Principal, *, cursor: str | None, limit: int) -> ExposurePage:
    """Return exposures, and uses, after *cursor*, in the order of secrets, versions and principals.

    There are up to *limit* exposures, and the uses of up to *limit* principals.

    A caller that is limited to paths gets only the exposures of secrets that it reaches.

    Raises:
        InvalidCursorError: *cursor* is not the cursor of a page.
    """
    complete_until = datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS)
    after = ("", 0, "") if cursor is None else _decode(cursor)
    with storage_errors():
        exposures, uses, end = _Finder(question, caller, after, limit).find()
    return ExposurePage(exposures, uses, end and _encode(end), complete_until, _progress(end))


class _Finder:
    """Finds the exposures after a position."""

    def __init__(self, question: Question, caller: Principal, after: Key, limit: int) -> None:
        self._question = question
        self._caller = caller
        self._after = after
        self._limit = limit
        principals = lookup.principals_of(question)
        is_by_principal = principals is not None
        self._of_principal: dict[str, Any] = {"principal": {"$in": principals}} if is_by_principal else {}
        self._is_by_principal = is_by_principal and not question.is_about_secret
        #: The conditions for entries of those who know a value, or use it, and for those of brokers.
        self._entries = conditions(question, principals)
        self._brokered = conditions(question, principals, BROKER)
        self._known_by = KNOWN_OR_WRAPPED if question.wrapped else KNOWN
        #: By ID, the newest version of secrets that can be read; None for others.
        self._current: dict[str, int | None] = {}

    def find(self) -> tuple[list[Exposure], list[Use], Key | None]:
        """Return exposures and uses, and if there are more, the position up to which these are complete."""
        ids, is_last = self._secret_ids()
        self._look_up(ids)
        known, used, held = self._known(ids), self._used(ids), self._held(ids)
        end = _first_end(known, used, held)
        if end is None and not is_last:
            end = self._before(ids[-1])
        unwrapped = self._unwrapped(ids, end)
        self._look_up({row["_id"]["secret_id"] for row in unwrapped[0]})
        exposures, uses = self._merged(known, held, unwrapped), self._merged(used)
        end = _first_end(([], end), unwrapped, self._cut(exposures), self._cut(uses))
        return (
            [exposure_of(row, self._is_current(key)) for key, row in _until(end, exposures)],
            [
                use_of(key, one["host"], one, self._is_current(key))
                for key, row in _until(end, uses)
                for one in row["hosts"]
            ],
            end,
        )

    def _merged(self, *found: Found) -> dict[Key, Row]:
        """Return the rows that the question is about, one for each key."""
        merged: dict[Key, Row] = {}
        for row in (row for rows, _ in found for row in rows):
            key = key_of(row)
            if self._question.stale or self._is_current(key):
                merged[key] = joined(merged[key], row) if key in merged else row
        return merged

    def _cut(self, rows: Mapping[Key, Row]) -> Found:
        """Return the end of a page of *rows*, if they are more than fit."""
        return [], sorted(rows)[self._limit - 1] if len(rows) > self._limit else None

    def _before(self, secret_id: str) -> Key:
        """Return a position before a secret that the caller may not know, if it is after that of the page."""
        position = secret_id[:_SHOWN_DIGITS], 0, ""
        return position if position > self._after else _end_of(secret_id)

    def _is_current(self, key: Key) -> bool:
        return self._current.get(key[0]) == key[1]

    def _secret_ids(self) -> tuple[list[str], bool]:
        """Return IDs of the next secrets, in order, and whether they are the last."""
        question, (start, version, _) = self._question, self._after
        if question.is_about_secret:
            return lookup.ids_of(question, start)
        # Without the other conditions: the time that a step takes must not depend on how rarely they are met.
        ids: list[str] = []
        bound = {"$gt" if version == _AFTER_ALL else "$gte": start}
        for _ in range(_MAX_STEPS):
            found, is_last = self._step(bound)
            ids += found
            if is_last or len(ids) >= _MAX_SECRETS:
                return ids, is_last
            bound = {"$gt": ids[-1]}
        return ids, False

    def _step(self, bound: Mapping[str, str]) -> tuple[list[str], bool]:
        """Return some IDs within *bound*, in order, and whether they are the last."""
        if not self._is_by_principal:
            return self._ids(ABOUT_VALUES, bound)
        own, is_last_own = self._ids({**ABOUT_VALUES, **self._of_principal}, bound)
        brokered, is_last_brokered = self._ids({**USED, BROKER: self._brokered[BROKER]}, bound, BROKER_INDEX)
        ends = [ids[-1] for ids, is_last in ((own, is_last_own), (brokered, is_last_brokered)) if not is_last]
        return sorted(one for one in {*own, *brokered} if not ends or one <= min(ends)), not ends

    def _ids(
        self, query: Mapping[str, Any], bound: Mapping[str, str], index: Index = PRINCIPAL_INDEX
    ) -> tuple[list[str], bool]:
        # An attacker may have stored a list of IDs, or a long text.
        is_text = {"$expr": {"$eq": [text_at("$secret_id"), "$secret_id"]}}
        group = {"$group": {"_id": "$secret_id", "count": {"$sum": 1}}}
        steps: Pipeline = [
            {"$match": {**query, "secret_id": bound, **is_text}},
            {"$sort": {"secret_id": 1}},
            {"$limit": _STEP_ENTRIES},
        ]
        groups = self._aggregate([*steps, group, {"$sort": {"_id": 1}}], index)
        return [one["_id"] for one in groups], sum(one["count"] for one in groups) < _STEP_ENTRIES

    def _look_up(self, ids: Collection[str]) -> None:
        missing = [one for one in ids if one not in self._current]
        self._current |= lookup.current_versions(missing)

    def _known(self, ids: Sequence[str]) -> Found:
        """Return rows of those who fetched or wrote."""
        query = self._known_by | self._entries
        return self._about(ids, query, fields("$", "$"), _by_principal(), PRINCIPAL_INDEX)

    def _held(self, ids: Sequence[str]) -> Found:
        """Return rows of brokers."""
        return self._about(ids, USED | self._brokered, broker_fields("$"), _by_principal(), BROKER_INDEX)

    def _used(self, ids: Sequence[str]) -> Found:
        """Return rows of those who used values of brokers."""
        return self._about(ids, USED | self._entries, use_fields("$"), _by_host(), USE_INDEX)

    def _about(
        self,
        ids: Sequence[str],
        query: Mapping[str, Any],
        shown_fields: Mapping[str, Any],
        grouped: Pipeline,
        index: Index,
    ) -> Found:
        """Return the groups of entries about the secrets with these *ids* that meet *query*."""
        rows: list[Row] = []
        if not self._question.stale:
            ids = [one for one in ids if self._current[one] is not None]
        for at in range(0, len(ids), _SECRETS_AT_ONCE):
            some = ids[at : at + _SECRETS_AT_ONCE]
            match = {"$match": {**query, "secret_id": {"$in": some}}}
            rows += self._rows([match], shown_fields, [*self._wanted(some), *grouped], index)
            if len(rows) > self._limit:
                return rows, key_of(rows[-1])
            if sum(row["count"] for row in rows) > _MAX_ENTRIES:
                return rows, _end_of(key_of(rows[-1])[0])
        return rows, None

    def _unwrapped(self, ids: Sequence[str], end: Key | None) -> Found:
        """Return rows up to *end* of those who unwrapped."""
        if self._is_by_principal:
            # From their entries to the first ones: a reply can have been wrapped several times.
            unwrapped = ANY_UNWRAP if self._question.wrapped else UNWRAPPED
            query, of_entry, of_origin = {**unwrapped, **self._entries}, "", "links."
            links = _links("$secret_id", "secret_id", "details.accessor", SUCCESS)
            after: dict[str, Any] = {f"links.{name}": value for name, value in WRAPPED.items()}
            after["links.secret_id"] = {"$gte": self._after[0], **({"$lte": end[0]} if end else {})}
        else:
            query, of_entry, of_origin = {**WRAPPED, "secret_id": {"$in": list(ids)}}, "links.", ""
            links = _links("$details.accessor", "details.accessor", "secret_id", ANY_UNWRAP)
            after = {f"links.{name}": value for name, value in (UNWRAPPED | self._entries).items()}
        stages = [{"$match": query}, links, {"$unwind": "$links"}, {"$match": after}]
        rows = self._rows(stages, fields(f"${of_entry}", f"${of_origin}"), _by_principal(), UNWRAP_INDEX)
        return rows, key_of(rows[-1]) if len(rows) > self._limit else None

    def _wanted(self, ids: Sequence[str]) -> Pipeline:
        """Return the stages that select the current versions, if the question is about these alone."""
        if self._question.stale:
            return []
        return [{"$match": {"$or": [{"secret_id": one, "version": self._current[one]} for one in ids]}}]

    def _rows(
        self, stages: Pipeline, shown_fields: Mapping[str, Any], grouped: Pipeline, index: Index
    ) -> list[Row]:
        """Return the groups of what *stages* find, up to one more than the limit."""
        secret_id, version, principal = self._after
        after = {"secret_id": secret_id, "version": version, "principal": principal}
        pipeline = [
            *stages,
            {"$project": shown_fields},
            {"$unwind": "$version"},
            {"$match": SAFE | shown(self._caller, "")},
            *grouped,
            {"$match": {"_id": {"$gt": after}}},
            {"$sort": {"_id": 1}},
            {"$limit": self._limit + 1},
        ]
        return self._aggregate(pipeline, index)

    def _aggregate(self, pipeline: Pipeline, index: Index) -> list[Row]:
        """Return what *pipeline* finds: by *index*, if it begins with entries of principals.

        MongoDB would often choose another one: it judges by the first entries that it finds.
        """
        if self._is_by_principal:
            try:
                return list(collection().aggregate(pipeline, allowDiskUse=True, hint=dict(index)))
            except OperationFailure as error:
                if error.code != _BAD_HINT:
                    raise
        return list(collection().aggregate(pipeline, allowDiskUse=True))


def _links(start: str, source: str, target: str, which: Mapping[str, Any]) -> dict[str, Any]:
    """Return the stage that follows wrapped replies from entry to entry."""
    return {
        "$graphLookup": {
            "from": AuditEntry.raw().name,
            "startWith": start,
            "connectFromField": source,
            "connectToField": target,
            "as": "links",
            "restrictSearchWithMatch": which,
        }
    }


def _by_principal() -> Pipeline:
    """Return the stages that group entries to rows of those who know a value."""
    by_service = {"_id": {**_KEY, "how": "$how", "service": "$service"}, **_TIMES}
    group = {
        "_id": _KEY_OF_GROUP,
        "how": {"$addToSet": "$_id.how"},
        "services": {"$minN": {"input": "$_id.service", "n": MAX_SERVICES}},
        "first_at": {"$min": "$first_at"},
        "last": {"$max": "$last"},
        "count": {"$sum": "$count"},
    }
    return [{"$group": by_service}, {"$group": group}]


def _by_host() -> Pipeline:
    """Return the stages that group entries to rows of those who use a value, each with its hosts."""
    host = {"host": "$_id.host", **{name: f"${name}" for name in _TIMES}}
    group = {
        "_id": _KEY_OF_GROUP,
        "hosts": {"$minN": {"input": host, "n": MAX_HOSTS}},
        "count": {"$sum": "$count"},
    }
    return [{"$group": {"_id": {**_KEY, "host": "$host"}, **_TIMES}}, {"$group": group}]


def _first_end(*found: Found) -> Key | None:
    """Return the position up to which all that was *found* is complete; None if it is all there is."""
    return min((end for _, end in found if end), default=None)


def _until(end: Key | None, rows: Mapping[Key, Row]) -> list[tuple[Key, Row]]:
    """Return *rows* up to *end*, in order."""
    return [(key, rows[key]) for key in sorted(rows) if end is None or key <= end]


def _end_of(secret_id: str) -> Key:
    """Return the position after all exposures of a secret."""
    return secret_id, _AFTER_ALL, ""


def _progress(end: Key | None) -> float:
    """Return the share of all IDs up to *end*: they are random. An attacker may have stored other texts."""
    if end is None:
        return 1.0
    try:
        return int(end[0][:8], 16) / 2**32
    except ValueError:
        return 0.0


def _encode(key: Key) -> str:
    return urlsafe_b64encode(json.dumps(key, ensure_ascii=False).encode()).decode()


def _decode(cursor: str) -> Key:
    try:
        secret_id, version, principal = json.loads(urlsafe_b64decode(cursor))
        # MongoDB takes neither parts of characters nor larger numbers.
        f"{secret_id}{principal}".encode()
        is_key = (type(secret_id), type(version), type(principal)) == (str, int, str)
    except (RecursionError, TypeError, ValueError):
        is_key = False
    if not is_key or not 0 <= version <= _AFTER_ALL:
        raise InvalidCursorError
    return secret_id, version, principal
