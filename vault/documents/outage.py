"""An outage of MongoDB: a time without a primary, as the driver sees it."""

from math import inf
from time import monotonic

from pymongo.monitoring import (
    TopologyClosedEvent,
    TopologyDescriptionChangedEvent,
    TopologyListener,
    TopologyOpenedEvent,
)

#: Seconds after which operations no longer wait for a primary. The election of the next one takes less.
PATIENCE_SECONDS = 10

#: Seconds between operations that wait all the same. While one waits, the driver looks for a primary every
#: half second, otherwise every ten seconds.
_LOOK_SECONDS = 3


class Outage(TopologyListener):
    """The outage that the driver of one connection sees, if any."""

    def __init__(self) -> None:
        self._since = inf
        self._looked = -inf

    def opened(self, event: TopologyOpenedEvent) -> None:
        """Ignore a driver that has not looked yet."""

    def description_changed(self, event: TopologyDescriptionChangedEvent) -> None:
        """Begin or end the outage, as the driver now knows a primary or not."""
        self._since = inf if event.new_description.has_writable_server() else min(self._since, monotonic())

    def closed(self, event: TopologyClosedEvent) -> None:  # noqa: ARG002 - the driver's signature
        """End the outage."""
        self._since = inf

    def refuses(self) -> bool:
        """Return whether an operation would only wait, because there has been no primary for long."""
        now = monotonic()
        if now - self._since < PATIENCE_SECONDS:
            return False
        if now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            return False
        return True


class CurrentOutage:
    """The outage of the process's connection. An earlier one no longer matters."""

    def __init__(self) -> None:
        self._outage = Outage()

    def begin(self) -> Outage:
        """Return the listener of a new connection."""
        self._outage = Outage()
        return self._outage

    def refuses(self) -> bool:
        """Return whether an operation on this connection would only wait."""
        return self._outage.refuses()


current = CurrentOutage()
