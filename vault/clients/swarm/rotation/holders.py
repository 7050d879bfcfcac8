"""Holders: the running tasks that have a secret, and the version that each of them got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import timedelta

from vault.clients.delivery.selection import Selection
from vault.clients.swarm.engine import Engine, SwarmService, Task
from vault.clients.swarm.stored import Secret, Stored

#: The label of a service that is restarted before others, and its value.
_ORDER_LABEL, _FIRST = "secret-manager.rotation", "first"

#: The maximum difference between the clocks of the managers and of the service.
_MAX_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A task that has the secret."""

    task: Task
    #: The versions that were delivered to it, the earliest first.
    delivered: Sequence[int]
    #: The labels of Docker's secrets by which it has the secret.
    secrets: Sequence[Selection]

    @property
    def is_pinned(self) -> bool:
        """True if its labels name the version."""
        return all(selected.reference.version for selected in self.secrets)

    @property
    def left_alone(self) -> str:
        """The reason why a rotation does not restart its service; empty if it does."""
        if self.is_pinned:
            return "its labels name the version"
        return "it is a job" if self.task.service.is_job else ""

    @property
    def version(self) -> int | None:
        """The version that it got; the lowest of several. None if no delivery is on record.

        A manager asks again for the secrets of running tasks, as when the swarm's leader changes: files of a
        running task stay as they are, so later deliveries do not matter.
        """
        got = list(self.delivered[: len(self.secrets)])
        if not self.is_pinned:
            for selected in self.secrets:
                if selected.reference.version in got:
                    got.remove(selected.reference.version)
        return min(got, default=None)


class Holders:
    """The holders of secrets, from the trail and Docker's tasks."""

    def __init__(self, engine: Engine, stored: Stored) -> None:
        self._engine = engine
        self._stored = stored
        #: Deliveries by secret and task, once all files of the task have theirs, or it runs with what it has:
        #: later ones do not matter. The former are on record before the task runs.
        self._known: dict[tuple[str, str], Sequence[int]] = {}

    def of(self, secret: Secret, service_id: str = "") -> Sequence[Holder]:
        """Return the holders of *secret* among the tasks that Docker keeps running, all or of a service.

        Raises the errors of `Engine` and of the service's calls.
        """
        kept = self._engine.tasks(service_id)
        if not service_id:
            self._forget_except({task.id for task in kept})
        tasks = [(task, found) for task in kept if (found := _of(secret, task))]
        if new := [task for task, _ in tasks if (secret.id, task.id) not in self._known]:
            since = min(task.created_at for task in new) - _MAX_SKEW
            delivered = self._stored.deliveries(secret, since)
        else:
            delivered = {}
        holders = []
        for task, found in tasks:
            key = (secret.id, task.id)
            got = self._known[key] if key in self._known else delivered.get(task.id, ())
            if len(got) >= len(found) or task.is_running:
                self._known[key] = got
            holders.append(Holder(task=task, delivered=got, secrets=found))
        return sorted(
            holders, key=lambda holder: (holder.task.service.name, holder.task.name, holder.task.id)
        )

    def _forget_except(self, task_ids: AbstractSet[str]) -> None:
        self._known = {key: got for key, got in self._known.items() if key[1] in task_ids}


def _of(secret: Secret, task: Task) -> Sequence[Selection]:
    return [
        selected
        for selected in task.secrets
        if secret.name == selected.reference.name or secret.id == selected.reference.secret_id
    ]


def services_of(holders: Sequence[Holder], is_wanted: Callable[[Holder], bool]) -> dict[str, SwarmService]:
    """Return the services to restart that have a holder that *is_wanted*, by ID."""
    return {
        holder.task.service.id: holder.task.service
        for holder in holders
        if not holder.left_alone and is_wanted(holder)
    }


def order(service: SwarmService) -> tuple[bool, str]:
    """Return the place of *service* among those to restart."""
    return service.labels.get(_ORDER_LABEL) != _FIRST, service.name
