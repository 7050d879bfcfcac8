"""Delete, restore and purge single versions of a secret.

A deleted version cannot be read until it is restored. Of a purged one, only the time of its creation is left.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from vault.common import clock
from vault.common.errors import NewestVersionError, SecretNotFoundError
from vault.core.attempt import Attempt
from vault.core.crypto import Keyring
from vault.core.documents.stored_secret import StoredSecret, VersionInfo
from vault.core.secrets.lease import Changes, Seen
from vault.core.secrets.requests import Reference

#: Versions by their numbers.
_Infos = Mapping[int, VersionInfo]


class VersionWriter:
    """Changes the versions of secrets that one keyring opens. All methods raise the errors of `Changes`."""

    def __init__(self, keyring: Keyring, changes: Changes) -> None:
        self._keyring = keyring
        self._changes = changes

    def delete(self, reference: Reference, versions: Collection[int] | None, *, attempt: Attempt) -> None:
        """Delete those of *versions* that can be read; None stands for the newest."""
        now = clock.now()

        def deleted(info: VersionInfo) -> VersionInfo:
            return replace(info, deleted_at=now) if info.is_readable(now) else info

        self._change(reference, versions, deleted, attempt)

    def restore(self, reference: Reference, versions: Collection[int], *, attempt: Attempt) -> None:
        """Restore those of *versions* that are deleted."""

        def restored(info: VersionInfo) -> VersionInfo:
            return info if info.is_purged else replace(info, deleted_at=None)

        self._change(reference, versions, restored, attempt)

    def purge(self, reference: Reference, versions: Collection[int], *, attempt: Attempt) -> None:
        """Destroy those of *versions* that are stored, permanently."""
        self._change(reference, versions, lambda info: replace(info, is_purged=True), attempt)

    def purge_older(self, reference: Reference, version: int, *, attempt: Attempt) -> str:
        """Destroy an older *version* permanently; return the secret's ID.

        Raises:
            NewestVersionError: *version* is the newest.
            SecretNotFoundError: There is no such version.
        """
        attempt.details["version"] = version

        def change(seen: Seen) -> str:
            infos = _infos(seen.secret)
            if version == seen.secret.version:
                raise NewestVersionError
            if version not in infos or infos[version].is_purged:
                raise SecretNotFoundError
            purged = {version: replace(infos[version], is_purged=True)}
            self._apply(seen, {**infos, **purged}, purged, attempt)
            return seen.secret.id

        return self._changes.make(reference, attempt, change)

    def _change(
        self,
        reference: Reference,
        versions: Collection[int] | None,
        changed_info: Callable[[VersionInfo], VersionInfo],
        attempt: Attempt,
    ) -> None:
        def change(seen: Seen) -> None:
            infos = _infos(seen.secret)
            wanted = [seen.secret.version] if versions is None else versions
            changed = {number: changed_info(infos[number]) for number in wanted if number in infos}
            attempt.details["versions"] = sorted(changed)
            self._apply(seen, {**infos, **changed}, [n for n in changed if changed[n] != infos[n]], attempt)

        self._changes.make(reference, attempt, change)

    def _apply(self, seen: Seen, infos: _Infos, changed: Iterable[int], attempt: Attempt) -> None:
        purged = [number for number in changed if infos[number].is_purged]
        states = [info for info in infos.values() if info.deleted_at or info.is_purged]
        change = states_change(states, [info.version for info in states if info.is_purged])
        if seen.secret.version in purged:
            change |= self._emptied(seen.secret)
        if any(number != seen.secret.version for number in purged):
            is_kept = {"$not": [{"$in": ["$$this.version", purged]}]}
            change["older"] = {"$filter": {"input": "$older", "cond": is_kept}}
        seen.apply(change, attempt)

    def _emptied(self, secret: StoredSecret) -> dict[str, Any]:
        # First: a new envelope must not make limits genuine that an attacker changed in MongoDB.
        secret.decrypt(self._keyring)
        return {
            "envelope": self._keyring.encrypt(b"", secret.binding(secret.version)),
            "key_id": self._keyring.primary.id,
        }


def _infos(secret: StoredSecret) -> dict[int, VersionInfo]:
    if not secret.is_visible(clock.now()):
        raise SecretNotFoundError
    return {info.version: info for info in secret.infos}


def states_change(states: Sequence[VersionInfo], purged: Sequence[int]) -> dict[str, Any]:
    """Return the change that stores the *states* of versions, and the numbers of *purged* ones."""
    stored = [state.stored_state() for state in sorted(states, key=lambda state: state.version)]
    return {"states": stored or "$$REMOVE", "purged": sorted(purged) or "$$REMOVE"}
