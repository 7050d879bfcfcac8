"""The lock of a rotation: of all managers of a swarm, one at a time rotates a secret."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from time import monotonic
from typing import Any
from uuid import uuid4

from vault.clients.swarm.engine import ChangedError, Config, Engine, EngineError, EngineUnavailableError
from vault.clients.swarm.stored import Service
from vault.common.errors import VaultError
from vault.common.timestamps import moment

#: A lock that its owner does not renew, as it was killed, expires after this time.
_LEASE_SECONDS = 120
_RENEWAL_SECONDS = 20

_OWNER = "secret-manager.rotation.owner"
_NONCE = "secret-manager.rotation.nonce"
_SECRET = "secret-manager.rotation.secret"  # noqa: S105 - the name of a label
_UNTIL = "secret-manager.rotation.until"


class RotationRunningError(VaultError):
    """Another rotation of the secret runs."""

    kind = "rotation_running"


class LockLostError(VaultError):
    """The lock expired, and another rotation has it."""

    kind = "rotation_lock_lost"


class RotationLock:
    """The lock for rotations of the secret *name*.

    It is a config of Docker: names of configs are unique in a swarm, and a change of their labels fails if
    there was another one since they were read. Methods also raise the errors of `Engine`.
    """

    def __init__(self, engine: Engine, name: str, *, owner: str = "") -> None:
        """Make a lock that names *owner*, or this host and process, to others."""
        self._engine = engine
        self._name = name
        self._owner = owner or f"{socket.gethostname()}, process {os.getpid()}"
        self._config_name = f"secret-manager-rotation-{sha256(name.encode()).hexdigest()[:16]}"
        self._nonce = uuid4().hex
        self._renewed = 0.0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock during the block.

        Raises:
            RotationRunningError: Another rotation has it.
        """
        # Within, as the lock can be taken although the reply was lost.
        try:
            self._take()
            yield
        finally:
            self._release()

    def renew(self) -> None:
        """Extend the lock if it is time to do so.

        Raises:
            LockLostError: Another rotation has taken over.
            EngineUnavailableError: Docker does not answer, and another rotation may take over.
        """
        age = monotonic() - self._renewed
        if age < _RENEWAL_SECONDS:
            return
        try:
            self._extend()
        except EngineUnavailableError:
            if age > _LEASE_SECONDS:
                raise

    def _extend(self) -> None:
        config = self._mine()
        try:
            self._relabel(config)
        except ChangedError:
            # The reply of an earlier renewal was lost, if it is still ours.
            self._relabel(self._mine())

    def _take(self) -> None:
        started = monotonic()
        if self._engine.create_config(self._config_name, self._labels()):
            self._renewed = started
            return
        config = self._engine.config(self._config_name)
        if config and not _is_expired(config.labels):
            raise self._running(config.labels)
        try:
            if config:
                self._relabel(config)
                return
        except ChangedError:
            pass
        # It was released, or taken, at this moment.
        raise self._running({})

    def _release(self) -> None:
        # An expired one is the next one's to take.
        with suppress(EngineError, LockLostError):
            self._engine.remove_config(self._mine())

    def _mine(self) -> Config:
        config = self._engine.config(self._config_name)
        if not config or config.labels.get(_NONCE) != self._nonce:
            raise LockLostError(f"another rotation of {self._name} has taken over, as this one was held up")
        return config

    def _relabel(self, config: Config) -> None:
        started = monotonic()
        self._engine.relabel_config(self._config_name, config, self._labels())
        self._renewed = started

    def _labels(self) -> dict[str, str]:
        return {
            _OWNER: self._owner,
            _NONCE: self._nonce,
            _SECRET: self._name,
            _UNTIL: moment(datetime.now(UTC) + timedelta(seconds=_LEASE_SECONDS)),
        }

    def _running(self, labels: Mapping[str, str]) -> RotationRunningError:
        owner = f" ({labels[_OWNER]})" if _OWNER in labels else ""
        return RotationRunningError(
            f"another rotation of {self._name} is running{owner}",
            hint=f"wait until it ends; if it was killed, its lock expires within {_LEASE_SECONDS} s",
        )


class LockedService:
    """The service, called only while *lock* is held: each call of a long query extends it."""

    def __init__(self, service: Service, lock: RotationLock) -> None:
        self._service = service
        self._lock = lock

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post *body* to *path*, and return the reply. Also raises the errors of `RotationLock.renew`."""
        self._lock.renew()
        return self._service.call(path, body)


def _is_expired(labels: Mapping[str, str]) -> bool:
    try:
        return datetime.fromisoformat(labels[_UNTIL]) <= datetime.now(UTC)
    except (KeyError, ValueError):
        # Someone else made it.
        return False
