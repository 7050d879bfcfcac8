"""Rotation: a new version of a secret, and restarts of the services that have an older one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import NoReturn

from vault.core.errors import ServiceRefusedError, VaultError
from vault.swarm.engine import SwarmService
from vault.swarm.holders import Holder, Holders
from vault.swarm.outcomes import UnsuitableValueError
from vault.swarm.restarts import Progress, Restarts, UnhealthyError
from vault.swarm.stored import Secret, Stored
from vault.swarm.values import content

#: The label of a service that is restarted before others, and its value.
_ORDER_LABEL, _FIRST = "secret-manager.rotation", "first"

#: The code of a refusal because the newest version is not the expected one.
_CONFLICT = "version_conflict"


class RotationRefusedError(VaultError):
    """A rotation cannot begin; nothing was changed."""

    kind = "rotation_refused"


class RotationFailedError(VaultError):
    """A rotation did not reach its end; the message says what is in effect now."""

    kind = "rotation_failed"


class Rotation:
    """A rotation of *secret*."""

    def __init__(
        self, secret: Secret, *, stored: Stored, holders: Holders, restarts: Restarts, progress: Progress
    ) -> None:
        self._secret = secret
        self._stored = stored
        self._holders = holders
        self._restarts = restarts
        self._progress = progress
        #: The version that services are to get.
        self._version = secret.version
        #: True while a reply to a request to store it is due; then, once it is stored.
        self._is_asked = self._is_stored = False
        #: The services that got it, and the one that is getting it, by ID.
        self._healthy: dict[str, SwarmService] = {}
        self._restarting: dict[str, SwarmService] = {}

    @property
    def restarted(self) -> Sequence[str]:
        """The names of the services that were restarted and are healthy."""
        return sorted(service.name for service in self._healthy.values())

    def run(self, value: bytes) -> int:
        """Store *value* as the newest version, and restart the services that have an older one.

        Returns:
            The number of that version.

        Raises:
            RotationRefusedError: Nothing was changed.
            RotationFailedError: It did not reach its end: the old value is in effect again, or the message
                says what is.
            EngineError: Docker refuses, or does not answer; nothing was changed.
            ServiceRefusedError: The service refuses; nothing was changed.
            ServiceAwayError: The service is away; nothing was changed.
        """
        old = self._stored.value(self._secret, self._secret.version)
        self._require_suitable(value, old)
        with self._stating():
            self._store(value)
            self._report_left_alone()
            try:
                self._bring(self._is_older)
            except UnhealthyError as error:
                self._roll_back(error, old)
        return self._version

    def resume(self) -> int:
        """Restart the services that have an older version than the newest, and return its number.

        Raises:
            RotationFailedError: It did not reach its end. Nothing is rolled back.
        """
        self._is_stored = True
        with self._stating():
            self._report_left_alone()
            self._bring(self._is_older)
        return self._version

    def _require_suitable(self, value: bytes, old: bytes) -> None:
        if value == old:
            raise RotationRefusedError(
                "the new value is the current one; to restart services that have older ones, use --resume"
            )
        for holder in self._holders.of(self._secret):
            for selected in holder.secrets:
                try:
                    content(value, selected)
                except UnsuitableValueError as error:
                    reason = f"the value does not fit {holder.task.service.name}: {error}"
                    raise RotationRefusedError(reason) from None

    def _store(self, value: bytes) -> None:
        """Store *value*, also if the service goes away meanwhile."""
        before = self._version

        def attempt() -> int:
            was_asked, self._is_asked = self._is_asked, True
            try:
                return self._stored.store(self._secret, value, expected_version=before)
            except ServiceRefusedError as error:
                # An earlier attempt may have stored it, and only its reply was lost.
                is_taken = was_asked and error.code == _CONFLICT
                if is_taken and self._stored.value(self._secret, before + 1) == value:
                    return before + 1
                self._is_asked = was_asked and not is_taken
                raise

        self._version = self._restarts.patiently(attempt)
        self._is_asked, self._is_stored = False, True
        self._progress(
            "stored", f"version {self._version} of {self._secret.name} is stored", version=self._version
        )

    def _bring(
        self, is_wanted: Callable[[Holder], bool], also: Mapping[str, SwarmService] = MappingProxyType({})
    ) -> None:
        """Restart all services with a holder that *is_wanted*, and those that are *also* named, in turn.

        Raises:
            UnhealthyError: One of them does not become healthy.
        """
        while service := self._next(is_wanted, also):
            self._restarting = {service.id: service}
            self._restarts.run(service, self._version)
            self._healthy |= self._restarting
            self._restarting = {}

    def _next(
        self, is_wanted: Callable[[Holder], bool], also: Mapping[str, SwarmService]
    ) -> SwarmService | None:
        """Return the next of these services that was not restarted already."""
        wanted = {
            holder.task.service.id: holder.task.service
            for holder in self._all_holders()
            if not holder.left_alone and is_wanted(holder)
        }
        left = [service for service in {**wanted, **also}.values() if service.id not in self._healthy]
        left.sort(key=lambda service: (service.labels.get(_ORDER_LABEL) != _FIRST, service.name))
        return left[0] if left else None

    def _is_older(self, holder: Holder) -> bool:
        return holder.version != self._version

    def _all_holders(self) -> Sequence[Holder]:
        return self._restarts.patiently(lambda: self._holders.of(self._secret))

    def _report_left_alone(self) -> None:
        reasons = {
            holder.task.service.name: holder.left_alone for holder in self._all_holders() if holder.left_alone
        }
        for name, reason in reasons.items():
            self._progress("left_alone", f"{name}: left alone: {reason}", service=name, reason=reason)

    def _roll_back(self, reason: UnhealthyError, old: bytes) -> NoReturn:
        """Make *old* the newest version, and restart the services that have the bad one.

        Raises:
            RotationFailedError: Always, with the outcome.
        """
        self._progress("rolling_back", f"{reason}; rolling back")
        bad = self._version
        affected = self._healthy | self._restarting
        self._store(old)
        self._healthy = {}
        failures = self._put_back(bad, affected)
        outcome = f"{reason}. Rolled back: version {self._version} has the value of version {bad - 1}"
        if failures:
            raise RotationFailedError(
                f"{outcome}, but {'; '.join(failures)}",
                hint=f"find out why, then run `secret-manager swarm rotate {self._secret.name} --resume`",
            )
        raise RotationFailedError(f"{outcome}, and all services that had version {bad} are healthy with it")

    def _put_back(self, bad: int, affected: Mapping[str, SwarmService]) -> Sequence[str]:
        """Restart *affected* services and holders of the *bad* version; return why some are not healthy."""
        failures = []
        while True:
            try:
                # All tasks of an affected service may have crashed: then it has no holder for a moment.
                self._bring(lambda holder: bad in holder.delivered, affected)
            except UnhealthyError as error:
                failures.append(str(error))
                # The others come first: it was restarted.
                self._healthy |= self._restarting
            else:
                return failures

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
        except (VaultError, KeyboardInterrupt) as error:
            if not self._is_asked and not self._is_stored:
                raise
            raise self._failed(str(error) or "interrupted") from None

    def _failed(self, reason: str) -> RotationFailedError:
        name = self._secret.name
        command = f"secret-manager swarm rotate {name}"
        if not self._is_stored:
            return RotationFailedError(
                f"{reason}: it is unknown if version {self._version + 1} of {name} was stored; "
                "no service was restarted",
                hint=f"see `secret-manager swarm holders {name}`; if it was stored, rotate with --resume",
            )
        parts = [f"version {self._version} of {name} is the newest"]
        if done := [one.name for key, one in self._healthy.items() if key not in self._restarting]:
            parts.append(f"healthy with it: {', '.join(sorted(done))}")
        parts += [f"Docker may still be restarting {service.name}" for service in self._restarting.values()]
        return RotationFailedError(
            f"{reason}: {'; '.join(parts)}",
            hint=f"`{command} --resume` goes on, `{command} --from-version {self._secret.version}` goes back",
        )
