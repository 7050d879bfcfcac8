"""Restarts of services, each until all of its tasks are healthy with a version of a secret."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from time import monotonic, sleep
from typing import Protocol, TypeVar

from vault.clients.swarm.engine import Engine, EngineError, EngineUnavailableError, SwarmService, Task
from vault.clients.swarm.rotation.holders import Holder, Holders
from vault.clients.swarm.rotation.lock import RotationLock
from vault.clients.swarm.stored import Secret
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError, VaultError

#: Seconds between two looks at a service that restarts.
POLL_SECONDS = 0.5

#: Docker's states of an update that does not continue.
_FAILED_UPDATES = frozenset({"paused", "rollback_started", "rollback_paused", "rollback_completed"})

#: States in which a restart would continue another update, maybe a bad one.
_UNSETTLED_UPDATES = frozenset({"updating", "paused", "rollback_started", "rollback_paused"})

#: Docker refuses an update of what has changed since it was read, as when tasks of a service come and go.
_MAX_ATTEMPTS = 10

Result = TypeVar("Result")


class UnhealthyError(VaultError):
    """A service did not become healthy with a version; the message says why."""

    kind = "rotation_unhealthy"


class SupersededError(VaultError):
    """Someone else stored a later version than the rotation's."""

    kind = "rotation_superseded"

    def __init__(self, version: int) -> None:
        super().__init__(f"someone else stored a version after version {version}")


class Progress(Protocol):
    """A listener to the steps of a rotation."""

    def __call__(self, event: str, text: str, **data: object) -> None:
        """Take a step: its name and *data* for programs, and its *text* for people."""


@dataclass(slots=True, kw_only=True)
class Restarts:
    """Restarts for *secret* while *lock* is held, with *timeout_seconds* for each service.

    All methods raise the errors of `Engine`, of the service's calls, and of `RotationLock.renew`. `run` and
    `retried` raise those of an unavailable Docker or service only after the timeout.
    """

    secret: Secret
    engine: Engine
    known: Holders
    lock: RotationLock
    progress: Progress
    timeout_seconds: float
    poll_seconds: float

    def run(self, service: SwarmService, version: int) -> bool:
        """Restart *service*, and return once its tasks are healthy and have *version* by the trail.

        Returns:
            False if it was removed meanwhile.

        Raises:
            UnhealthyError: They do not become so, or Docker gives up.
            SupersededError: A task got a later version.
        """
        name = service.name
        self.progress("restarting", f"{name}: restarting", service=name)
        self._restart(service)
        end = monotonic() + self.timeout_seconds
        while current := self.retried(partial(self.engine.service, service.id)):
            if not (reason := self.retried(partial(self._unfinished, current, version))):
                self.progress(
                    "healthy", f"{name}: healthy with version {version}", service=name, version=version
                )
                return True
            if monotonic() > end:
                raise UnhealthyError(
                    f"{name} did not become healthy within {self.timeout_seconds:.0f} s: {reason}"
                )
            sleep(self.poll_seconds)
        self.progress("removed", f"{name}: removed meanwhile", service=name)
        return False

    def unsettled(self, service: SwarmService) -> str:
        """Return what keeps a restart of *service* from ending well; empty if nothing does."""
        if service.update_state in _UNSETTLED_UPDATES:
            return f"its update is {service.update_state}"
        return _missing(service, self.engine.tasks(service.id))

    def holders(self, version: int, service_id: str = "") -> Sequence[Holder]:
        """Return the holders of the secret, all or of a service, while *version* is the newest delivered.

        Raises:
            SupersededError: One of them got a later version.
        """
        found = self.known.of(self.secret, service_id)
        if any((holder.version or 0) > version and not holder.is_pinned for holder in found):
            raise SupersededError(version)
        return found

    def _restart(self, service: SwarmService) -> None:
        for _ in range(_MAX_ATTEMPTS):
            if self.retried(lambda: self.engine.restart(service.id)):
                return
        raise EngineError(f"Docker refuses to restart {service.name}, which changes all the time")

    def retried(self, call: Callable[[], Result]) -> Result:
        """Return the result of *call*, repeated while Docker or the service is unavailable or limits it."""
        end = monotonic() + self.timeout_seconds
        is_reported = False
        while True:
            try:
                self.lock.renew()
                return call()
            except (ServiceUnavailableError, EngineUnavailableError, ServiceRefusedError) as error:
                is_final = (
                    isinstance(error, ServiceRefusedError) and error.status != HTTPStatus.TOO_MANY_REQUESTS
                )
                if is_final or monotonic() > end:
                    raise
                if not is_reported:
                    self.progress("waiting", f"{error}; waiting for up to {self.timeout_seconds:.0f} s")
                is_reported = True
            sleep(self.poll_seconds)

    def _unfinished(self, service: SwarmService, version: int) -> str:
        """Return what a restarted service still lacks; nothing once it is healthy with *version*."""
        if service.update_state in _FAILED_UPDATES:
            raise UnhealthyError(
                f"the update of {service.name} is {service.update_state}: {service.update_message}"
            )
        tasks = self.engine.tasks(service.id)
        # Without a task to replace, Docker sets no state: a service of no replicas or of no node.
        if service.update_state != "completed" and (tasks or service.update_state):
            return "its update is not completed"
        if missing := _missing(service, tasks):
            return missing
        late = [
            holder
            for holder in self.holders(version, service.id)
            if not holder.is_pinned and holder.version != version
        ]
        if late:
            return f"{len(late)} of {len(tasks)} tasks have no delivery of version {version} on record"
        return ""


def _missing(service: SwarmService, tasks: Sequence[Task]) -> str:
    """Return how many of the wanted tasks run; nothing if all do."""
    running = sum(task.is_running for task in tasks)
    wanted = len(tasks) if service.replicas is None else service.replicas
    return f"{running} of {wanted} tasks run" if running < max(wanted, len(tasks)) else ""
