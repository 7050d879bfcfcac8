"""The state of a rotation: what is in effect if it ends early, and how to continue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto


class Phase(Enum):
    """The phases of a rotation, by what a failure leaves in effect."""

    #: Nothing was changed.
    BEGUN = auto()
    #: The request to store the new value has no reply yet.
    STORING = auto()
    #: The new value is the newest version.
    STORED = auto()
    #: The request to store the old value again has no reply yet.
    STORING_OLD = auto()
    #: The old value is the newest version again.
    BACK = auto()
    #: Someone else stored a later version.
    SUPERSEDED = auto()


@dataclass(slots=True, kw_only=True)
class RotationState:
    """The state of a rotation of the secret *name*."""

    name: str
    #: The version that services are to get.
    version: int
    #: The version whose value a rollback stores again; 0 if the rotation does not roll back.
    before: int = 0
    phase: Phase = Phase.BEGUN
    #: The reasons why it rolls back, and why services are not healthy after that.
    failures: list[str] = field(default_factory=list)
    #: The names of the services that are healthy with the version.
    healthy: list[str] = field(default_factory=list)
    #: The name of the service that Docker is restarting; empty without one.
    restarting: str = ""

    def text(self, reason: str) -> str:
        """Return what is in effect if the rotation ends now for this *reason*."""
        reasons = "; ".join([*self.failures, reason])
        return f"{reasons}: {'; '.join([_TEXTS[self.phase](self), *self._services()])}"

    def hint(self) -> str:
        """Return how to continue."""
        return _HINTS[self.phase](self)

    def _services(self) -> list[str]:
        found = [f"healthy with version {self.version}: {', '.join(sorted(self.healthy))}"]
        restarting = [f"Docker may still be restarting {self.restarting}"] if self.restarting else []
        return (found if self.healthy else []) + restarting

    @property
    def command(self) -> str:
        """The beginning of a command that continues the rotation."""
        return f"secret-manager swarm rotate {self.name}"


_TEXTS: Mapping[Phase, Callable[[RotationState], str]] = {
    Phase.STORING: lambda at: (
        f"it is unknown if version {at.version + 1} of {at.name} was stored; no service was restarted"
    ),
    Phase.STORED: lambda at: f"version {at.version} of {at.name} is the newest",
    Phase.STORING_OLD: lambda at: (
        f"it is unknown if the value of version {at.before} was stored as version {at.version + 1} "
        f"of {at.name}"
    ),
    Phase.BACK: lambda at: (
        f"version {at.version} of {at.name} is the newest and has the value of version {at.before}"
    ),
    Phase.SUPERSEDED: lambda at: f"that version of {at.name} stays the newest",
}

_HINTS: Mapping[Phase, Callable[[RotationState], str]] = {
    Phase.STORING: lambda at: (
        f"see `secret-manager swarm holders {at.name}`; if it was stored, rotate with --resume"
    ),
    Phase.STORED: lambda at: (
        f"`{at.command} --resume` continues, `{at.command} --from-version {at.before or 'N'}` goes back"
    ),
    Phase.STORING_OLD: lambda at: (
        f"see `secret-manager swarm holders {at.name}`; if version {at.version + 1} is the newest, rotate "
        f"with --resume, else with --from-version {at.before}"
    ),
    Phase.BACK: lambda at: f"`{at.command} --resume` continues",
    Phase.SUPERSEDED: lambda at: f"`{at.command} --resume` gives services the newest version",
}
