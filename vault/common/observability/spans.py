"""The spans of a request: no-ops unless tracing is enabled, see `vault.common.observability.tracing`."""

from contextvars import ContextVar
from typing import Any


class Span:
    """A span that does nothing."""

    __slots__ = ()

    def begin(self, _name: str, /, **_attributes: str) -> "Span":
        """Begin a span inside this one, and return it.

        Its name and attributes must not contain an ID or any other data from a caller.
        """
        return self

    def end(self, _error: str = "", /) -> None:
        """End the span, with the kind of the error (never its text) if there was one."""


#: The span outside a traced request.
NO_SPAN = Span()
#: The span of this context's request.
current: ContextVar[Span] = ContextVar("span", default=NO_SPAN)


class NoTracing:
    """Stand in for `Tracing` if tracing is disabled."""

    #: Listeners for the commands of MongoDB's driver.
    listeners: tuple[Any, ...] = ()

    def connect(self, _app: object) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
