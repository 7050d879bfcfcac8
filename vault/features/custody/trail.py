"""Custody in the trail: its counts for a report, and the comparison with a provider's own log.

Anyone with write access to MongoDB can store any type in any field, so types are checked first. What reads
the trail raises `StorageUnavailableError` if MongoDB is unavailable.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from vault.common.errors import TransferError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action
from vault.core.documents.guard import storage_errors
from vault.core.principal import SERVICE
from vault.core.trail.streams.collection import collection
from vault.features.custody.provider import PURPOSE

#: The longest time after which the shares should be tried again.
_MAX_DRILL_AGE = timedelta(days=365)

_ACTIONS = (Action.KEY_OPENED, Action.CUSTODY_CHANGED, Action.CUSTODY_CHECKED, Action.KEY_RECOVERED)
_CHECKED = Action.CUSTODY_CHECKED.value
_DRILL = {"$or": [{"action": Action.KEY_RECOVERED.value}, {"action": _CHECKED, "details.recovery": True}]}
#: The times that Python can hold: a forged entry can have others.
_MIN_TIME, _MAX_TIME = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class CustodyActivity:
    """The use of the keyring file in a period."""

    #: True if a keyring file was ever opened.
    is_used: bool
    opened: int
    changed: int
    checked: int
    recovered: int
    #: The last time at which shares opened all keys, also before the period; None if they never did.
    last_drill: datetime | None
    #: True if a keyring file was opened and no drill is younger than a year.
    needs_drill: bool
    #: False if the service last used a keyring file that was not the newest one on record.
    is_newest: bool

    @property
    def line(self) -> str:
        """The use in one line, for people; empty without any."""
        if not self.is_used:
            return ""
        counts = f"{self.opened:,} opened, {self.changed:,} changed, {self.checked:,} checked"
        drill = moment(self.last_drill) if self.last_drill else "never"
        warning = "; TRY THE SHARES: no drill within a year" if self.needs_drill else ""
        warning += "" if self.is_newest else "; THE SERVICE HAS A KEYRING FILE THAT IS NOT THE NEWEST"
        return f"{counts}, {self.recovered:,} recovered, last drill with shares: {drill}{warning}"


def custody_activity(_parts: object, since: datetime, until: datetime) -> CustodyActivity:
    """Return the use of the keyring file from *since* until before *until*."""
    known_use = {"principal": SERVICE.name, "details.is_newest": {"$type": "bool"}}
    with storage_errors():
        opened, changed, checked, recovered = (
            collection().count_documents(_successes(since, until) | {"action": action.value})
            for action in _ACTIONS
        )
        is_used = collection().find_one({"action": Action.KEY_OPENED.value}, {"_id": 1}) is not None
        last = _newest(_successes(_MIN_TIME, until) | _DRILL)
        used = _newest(_successes(_MIN_TIME, until) | known_use)
    time = last["ts"] if last else None
    needs_drill = is_used and (time is None or until - time > _MAX_DRILL_AGE)
    is_newest = used is None or used["details"]["is_newest"] is True
    return CustodyActivity(is_used, opened, changed, checked, recovered, time, needs_drill, is_newest)


def _successes(since: datetime, until: datetime) -> dict[str, Any]:
    return {"status": Status.SUCCESS.value, "ts": {"$gte": since, "$lt": until}}


def _newest(query: Mapping[str, Any]) -> Any:
    return collection().find_one(query, {"ts": 1, "details": 1}, sort=[("ts", -1)])


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """A slot of the keyring file, by the newest entry about it."""

    key_id: str
    name: str
    kek: str
    #: `up`, `opened`, or why it is down.
    state: str

    @property
    def is_up(self) -> bool:
        """True if it opened its key."""
        return self.state in ("up", "opened")


@dataclass(frozen=True, slots=True)
class CustodyState:
    """The slots of the keyring file, and the last drill with the shares."""

    #: The time of the newest check or opening; None without one.
    time: datetime | None
    slots: Sequence[SlotRecord]
    #: The last drill within a year; None without one.
    last_drill: datetime | None
    #: False if the file of that check or opening was not the newest one on record.
    is_newest: bool = True


def custody_state(now: datetime) -> CustodyState:
    """Return the state of custody at the time *now*, by the trail of a year."""
    period = _successes(now - _MAX_DRILL_AGE, now)
    looked = {"action": {"$in": [Action.KEY_OPENED.value, _CHECKED]}, "principal": SERVICE.name}
    with storage_errors():
        last, newest = _newest(period | _DRILL), _newest(period | looked)
    details = newest["details"] if newest and isinstance(newest["details"], Mapping) else {}
    slots = details.get("slots")
    # The entry of an opening is about one slot.
    found = slots if isinstance(slots, list) and any(isinstance(one, Mapping) for one in slots) else [details]
    records = [
        SlotRecord(str(one.get("key_id")), str(one["slot"]), str(one.get("kek")), _state(one))
        for one in found
        if isinstance(one, Mapping) and "slot" in one
    ]
    return CustodyState(
        newest["ts"] if newest else None,
        records,
        last["ts"] if last else None,
        is_newest=details.get("is_newest") is not False,
    )


def _state(slot: Mapping[str, Any]) -> str:
    """Return the state of a checked *slot*, with the reason; an opening has none."""
    return " ".join(filter(None, (str(slot.get("state", "opened")), str(slot.get("reason", "")))))


@dataclass(frozen=True, slots=True)
class Unwrap:
    """A key that a provider unwrapped, by its own log."""

    time: datetime
    request_id: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """An unwrap without an entry, or an entry without an unwrap."""

    #: `no entry` or `no unwrap`.
    kind: str
    time: datetime
    request_id: str


@dataclass(frozen=True, slots=True)
class ProviderLog:
    """The unwraps in a provider's own log, in order of time."""

    #: The beginning of the KEKs of this kind of provider.
    kek_prefix: str
    unwraps: list[Unwrap]
    #: The times of the first and the last line, whatever they are about; None of an empty log.
    since: datetime | None
    until: datetime | None

    @classmethod
    def read(cls, lines: Iterable[str], keks: Iterable[str]) -> "ProviderLog":
        """Return the log in *lines*: OpenBao's of a file, with *keks*, or CloudTrail's, with any key.

        Raises:
            TransferError: It is neither.
        """
        text = iter(lines)
        first = next(text, "")
        try:
            if first.startswith("{") and first.endswith("}\n") and "Records" not in json.loads(first):
                prefix, found = "http", _of_openbao([first, *text], keks)
            else:
                prefix, found = "arn:", _of_cloudtrail(json.loads("".join([first, *text]))["Records"])
            lines_found = sorted(found, key=lambda one: one.time)
            times, unwraps = [one.time for one in lines_found], [one for one in lines_found if one.request_id]
            return cls(prefix, unwraps, min(times, default=None), max(times, default=None))
        except (AttributeError, KeyError, RecursionError, TypeError, ValueError):
            raise TransferError(
                "the file is neither OpenBao's audit log nor CloudTrail's JSON", hint="give it uncompressed"
            ) from None


def _of_openbao(lines: Iterable[str], keks: Iterable[str]) -> Iterator[Unwrap]:
    """Yield all *lines*, those that are no unwrap without the ID of a request."""
    paths = set(_decrypt_paths(keks))
    for found in map(json.loads, filter(str.strip, lines)):
        request = found.get("request", {})
        # Paths in the log are relative to their namespace. The root namespace has no path.
        path = f"{request.get('namespace', {}).get('path', '')}{request.get('path')}"
        is_unwrap = found["type"] == "response" and not found.get("error") and path in paths
        # OpenBao has nanoseconds, which Python cannot read.
        yield Unwrap(_time(found["time"][:19] + "+00:00"), request["id"] if is_unwrap else "")


def _decrypt_paths(keks: Iterable[str]) -> Iterator[str]:
    for kek in keks:
        # That of a forged entry can be no address.
        with suppress(ValueError):
            yield urlsplit(kek).path.removeprefix("/v1/").replace("/keys/", "/decrypt/")


def _of_cloudtrail(records: Iterable[Any]) -> Iterator[Unwrap]:
    """Yield all *records*, those that are no unwrap without the ID of a request."""
    for found in records:
        context = (found.get("requestParameters") or {}).get("encryptionContext") or {}
        is_unwrap = found["eventName"] == "Decrypt" and not found.get("errorCode")
        is_ours = is_unwrap and context.get("purpose") == PURPOSE
        yield Unwrap(_time(found["eventTime"]), found["requestID"] if is_ours else "")


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def known_keks() -> set[str]:
    """Return the KEKs that have opened a key, or were checked, by the trail."""
    with storage_errors():
        opened = collection().distinct("details.kek", {"action": Action.KEY_OPENED.value})
        # A slot that is never the first one to open a key is only in these.
        checked = collection().distinct("details.slots.kek", {"action": _CHECKED})
    return {kek for kek in [*opened, *checked] if isinstance(kek, str)}


def mismatches(log: ProviderLog) -> list[Mismatch]:
    """Return the unwraps in *log* without an entry, and the entries in its span without an unwrap."""
    if log.since is None or log.until is None:
        return []
    until = log.until + timedelta(seconds=1)
    # An entry can follow its unwrap by minutes: a start waits for MongoDB.
    query = {
        "ts": {"$gte": log.since, "$lte": _MAX_TIME},
        "action": {"$in": [action.value for action in _ACTIONS]},
    }
    with storage_errors():
        entries = list(collection().find(query, {"ts": 1, "details": 1}))
    requests = [(entry["ts"], *one) for entry in entries for one in _requests(entry.get("details"))]
    recorded, made = {request_id for _, request_id, _ in requests}, {one.request_id for one in log.unwraps}
    unrecorded = [one for one in log.unwraps if one.request_id not in recorded]
    found = [Mismatch("no entry", one.time, one.request_id) for one in unrecorded]
    found += [
        Mismatch("no unwrap", time, request_id)
        for time, request_id, kek in requests
        if kek.startswith(log.kek_prefix) and time < until and request_id not in made
    ]
    return sorted(found, key=lambda one: one.time)


def _requests(details: Any) -> Iterator[tuple[str, str]]:
    """Yield the IDs of requests in an entry's *details*, each with its KEK, if that is known."""
    if not isinstance(details, Mapping):
        return
    slots, changed = details.get("slots"), details.get("request_ids")
    for found in [details, *(slots if isinstance(slots, list) else [])]:
        if isinstance(found, Mapping) and isinstance(found.get("request_id"), str) and found["request_id"]:
            yield found["request_id"], str(found.get("kek"))
    for request_id in changed if isinstance(changed, list) else []:
        yield str(request_id), ""
