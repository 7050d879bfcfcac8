"""Restarts of services, each until all of its tasks are healthy with a version of a secret."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic, sleep
from typing import Protocol, TypeVar

from vault.core.errors import ServiceAwayError, ServiceRefusedError, VaultError
from vault.swarm.engine import Engine, EngineAwayError, SwarmService
from vault.swarm.holders import Holders
from vault.swarm.rotation_lock import RotationLock
from vault.swarm.stored import Secret

_POLL_SECONDS = 0.5

#: Docker's states of an update that does not go on.
_FAILED_UPDATES = frozenset({"paused", "rollback_started", "rollback_paused", "rollback_completed"})

_TOO_MANY_REQUESTS = 429

Result = TypeVar("Result")


class UnhealthyError(VaultError):
    """A service did not become healthy with a version; the message says why."""

    kind = "rotation_unhealthy"


class Progress(Protocol):
    """A listener to the steps of a rotation."""

    def __call__(self, event: str, text: str, **data: object) -> None:
        """Take a step: its name and *data* for programs, and its *text* for people."""


class Restarts:
    """Restarts for *secret* while *lock* is held, with *timeout_seconds* for each service."""

    def __init__(
        self,
        secret: Secret,
        *,
        engine: Engine,
        holders: Holders,
        lock: RotationLock,
        progress: Progress,
        timeout_seconds: float,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        self._secret = secret
        self._engine = engine
        self._holders = holders
        self._lock = lock
        self._progress = progress
        self._timeout_seconds = timeout_seconds
        self._poll_seconds = poll_seconds

    def run(self, service: SwarmService, version: int) -> None:
        """Restart *service*, and return once its tasks are healthy and have *version* by the trail.

        Raises:
            UnhealthyError: They do not become so, or Docker gives up.
            LockLostError: Another rotation has taken over.
            EngineError: Docker refuses, or is away for longer than the timeout.
            ServiceRefusedError: The service refuses.
            ServiceAwayError: It is away for longer than the timeout.
        """
        self._progress("restarting", f"{service.name}: restarting", service=service.name)
        self.patiently(lambda: self._engine.restart(service.id))
        end = monotonic() + self._timeout_seconds
        while reason := self.patiently(lambda: self._unfinished(service.id, version)):
            if monotonic() > end:
                raise UnhealthyError(
                    f"{service.name} did not become healthy within {self._timeout_seconds:.0f} s: {reason}"
                )
            sleep(self._poll_seconds)
        self._progress(
            "healthy",
            f"{service.name}: healthy with version {version}",
            service=service.name,
            version=version,
        )

    def patiently(self, call: Callable[[], Result]) -> Result:
        """Return the result of *call*, repeated while Docker or the service is away or limits the rate.

        Raises:
            LockLostError: Another rotation has taken over.
            EngineAwayError: Docker is away for longer than the timeout.
            ServiceAwayError: The service is away for longer than the timeout.

        Also raises the other errors of *call*.
        """
        end = monotonic() + self._timeout_seconds
        is_told = False
        while True:
            self._lock.renew()
            try:
                return call()
            except (ServiceAwayError, EngineAwayError, ServiceRefusedError) as error:
                is_final = isinstance(error, ServiceRefusedError) and error.status != _TOO_MANY_REQUESTS
                if is_final or monotonic() > end:
                    raise
                if not is_told:
                    self._progress("waiting", f"{error}; waiting for up to {self._timeout_seconds:.0f} s")
                is_told = True
            sleep(self._poll_seconds)

    def _unfinished(self, service_id: str, version: int) -> str:
        """Return what a restarted service still lacks; nothing once it is healthy with *version*."""
        service = self._engine.service(service_id)
        if not service:
            return ""
        if service.update_state in _FAILED_UPDATES:
            raise UnhealthyError(
                f"the update of {service.name} is {service.update_state}: {service.update_message}"
            )
        tasks = self._engine.tasks(service_id)
        # Of a service without tasks, Docker does not update the state.
        if tasks and service.update_state != "completed":
            return "its update is not completed"
        running = sum(task.is_running for task in tasks)
        wanted = len(tasks) if service.replicas is None else service.replicas
        if running < wanted or running < len(tasks):
            return f"{running} of {wanted} tasks run"
        late = [
            holder
            for holder in self._holders.of(self._secret, service_id)
            if not holder.is_pinned and holder.version != version
        ]
        return (
            f"{len(late)} of {running} tasks have no delivery of version {version} on record" if late else ""
        )
