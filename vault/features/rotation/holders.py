"""The trail about a rotation: who holds a former password, the release of their tasks, and publications."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple, Self

from pymongo import timeout

from vault.common import deadline
from vault.common.errors import StorageUnavailableError
from vault.common.outcomes import Status
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Action, Attempt
from vault.core.documents.guard import storage_errors
from vault.core.principal import OPERATOR, SERVICE, Principal
from vault.core.secrets import reach
from vault.core.trail.expressions import is_type, text_at
from vault.core.trail.reader import SETTLED_SECONDS, earliest_id
from vault.core.trail.streams.collection import collection
from vault.core.trail.values import NO_VALUES, SAFE, SUCCESS, fields
from vault.features.rotation.documents import Rotation, Step
from vault.features.rotation.errors import RotationNotFoundError

#: The maximum number of holders that are named.
MAX_HOLDERS = 100
#: Stands for holders that the trail may not have.
UNKNOWN = "(unknown)"

#: Seconds of a search, which reads all entries about a secret. The lease of a run is longer.
MAX_SEARCH_SECONDS = 10

#: Includes fetches of wrapped values, because the person who unwraps one is not known yet. Everyone who
#: knows a value is a holder, and a wrapped value never counts as replaced.
_READS: dict[str, Any] = {**SUCCESS, "action": {"$in": [Action.FETCH, Action.CREATE, Action.UPDATE]}}
#: Who creates a plan does not get the value to use it.
_CREATES_PLAN = {"action": Action.FETCH, "details.rotation": True}
#: A task keeps its first value: a manager asks again for the secrets of running tasks, whose files stay.
_OLDEST = {"$cond": [is_type("$_id.task", "string"), "$oldest", "$newest"]}
#: Before one of these entries, some can be missing: while auditing was off, or after the backup.
_GAPS = [Action.AUDIT_DISABLED, Action.AUDIT_ENABLED, Action.BACKUP_RESTORE]


@dataclass(frozen=True, slots=True)
class Former:
    """The values of a secret before *version*, since a time; None stands for all."""

    secret_id: str
    version: int
    since: datetime | None

    @classmethod
    def of(cls, plan: Rotation) -> Self:
        """Return the values before the last publication of *plan*, whose users can log in."""
        return cls(plan.secret_id, plan.version, plan.before_at)

    def query(self) -> dict[str, Any]:
        """Return the condition for entries about it."""
        return {**SUCCESS, "secret_id": self.secret_id, **self.time()}

    def time(self) -> dict[str, Any]:
        """Return the condition for entries since it was published."""
        if self.since is None:
            return {}
        return {"_id": {"$gte": earliest_id(self.since - timedelta(seconds=SETTLED_SECONDS))}}


@dataclass(frozen=True, slots=True)
class Holders:
    """The principals that may still use a former password, by the trail."""

    #: For how long it keeps its entries; 0 stands for ever, and None for no trail, by which no one knows.
    retention_days: int | None

    def of(self, former: Former, now: datetime) -> Sequence[str]:
        """Return the holders of a *former* value, at this time by MongoDB's clock; `UNKNOWN` can be one.

        Also if MongoDB does not answer in time.
        """
        if self.retention_days is None:
            return [UNKNOWN]
        try:
            missing = [UNKNOWN] if _has_gap(former, now, self.retention_days) else []
            return [*holders(former), *missing]
        except StorageUnavailableError:
            return [UNKNOWN]

    def is_published(self, plan: Rotation) -> bool:
        """Return whether the trail has the publication of the new version of *plan*, or of a later one.

        Raises as `holders`.
        """
        if self.retention_days is None:
            return False
        # Not before the publication that the plan knows of.
        earlier = Former(plan.secret_id, plan.version, plan.since_at or plan.created_at)
        done = {"action": Action.ROTATION_DONE, "details.version": {"$gte": plan.version}}
        with _search():
            return collection().find_one(earlier.query() | done, {"_id": True}) is not None


def _has_gap(former: Former, now: datetime, days: int) -> bool:
    """Return whether the trail, of these *days*, may lack entries since *former* was published."""
    if days and (former.since is None or former.since < now - timedelta(days=days)):
        return True
    # By an index: these entries have no secret.
    gap = {"principal": OPERATOR.name, "secret_id": None, "action": {"$in": _GAPS}}
    with storage_errors():
        return collection().find_one({**gap, **former.time()}, {"_id": True}) is not None


def holders(former: Former) -> Sequence[str]:
    """Return the principals that got a *former* value, and not a later one.

    A principal at another address or with another program is another holder: each process has a value of its
    own. So is each task of Docker Swarm, until the principal that delivered its value has released it. Raises
    `StorageUnavailableError`, also if MongoDB needs more than `MAX_SEARCH_SECONDS`.
    """
    return sorted({holder.principal for holder in _unreleased(former)})[:MAX_HOLDERS]


def tasks_of(former: Former, principal: str) -> Sequence[str]:
    """Return the IDs of tasks of services that hold a *former* value from *principal*, up to `MAX_HOLDERS`.

    A unit of systemd has no service ID: no one can ask Docker whether it has ended. Errors as `holders`.
    """
    found = {
        holder.task
        for holder in _unreleased(former)
        if holder.principal == principal and holder.task is not None and holder.is_of_service
    }
    return sorted(found)[:MAX_HOLDERS]


@contextmanager
def _search() -> Iterator[None]:
    """Limit the time of a search."""
    seconds = min(MAX_SEARCH_SECONDS, max(deadline.remaining(), 1))
    with storage_errors(), timeout(seconds):
        yield


class _Holder(NamedTuple):
    """A principal that holds a value, with the ID of its task if it is for one."""

    principal: str
    task: str | None
    is_of_service: bool


def _unreleased(former: Former) -> Iterator[_Holder]:
    """Yield the holders of a *former* value."""
    with _search():
        # First: a task that ends later is a holder until the next look.
        released = set(_released(former))
        rows = list(_rows(former))
    for row in rows:
        holder = _Holder(row["principal"], row.get("task"), row["is_of_service"])
        if (holder.principal, holder.task) not in released:
            yield holder


def _released(former: Former) -> Iterator[tuple[str, str]]:
    query = {**former.query(), "action": Action.ROTATION_RELEASE, "details.version": former.version}
    for entry in collection().find(query, {"principal": True, "details.tasks": True}):
        # An attacker may have stored other types.
        details = entry.get("details")
        ids = details.get("tasks") if isinstance(details, dict) else None
        for task in ids if isinstance(ids, list) else ():
            yield str(entry.get("principal")), str(task)


def _rows(former: Former) -> Iterator[dict[str, Any]]:
    query = {**former.query(), **_READS, "$nor": [*NO_VALUES, _CREATES_PLAN]}
    query["principal"] = {"$ne": SERVICE.name}
    origin = {name: f"${name}" for name in ("ip", "ua")}
    place = {**origin, "task": text_at("$details.delivery.task_id"), "wrapped": "$details.wrapped"}
    is_of_service = is_type("$details.delivery.service_id", "string")
    version = {"$cond": [{"$eq": ["$_id.wrapped", True]}, 0, _OLDEST]}
    yield from collection().aggregate(
        [
            {"$match": query},
            {"$project": fields("$", "$") | place | {"is_of_service": is_of_service}},
            {"$unwind": "$version"},
            {"$match": SAFE},
            {
                "$group": {
                    "_id": {name: f"${name}" for name in ("principal", *place)},
                    "newest": {"$max": "$version"},
                    "oldest": {"$min": "$version"},
                    "is_of_service": {"$max": "$is_of_service"},
                }
            },
            {"$match": {"$expr": {"$lt": [version, former.version]}}},
            {
                "$group": {
                    "_id": {"principal": "$_id.principal", "task": "$_id.task"},
                    "is_of_service": {"$max": "$is_of_service"},
                }
            },
            {"$replaceRoot": {"newRoot": {"$mergeObjects": ["$_id", {"is_of_service": "$is_of_service"}]}}},
        ],
        allowDiskUse=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """A published rotation that waits for tasks."""

    name: str
    secret_id: str = field(repr=False)
    #: The version with the new password.
    version: int
    #: The IDs of tasks with an earlier version: if there are many, the first ones.
    tasks: Sequence[str]


class HoldingTasks:
    """The tasks that hold a former password. Both methods raise `StorageUnavailableError`, as `Rotations`."""

    def __init__(self, keys: TokenKeys) -> None:
        self._keys = keys

    def waiting(self, *, attempt: Attempt) -> list[Waiting]:
        """Return the rotations that wait for tasks to which the principal delivered a former password."""
        principal = attempt.principal
        found = [
            Waiting(name=plan.name, secret_id=plan.secret_id, version=plan.version, tasks=tasks)
            for plan in self._published(principal)
            if (tasks := tasks_of(Former.of(plan), principal.name))
        ]
        attempt.finish(Status.SUCCESS)
        return found

    def release(self, name: str, version: int, tasks: Sequence[str], *, attempt: Attempt) -> None:
        """Put on record that *tasks* have ended: they hold the rotation to *version* up no longer.

        Only tasks to which the principal delivered the value matter.

        Raises:
            RotationNotFoundError: No published rotation to that version is open, or the principal cannot
                reach the secret.
        """
        principal = attempt.principal
        reach.record(principal.namespace, name, attempt)
        found = [plan for plan in self._published(principal) if (plan.name, plan.version) == (name, version)]
        if not found:
            raise RotationNotFoundError
        attempt.secret_id = found[0].secret_id
        attempt.success_details |= {"version": version, "tasks": list(tasks)}
        attempt.finish(Status.SUCCESS)

    def _published(self, principal: Principal) -> list[Rotation]:
        """Return the plans within reach whose former password is open."""
        key = self._keys.find()
        with storage_errors():
            documents = Rotation.in_namespace(principal.namespace)
        plans = [plan for document in documents if (plan := Rotation.genuine(document, key))]
        published = [
            plan
            for plan in plans
            if plan.step == Step.PUBLISHED and principal.reaches(plan.namespace, plan.name)
        ]
        return sorted(published, key=lambda plan: str(plan.name))
