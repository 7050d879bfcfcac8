"""Long work on the values of a request: memory for it, and turns with other requests."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from flask import current_app

from vault.common import deadline
from vault.common.errors import OverloadedError
from vault.common.networks import source
from vault.core.secrets.wrapping import MAX_BYTES
from vault.toolkit.http import connections
from vault.toolkit.http.memory import FREE_BYTES, Memory
from vault.toolkit.operations.blueprint import current_attempt, current_slot

#: Key of the application's extensions.
VALUE_MEMORY = "secret-manager-value-memory"

#: Maximum bytes in one worker of JSON that is being decoded. A text of numbers takes thirty times its size.
MAX_VALUE_BYTES = 2 * MAX_BYTES

#: The smallest reservation. Values that are decoded at the same time share their turns, so with many of them
#: each would take longer.
_MIN_BYTES = 524_288


@contextmanager
def value_memory(size: int) -> Iterator[None]:
    """Reserve memory for a value of *size* bytes of JSON, which is decoded or encoded in the block.

    The block runs when it is the client's turn, and calls `pause` while it works.

    Raises:
        OverloadedError: There was not enough memory in time, or the request's deadline has passed.
    """
    if size <= FREE_BYTES:
        yield
        return
    memory: Memory = current_app.extensions[VALUE_MEMORY]
    with ExitStack() as held:
        # Held before the slot is taken again, which can fail.
        with current_slot().given_back():
            held.enter_context(memory.reserve(max(size, _MIN_BYTES), source(current_attempt().ip))).keep()
        pause()
        yield


def pause() -> None:
    """Run other requests, until it is the turn of this request's client again.

    Raises:
        OverloadedError: The request's deadline has passed.
    """
    connections.current.get().take_turn()
    if deadline.remaining() <= 0:
        raise OverloadedError
