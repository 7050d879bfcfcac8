"""Compare the clients' observations with the database and the audit trail.

An outcome unknown to a client may be either, but every effect must have its entry: without one it has not
happened.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from math import inf

from tests.qa.faults import answers
from tests.qa.faults.evidence import Evidence, Findings, Stored
from tests.qa.faults.history import History, Request
from tests.qa.faults.linearize import Operation, is_possible
from tests.qa.faults.model import Life, step_of

_CHANGES = ("create", "put", "update", "delete", "restore")
#: Seconds that a read may be held for a failed request, and one for differing clocks.
_HELD = 31


def check(history: History, evidence: Evidence) -> Findings:
    """Return all violations."""
    findings = Findings()
    answers.check(history, evidence, findings)
    secrets: defaultdict[str, list[Request]] = defaultdict(list)
    for request in history:
        secrets[request.secret].append(request)
    for name, requests in secrets.items():
        if requests[0].is_by_name:
            findings.lost += _impossible_name(name, requests, evidence)
            continue
        given = {request.reply["secret_id"] for request in requests if request.did("create")}
        if given:
            _Secret(name, requests, given, evidence).check(findings)
    return findings


def _impossible_name(name: str, requests: Sequence[Request], evidence: Evidence) -> Iterator[str]:
    """No order of all clients' creates, writes and reads of *name* explains the answers and the database."""
    made = {
        entry.secret_id
        for request in requests
        for entry in evidence.entries_of(request)
        if entry.action in ("create", "update") and entry.status == "success"
    }
    stored = [evidence.stored[one] for one in made if one in evidence.stored]
    if len(stored) > 1:
        yield f"{name} has {len(stored)} secrets"
        return
    operations = [*_operations(requests, evidence), _observation(stored[0] if stored else Stored(version=0))]
    if not is_possible(operations, Life(())):
        yield f"the observations of {name} are impossible"


def _operations(requests: Sequence[Request], evidence: Evidence) -> Iterator[Operation]:
    for request in requests:
        if not request.failed:
            yield Operation(request.sent, request.answered, step_of(request))
        elif request.action in _CHANGES and evidence.may_have_happened(request):
            yield Operation(request.sent, request.answered, step_of(request), required=False)


class _Secret:
    """A secret, all *requests* for it, and the IDs that were *given* to clients."""

    def __init__(self, name: str, requests: Sequence[Request], given: set[str], evidence: Evidence) -> None:
        self._name = name
        self._requests = requests
        self._reads = [request for request in requests if request.action == "fetch"]
        self._given = given
        self._evidence = evidence

    def check(self, findings: Findings) -> None:
        """Add its violations to *findings*."""
        findings.duplicated += self._created_twice()
        if limit := self._requests[0].body.get("max_reads"):
            findings.duplicated += self._read_too_often(limit)
            findings.lost += self._reads_lost(limit)
            findings.lost += self._reads_kept(limit)
        else:
            findings.lost += self._impossible()

    def _created_twice(self) -> Iterator[str]:
        """More than one secret for one idempotency key."""
        if len(self._given) > 1:
            yield f"{self._name} was created with {len(self._given)} IDs for one key"
        made = {
            entry.secret_id
            for request in self._requests
            if request.action == "create" and request.key
            for entry in self._evidence.entries_of(request)
        }
        left = (made & set(self._evidence.stored)) - self._given
        if left:
            yield f"{self._name} exists {1 + len(left)} times for one key"

    def _read_too_often(self, limit: int) -> Iterator[str]:
        given = sum(read.succeeded for read in self._reads)
        if given > limit:
            yield f"{self._name} released its value {given} times; its limit is {limit}"

    def _reads_lost(self, limit: int) -> Iterator[str]:
        """It was not found, although it had fewer reads than allowed, even with unknown outcomes."""
        for refused in self._reads:
            if refused.status != 404:
                continue
            before = [read for read in self._reads if read.sent < refused.answered]
            used = sum(read.succeeded or self._may_count(read, refused) for read in before)
            if used < limit:
                yield f"{self._name} was not found after {used} of {limit} reads"
                return

    def _may_count(self, read: Request, later: Request) -> bool:
        is_held = later.sent < read.answered + _HELD
        return read.failed and (is_held or self._evidence.may_have_happened(read))

    def _reads_kept(self, limit: int) -> Iterator[str]:
        """It has reads left by the database's count, and the last readers did not get them."""
        stored = [self._evidence.stored[id_] for id_ in self._given if id_ in self._evidence.stored]
        is_refused = bool(self._reads) and self._reads[-1].status == 404
        if is_refused and any(one.reads < limit for one in stored):
            yield f"{self._name} has reads left that no client can use"

    def _impossible(self) -> Iterator[str]:
        """No order of acknowledged and possible operations explains all answers."""
        stored = self._evidence.stored.get(min(self._given))
        if stored is None:
            yield f"{self._name} was acknowledged and is not in the database"
            return
        # The first state is that after the create.
        later = [request for request in self._requests if request.action != "create"]
        operations = [*_operations(later, self._evidence), _observation(stored)]
        if not is_possible(operations, Life((self._requests[0].body["secret"],))):
            yield f"the observations of {self._name} are impossible"


def _observation(stored: Stored) -> Operation:
    """Return the final observation of the database."""

    def seen(life: Life) -> Life | None:
        return life if (life.version, life.deleted) == (stored.version, stored.deleted) else None

    return Operation(inf, inf, seen)
