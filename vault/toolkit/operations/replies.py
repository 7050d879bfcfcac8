"""Large replies: memory for them, which clients that do not read them would exhaust, and their parts."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from flask import Response, after_this_request, current_app

from vault.common.networks import source
from vault.toolkit.http import connections
from vault.toolkit.http.memory import Memory, Reservation
from vault.toolkit.operations.blueprint import REPLY_MEMORY, current_attempt, current_slot


def _keep_all() -> None:
    """Stand in for the callback of a caller that holds nothing large while it waits."""


@contextmanager
def reply_memory(size: int, before_wait: Callable[[], None] = _keep_all) -> Iterator[Reservation]:
    """Reserve *size* bytes for the reply that the block makes, until it was sent.

    The block may give back what the reply does not need. If there is not enough memory yet, *before_wait* is
    called first.

    Raises:
        OverloadedError: There was not enough memory in time.
    """
    memory: Memory = current_app.extensions[REPLY_MEMORY]
    disconnect = connections.current.get().disconnect
    with ExitStack() as released_on_error:
        # The memory belongs to replies that clients have not read yet.
        with current_slot().given_back():
            reservation = memory.reserve(
                size, source(current_attempt().ip), disconnect, before_wait=before_wait
            )
            released_on_error.enter_context(reservation)
        reservation.keep()
        yield reservation
        released_on_error.pop_all()

    def release_once_sent(reply: Response) -> Response:
        # A slow client may take long for megabytes, unless others need the memory.
        parts = connections.in_parts(reply.get_data())
        reply.content_length = sum(map(len, parts))
        reservation.shrink(reply.content_length)
        reservation.offer()
        reply.response = _taken(parts, reservation)
        reply.call_on_close(reservation.release)
        return reply

    after_this_request(release_once_sent)


class MemoryIfLarge(ExitStack):
    """Memory for the reply that the block makes, if that proves large."""

    def reserve(self, size: int, before_wait: Callable[[], None]) -> None:
        """Reserve memory for the rest of the block, as `reply_memory` does."""
        self.enter_context(reply_memory(size, before_wait))


def _taken(parts: Sequence[bytes], reservation: Reservation) -> Iterator[bytes]:
    for part in parts:
        yield part
        # The server asks for the next part once it has sent this one.
        reservation.advance(len(part))
