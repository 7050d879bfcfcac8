"""What the clients saw, held against the database and the audit trail.

Each check returns a sentence for each violation. An outcome that a client does not know may be either, but
what has taken effect must have its entry: without one it has not happened.
"""

import json
from base64 import b64encode
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

from tests.faults.history import MARK, NOT_SENT, UNAVAILABLE, UNKNOWN, History, Request
from tests.faults.linearize import Operation, is_possible
from tests.faults.model import Life, step_of

_CHANGES = ("update", "delete", "restore")
#: How an answer is on record.
_RECORDED = {200: "success", 404: "not_found", 409: "bad_request"}
_EXPECTED = (*_RECORDED, UNAVAILABLE, UNKNOWN, NOT_SENT)
#: Seconds that a read may be held for a request that came to nothing, and one for what clocks differ.
_HELD = 31
#: The mark in the forms that it could leave in.
_MARKS = (MARK.decode(), b64encode(MARK).decode(), MARK.hex())


@dataclass(frozen=True, slots=True)
class Entry:
    """What counts here of an audit entry."""

    request_id: str
    action: str
    status: str
    secret_id: str | None


@dataclass(frozen=True, slots=True)
class Stored:
    """What counts here of a secret in the database."""

    version: int = 1
    deleted: bool = False
    #: Where its reads are limited.
    reads: int = 0


@dataclass(slots=True)
class Findings:
    """Sentences, one for each violation, by what was violated."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unrecorded: list[str] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[str]:
        return chain(self.lost, self.doubled, self.unrecorded, self.swapped, self.leaked, self.unexpected)


class Checker:
    """Holds a *history* against what is *stored* by id, and against the *entries* of the trail."""

    def __init__(self, history: History, stored: Mapping[str, Stored], entries: Sequence[Entry]) -> None:
        self._history = history
        self._stored = stored
        self._entries: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            self._entries[entry.request_id].append(entry)
        self._secrets: defaultdict[str, list[Request]] = defaultdict(list)
        for request in history:
            self._secrets[request.secret].append(request)

    def check(self) -> Findings:
        """Return all violations."""
        findings = Findings()
        writers = {
            request.body["secret"]: request.secret for request in self._history if "secret" in request.body
        }
        for request in self._history:
            findings.unexpected += _unexpected(request)
            findings.leaked += _leaked(request)
            findings.swapped += _swapped(request, writers)
            findings.unrecorded += self._missing(request)
            findings.doubled += self._recorded_twice(request)
        for name, requests in self._secrets.items():
            findings.doubled += self._created_twice(name, requests)
            given = {request.reply["secret_id"] for request in requests if _is(request, "create")}
            if not given:
                continue
            if limit := requests[0].body.get("max_reads"):
                findings.doubled += _read_too_often(name, requests, limit)
                findings.lost += self._reads_lost(name, requests, limit)
                findings.lost += self._reads_kept(name, requests, limit, given)
            else:
                findings.lost += self._impossible(name, requests, given)
        return findings

    def _missing(self, request: Request) -> Iterator[str]:
        """What was answered, and is not on record as it was answered."""
        status = _RECORDED.get(request.status)
        if status is None:
            return
        found = [entry for entry in self._entries[request.id] if entry.status == status]
        if not found:
            yield f"no entry says that {_name(request)} was answered {request.status}"
            return
        secret_id = request.body.get("secret_id") or request.reply.get("secret_id")
        if (found[0].action, found[0].secret_id) != (request.action, secret_id):
            yield f"the entry of {_name(request)} is about something else"

    def _recorded_twice(self, request: Request) -> Iterator[str]:
        if len(self._entries[request.id]) > 1:
            yield f"{_name(request)} has {len(self._entries[request.id])} entries"

    def _took_effect(self, request: Request) -> bool:
        """Return whether it did, or may have done, as the trail has it."""
        return any(entry.status == "success" for entry in self._entries[request.id])

    def _created_twice(self, name: str, requests: Sequence[Request]) -> Iterator[str]:
        """More than one secret for one idempotency key."""
        given = {request.reply["secret_id"] for request in requests if _is(request, "create")}
        if len(given) > 1:
            yield f"{name} was created with {len(given)} ids under one key"
        made = {
            entry.secret_id
            for request in requests
            if request.action == "create" and request.key
            for entry in self._entries[request.id]
        }
        left = (made & set(self._stored)) - given
        if given and left:
            yield f"{name} is there {1 + len(left)} times under one key"

    def _reads_lost(self, name: str, requests: Sequence[Request], limit: int) -> Iterator[str]:
        """Reads that a secret with a limit gave to nobody: the last answer to come was that there is none."""
        reads = [request for request in requests if request.action == "fetch"]
        for last in reads:
            if last.status != 404:
                continue
            before = [read for read in reads if read.sent < last.answered]
            used = sum(
                read.succeeded
                or (read.failed and (self._took_effect(read) or last.sent < read.answered + _HELD))
                for read in before
            )
            if used < limit:
                yield f"{name} was not found after {used} of {limit} reads"
                return

    def _reads_kept(
        self, name: str, requests: Sequence[Request], limit: int, given: set[str]
    ) -> Iterator[str]:
        """Reads that are left by the database's count, and that the last to come did not get."""
        last = [request for request in requests if request.action == "fetch"][-1:]
        stored = [self._stored[secret_id] for secret_id in given if secret_id in self._stored]
        if last and last[0].status == 404 and any(one.reads < limit for one in stored):
            yield f"{name} has reads left that nobody can have"

    def _impossible(self, name: str, requests: Sequence[Request], given: set[str]) -> Iterator[str]:
        """Answers that no order of what was acknowledged, and of what may have happened, explains."""
        first = next(request for request in requests if request.action == "create")
        stored = self._stored.get(min(given))
        if stored is None:
            yield f"{name} was acknowledged and is not in the database"
            return
        operations = [*self._operations(requests), _observation(stored)]
        if not is_possible(operations, Life((first.body["secret"],))):
            yield f"what is known of {name} cannot have happened"

    def _operations(self, requests: Sequence[Request]) -> Iterator[Operation]:
        for request in requests:
            if request.action == "create":
                continue
            step = step_of(request)
            if not request.failed:
                yield Operation(request.sent, request.answered, step)
            elif request.action in _CHANGES and self._took_effect(request):
                yield Operation(request.sent, request.answered, step, required=False)


def _observation(stored: Stored) -> Operation:
    """Return what the database shows when all is over."""

    def seen(life: Life) -> Life | None:
        return life if (life.version, life.deleted) == (stored.version, stored.deleted) else None

    return Operation(float("inf"), float("inf"), seen)


def _read_too_often(name: str, requests: Sequence[Request], limit: int) -> Iterator[str]:
    reads = sum(_is(request, "fetch") for request in requests)
    if reads > limit:
        yield f"{name} gave its value {reads} times, and may {limit} times"


def _swapped(request: Request, writers: Mapping[str, str]) -> Iterator[str]:
    if _is(request, "fetch") and writers.get(request.reply["secret"]) != request.secret:
        yield f"{_name(request)} was answered with a value that was never {request.secret}'s"


def _leaked(request: Request) -> Iterator[str]:
    if not request.succeeded and any(mark in request.text for mark in _MARKS):
        yield f"{_name(request)} was answered {request.status} with a value"


def _unexpected(request: Request) -> Iterator[str]:
    if request.status not in _EXPECTED:
        yield f"{_name(request)} was answered {request.status}"
    if request.status > 0 and not _is_json(request.text):
        yield f"{_name(request)} was answered {request.status} without JSON"


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _is(request: Request, action: str) -> bool:
    return request.action == action and request.succeeded


def _name(request: Request) -> str:
    return f"{request.action} {request.id} of {request.secret}"


def outcomes(history: History) -> Counter[str]:
    """Return how many requests were answered, refused with 503, lost, and not even sent."""
    names = {UNAVAILABLE: "refused", UNKNOWN: "unknown", NOT_SENT: "not sent"}
    return Counter(names.get(request.status, "answered") for request in history)
