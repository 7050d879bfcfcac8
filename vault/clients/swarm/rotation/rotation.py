"""Rotation: a new version of a secret, and restarts of the services that have an older one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import NoReturn

from vault.clients.delivery.outcomes import UnsuitableValueError
from vault.clients.delivery.values import content
from vault.clients.swarm.engine import Engine, SwarmService
from vault.clients.swarm.rotation.holders import Holder, Holders, order, services_of
from vault.clients.swarm.rotation.lock import LockedService, RotationLock
from vault.clients.swarm.rotation.restarts import (
    POLL_SECONDS,
    Progress,
    Restarts,
    SupersededError,
    UnhealthyError,
)
from vault.clients.swarm.rotation.state import Phase, RotationState
from vault.clients.swarm.stored import Service, Stored
from vault.common.errors import ServiceRefusedError, VaultError

#: The code of a refusal because the newest version is not the expected one.
_CONFLICT = "version_conflict"


class RotationRefusedError(VaultError):
    """A rotation cannot begin; nothing was changed."""

    kind = "rotation_refused"


class RotationFailedError(VaultError):
    """A rotation did not reach its end; the message says what is in effect now."""

    kind = "rotation_failed"


class Rotation:
    """A rotation of one secret."""

    def __init__(
        self,
        name: str,
        *,
        service: Service,
        engine: Engine,
        lock: RotationLock,
        progress: Progress,
        timeout_seconds: float,
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        """Rotate the secret *name* of *service* as it is now, while *lock* is held.

        Raises:
            NoValueError: It has no version yet.

        Also raises the errors of a call of the service.
        """
        self._stored = Stored(LockedService(service, lock))
        self._secret = secret = self._stored.describe(name)
        self._holders = Holders(engine, self._stored)
        self._restarts = Restarts(
            secret=secret,
            engine=engine,
            known=self._holders,
            lock=lock,
            progress=progress,
            timeout_seconds=timeout_seconds,
            poll_seconds=poll_seconds,
        )
        self._progress = progress
        self._state = RotationState(name=secret.name, version=secret.version)
        #: The services that were restarted for the version, or are being restarted, by ID.
        self._done: dict[str, SwarmService] = {}

    @property
    def restarted(self) -> Sequence[str]:
        """The names of the services that were restarted and are healthy."""
        return sorted(self._state.healthy)

    def run(self, value: bytes) -> int:
        """Store *value* as the newest version, and restart the services that have an older one.

        Returns:
            The number of that version.

        Raises:
            RotationFailedError: It did not reach its end: the old value is in effect again, or the message
                says what is.

        After every other error, nothing was changed.
        """
        old, holders = self._require_suitable(value)
        self._require_newest(old, holders)
        self._require_settled(holders)
        self._state.before = self._secret.version
        with self._stating():
            self._store(value)
            try:
                self._bring_newest()
            except UnhealthyError as error:
                self._roll_back(error, old)
        return self._state.version

    def go_back(self, version: int) -> int:
        """Store the value of an earlier *version* as `run` does, also if services are not settled.

        Returns:
            The number of the new version.

        Raises:
            RotationFailedError: It did not reach its end. Nothing is rolled back: the version before is the
                one that the caller leaves.
        """
        value = self._stored.value(self._secret, version)
        self._require_suitable(value)
        with self._stating():
            self._store(value)
            self._bring_newest()
        return self._state.version

    def resume(self) -> int:
        """Restart the services that have an older version than the newest, and return its number.

        Raises:
            RotationFailedError: It did not reach its end. Nothing is rolled back.
        """
        self._state.phase = Phase.STORED
        with self._stating():
            self._bring_newest()
        return self._state.version

    def _require_suitable(self, value: bytes) -> tuple[bytes, Sequence[Holder]]:
        """Require a new value that fits its holders; return the newest value, and the holders."""
        old = self._stored.value(self._secret, self._secret.version)
        holders = self._holders.of(self._secret)
        if value == old:
            raise RotationRefusedError(
                "the new value is the current one",
                hint="to restart services that have older ones, use --resume",
            )
        for holder in holders:
            for selected in holder.secrets:
                if selected.reference.version:
                    continue
                try:
                    content(value, selected)
                except UnsuitableValueError as error:
                    reason = f"the value does not fit {holder.task.service.name}: {error}"
                    raise RotationRefusedError(reason) from None
        return old, holders

    def _require_newest(self, old: bytes, holders: Sequence[Holder]) -> None:
        """Require that a rollback to *old*, the newest value, restores what services have."""
        names = {
            holder.version: holder.task.service.name
            for holder in holders
            if not holder.left_alone and holder.version not in (None, self._secret.version)
        }
        for version, name in names.items():
            if version and self._earlier_value(version) != old:
                raise RotationRefusedError(
                    f"nothing was changed: an earlier rotation is unfinished: {name} has version {version}, "
                    f"and version {self._secret.version} is the newest",
                    hint="rotate with --resume to finish it, or with --from-version N to go back",
                )

    def _earlier_value(self, version: int) -> bytes | None:
        try:
            return self._stored.value(self._secret, version)
        except ServiceRefusedError as error:
            if error.status == HTTPStatus.NOT_FOUND:
                return None
            raise

    def _require_settled(self, holders: Sequence[Holder]) -> None:
        services = services_of(holders, lambda _: True)
        for service in services.values():
            if reason := self._restarts.unsettled(service):
                raise RotationRefusedError(
                    f"nothing was changed: {service.name} is not settled: {reason}",
                    hint=f"see `docker service ps {service.name}`, fix it, then rotate again",
                )

    def _store(self, value: bytes) -> None:
        """Store *value*, also if the service becomes unavailable meanwhile."""
        state = self._state
        before, unasked = state.version, state.phase
        asked, stored = _STORING[unasked]

        def attempt() -> int:
            was_asked, state.phase = state.phase is asked, asked
            try:
                return self._stored.store(self._secret, value, expected_version=before)
            except ServiceRefusedError as error:
                # An earlier attempt may have stored it, and only its reply was lost.
                is_taken = was_asked and error.code == _CONFLICT
                if is_taken and self._stored.value(self._secret, before + 1) == value:
                    return before + 1
                if is_taken or not was_asked:
                    state.phase = unasked
                raise

        state.version = self._restarts.retried(attempt)
        state.phase, state.healthy, state.restarting = stored, [], ""
        self._done.clear()
        self._progress(
            "stored",
            f"version {state.version} of {self._secret.name} is stored",
            version=state.version,
        )

    def _bring_newest(self) -> None:
        """Restart all services that have an older version. Raises the errors of `Restarts.run`."""
        left_alone = {
            holder.task.service.name: holder.left_alone for holder in self._all_holders() if holder.left_alone
        }
        for name, reason in left_alone.items():
            self._progress("left_alone", f"{name}: left alone: {reason}", service=name, reason=reason)
        self._bring(
            lambda: services_of(self._all_holders(), lambda holder: holder.version != self._state.version)
        )

    def _bring(self, wanted: Callable[[], Mapping[str, SwarmService]]) -> None:
        """Restart the *wanted* services, one after another. They are asked for again before each restart."""
        while left := [service for service in wanted().values() if service.id not in self._done]:
            service = min(left, key=order)
            self._done[service.id] = service
            self._state.restarting = service.name
            if self._restarts.run(service, self._state.version):
                self._state.healthy.append(service.name)
            self._state.restarting = ""

    def _all_holders(self) -> Sequence[Holder]:
        return self._restarts.retried(lambda: self._restarts.holders(self._state.version))

    def _roll_back(self, reason: UnhealthyError, old: bytes) -> NoReturn:
        """Make *old* the newest version, and restart the services that have the bad one.

        Raises:
            RotationFailedError: Always, with the outcome.
            SupersededError: Someone else stored a version, which stays.
        """
        state = self._state
        state.failures.append(str(reason))
        self._progress("rolling_back", f"{reason}; rolling back")
        bad, restarted = state.version, dict(self._done)
        try:
            self._store(old)
        except ServiceRefusedError as error:
            if error.code == _CONFLICT:
                raise SupersededError(bad) from None
            raise
        self._put_back(bad, restarted)
        outcome = f"{reason}. Rolled back: version {state.version} has the value of version {state.before}"
        if failures := state.failures[1:]:
            raise RotationFailedError(
                f"{outcome}, but {'; '.join(failures)}",
                hint=f"find out why, then run `secret-manager swarm rotate {self._secret.name} --resume`",
            )
        raise RotationFailedError(f"{outcome}, and all services that had version {bad} are healthy with it")

    def _put_back(self, bad: int, restarted: Mapping[str, SwarmService]) -> None:
        """Restart the services that may have the *bad* version, also if some are not healthy then.

        All tasks of a *restarted* service may have crashed: then it has no holder for a moment.
        """
        while True:
            try:
                self._bring(
                    lambda: {
                        **restarted,
                        **services_of(self._all_holders(), lambda holder: bad in holder.delivered),
                    }
                )
            except UnhealthyError as error:
                self._state.failures.append(str(error))
            else:
                return

    @contextmanager
    def _stating(self) -> Iterator[None]:
        """Add what is in effect to the error of the block.

        Raises:
            RotationFailedError: The block failed.
        """
        try:
            yield
        except RotationFailedError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, SupersededError):
                self._state.phase = Phase.SUPERSEDED
            if self._state.phase is Phase.BEGUN:
                raise
            raise RotationFailedError(self._state.text(_reason(error)), hint=self._state.hint()) from None


#: The phases while a value is being stored, and then, by the phase before.
_STORING = {
    Phase.BEGUN: (Phase.STORING, Phase.STORED),
    Phase.STORED: (Phase.STORING_OLD, Phase.BACK),
}


def _reason(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    # The message of another error can quote anything, also a value.
    return str(error) if isinstance(error, VaultError) else f"unexpected {type(error).__name__}"
