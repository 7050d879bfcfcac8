"""The follower: after a rotation at the source, it restarts the services that hold the former password."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from time import sleep
from typing import NoReturn

from vault.clients.swarm.engine import Engine, EngineUnavailableError, SwarmService
from vault.clients.swarm.rotation.holders import Holder, Holders, order, services_of
from vault.clients.swarm.rotation.lock import RotationLock
from vault.clients.swarm.rotation.restarts import POLL_SECONDS, Progress, Restarts, UnhealthyError
from vault.clients.swarm.stored import Secret, Service, Stored
from vault.common.errors import ServiceUnavailableError, VaultError


class Follower:
    """Follows the rotations of secrets that the driver with the same token delivered in this swarm."""

    def __init__(
        self,
        service: Service,
        engine: Engine,
        *,
        progress: Progress,
        timeout_seconds: float,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Follow the rotations of *service*, with *timeout_seconds* for each restarted service."""
        self._service = service
        self._engine = engine
        self._holders = Holders(engine, Stored(service))
        self._progress = progress
        self._timeout_seconds = timeout_seconds
        self._poll_seconds = poll_seconds
        #: The versions with which services did not become healthy: another restart could end more tasks.
        self._failed: set[tuple[str, int, str]] = set()
        #: By secret, the tasks without a recorded delivery, which may have any version.
        self._unknown: dict[str, AbstractSet[str]] = {}
        self._reported: set[str] = set()

    def run(self, interval_seconds: float) -> NoReturn:
        """Look for rotations repeatedly.

        Raises:
            ServiceRefusedError: The service does not let the token ask for rotations.
        """
        while True:
            try:
                self.act()
            except (EngineUnavailableError, ServiceUnavailableError) as error:
                self._report("waiting", str(error))
            sleep(interval_seconds)

    def act(self) -> None:
        """Look once: act on each rotation that waits. Raises the errors of the service's calls."""
        rotations = self._service.call("/vault/rotation/waiting", {})["rotations"]
        if not rotations:
            self._reported.clear()
        secrets = [
            Secret(name=rotation["name"], id=rotation["secret_id"], version=rotation["version"])
            for rotation in rotations
        ]
        self._forget_except(secrets)
        for secret, rotation in zip(secrets, rotations, strict=True):
            try:
                self._restart_holders(secret)
                self._release(secret, frozenset(rotation["tasks"]))
            except VaultError as error:
                # The other rotations go on.
                self._report("waiting", f"{secret.name}: {error}")

    def _forget_except(self, secrets: Sequence[Secret]) -> None:
        """Forget all rotations that no longer wait: a follower runs for months."""
        waiting = {(secret.id, secret.version) for secret in secrets}
        self._failed = {failed for failed in self._failed if failed[:2] in waiting}
        ids = {secret.id for secret in secrets}
        self._unknown = {secret_id: tasks for secret_id, tasks in self._unknown.items() if secret_id in ids}

    def _restart_holders(self, secret: Secret) -> None:
        """Restart the services that hold an earlier version, one after another."""
        seen: set[str] = set()
        if not self._left(secret, seen):
            return
        with (lock := RotationLock(self._engine, secret.name)).held():
            restarts = Restarts(
                secret=secret,
                engine=self._engine,
                known=self._holders,
                lock=lock,
                progress=self._progress,
                timeout_seconds=self._timeout_seconds,
                poll_seconds=self._poll_seconds,
            )
            while left := self._left(secret, seen):
                service = min(left, key=order)
                seen.add(service.id)
                if reason := restarts.unsettled(service):
                    self._report("left_alone", f"{service.name}: left alone for now: {reason}")
                    continue
                try:
                    restarts.run(service, secret.version)
                except UnhealthyError as error:
                    self._failed.add((secret.id, secret.version, service.id))
                    self._report("unhealthy", f"{error}; not restarting it again for this version")

    def _left(self, secret: Secret, seen: AbstractSet[str]) -> Sequence[SwarmService]:
        """Return the services to restart that are not in *seen*, and have not failed before."""
        found = services_of(self._running(secret), lambda holder: (holder.version or 0) < secret.version)
        return [
            service
            for service in found.values()
            if service.id not in seen and (secret.id, secret.version, service.id) not in self._failed
        ]

    def _running(self, secret: Secret) -> Sequence[Holder]:
        """Return the running tasks that have *secret*, and note those without a recorded delivery."""
        found = self._holders.of(secret)
        running = {holder.task.id for holder in found}
        unknown = {holder.task.id for holder in found if holder.version is None}
        self._unknown[secret.id] = (self._unknown.get(secret.id, frozenset()) - running) | unknown
        for holder in found:
            if holder.left_alone and (holder.version or 0) < secret.version:
                self._report("left_alone", f"{holder.task.service.name}: left alone: {holder.left_alone}")
        return found

    def _release(self, secret: Secret, tasks: AbstractSet[str]) -> None:
        """Report to the service that *tasks* have ended, if they and those with an unknown version have."""
        self._running(secret)
        living = self._engine.living()
        self._unknown[secret.id] &= living
        # A task that Docker stops can log in until it has ended.
        if living & (tasks | self._unknown[secret.id]):
            return
        body = {"name": secret.name, "version": secret.version, "tasks": sorted(tasks)}
        self._service.call("/vault/rotation/release", body)
        self._progress(
            "released",
            f"{secret.name}: no task has a version before {secret.version}",
            name=secret.name,
            version=secret.version,
        )

    def _report(self, event: str, text: str) -> None:
        """Report a step once, until no rotation waits."""
        if text not in self._reported:
            self._reported.add(text)
            self._progress(event, text)
