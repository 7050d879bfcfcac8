"""Spans of a request, for whoever traces; no-ops unless tracing is on, see `vault.observability.tracing`."""

from contextvars import ContextVar
from typing import Any


class Span:
    """Stands in for a span where nobody traces."""

    __slots__ = ()

    def begin(self, _name: str, /, **_attributes: str) -> "Span":
        """Return a span inside of this one, which begins now.

        Neither its name nor its attributes may hold an id, or anything else that came from a caller.
        """
        return self

    def end(self, _error: str = "", /) -> None:
        """End now, with the kind of what went wrong, never its text; without one all went well."""


#: What nothing is inside of.
NO_SPAN = Span()
#: The request that is being answered in this context.
current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)


class NoTracing:
    """Stands in where tracing is off."""

    #: What listens to the commands of MongoDB's driver.
    listeners: tuple[Any, ...] = ()

    def connect(self, _app: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
