"""How long MongoDB's commands take."""

from functools import cache

from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from vault import metrics

# Making a child takes longer than counting with it.
_times = cache(metrics.MONGODB.labels)


class _CommandTimes(CommandListener):
    """Measures each command. Of what it is handed it looks at name and time alone: the rest is documents."""

    def started(self, event: CommandStartedEvent) -> None:
        """Do nothing."""

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Measure what succeeded, in MongoDB's word: it may report errors of single writes."""
        _times(event.command_name, "succeeded").observe(event.duration_micros / 1e6)

    def failed(self, event: CommandFailedEvent) -> None:
        """Measure what failed."""
        _times(event.command_name, "failed").observe(event.duration_micros / 1e6)


#: What a client has to have. None where nothing is measured: PyMongo makes events for whoever listens.
LISTENERS: tuple[CommandListener, ...] = (_CommandTimes(),) if metrics.FOLDER else ()
