"""Strict reading of JSON bodies, and the memory for bodies that are in a worker at the same time."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event, Lock
from typing import Any, NoReturn

from flask import Request, g
from marshmallow import Schema
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge, UnsupportedMediaType

from vault.core import deadline
from vault.core.errors import OverloadedError
from vault.core.text import unique_names

_CONTENT_TYPE = "application/json"
_BODY = "body"

#: Bodies up to this size need no reservation: the limits on connections are enough for them.
_FREE_BYTES = 16_384

#: Seconds that a body waits for memory.
_WAIT_TIMEOUT_SECONDS = 3.0

#: Seconds after which a waiting body evicts bodies that are still being received.
_GRACE_SECONDS = 1.0


class StrictJsonParser(FlaskParser):
    """Accept only JSON that every reader understands alike: UTF-8, no duplicate keys, no NaN.

    If a proxy that checks a body and this service saw different values in it, the check could be bypassed.
    """

    def load_json(self, req: Request, schema: Schema) -> Any:  # noqa: ARG002 - webargs' signature
        """Return the decoded body of *req*, which `receive` has read.

        Raises:
            BadRequest: It is not JSON, or readers could understand it differently.
        """
        try:
            # Popped: otherwise a large body would stay in memory until the end of its request.
            return _DECODER.decode(g.pop(_BODY).decode())
        except json.JSONDecodeError as error:
            place = f"line {error.lineno}, column {error.colno}"
            raise BadRequest(f"The body is malformed JSON at {place}.") from None
        except (ValueError, RecursionError):
            # Not UTF-8, a duplicate key, NaN or Infinity, a number too long, or nested too deeply.
            raise BadRequest("The body is malformed JSON.") from None


def max_size(req: Request) -> int:
    """Return the maximum size of the body of *req*, in bytes.

    Raises:
        UnsupportedMediaType: The body is not declared as plain JSON.
        RequestEntityTooLarge: Its declared size exceeds the limit.
    """
    charset = req.mimetype_params.get("charset", "utf-8")
    if req.mimetype != _CONTENT_TYPE or charset.lower() != "utf-8":
        raise UnsupportedMediaType(f"The Content-Type must be {_CONTENT_TYPE}, in UTF-8.")
    if req.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("The body must not have a Content-Encoding.")
    limit = req.max_content_length or 0
    # The size of a chunked body is unknown until its end.
    size = limit if "Transfer-Encoding" in req.headers else req.content_length or 0
    if size > limit:
        raise RequestEntityTooLarge
    return size


def receive(req: Request) -> None:
    """Read the body of *req*.

    Raises:
        RequestTimeout: It did not arrive in time.
        RequestEntityTooLarge: Its size exceeds the limit; the rest was not read.
        BadRequest: Its framing violates HTTP.
    """
    setattr(g, _BODY, _read(req))


def _read(req: Request) -> bytes:
    try:
        with deadline.paused():
            body = req.stream.read()
            # Without a Content-Length, the stream ends at the limit; only a further read raises.
            req.stream.read(1)
    except HTTPException:
        # Too large, or too slow.
        raise
    except Exception:  # noqa: BLE001 - errors of the server, which only the client can have caused
        raise BadRequest("The body's framing violates HTTP.") from None
    if req.content_length not in (None, len(body)):
        raise BadRequest("The body is shorter than its Content-Length.")
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# Shared: creating a decoder takes longer than decoding a body.
_DECODER = json.JSONDecoder(object_pairs_hook=unique_names, parse_constant=_refuse_constant)


def _do_nothing() -> None:
    """Stand in for callbacks that are not needed."""


class _Reservation:
    """A body's reservation of memory, granted or waiting."""

    __slots__ = ("disconnect", "granted", "size", "source")

    def __init__(self, size: int, source: str, disconnect: Callable[[], None]) -> None:
        self.size = size
        self.source = source
        self.disconnect = disconnect
        self.granted = Event()


class BodyMemory:
    """The memory for bodies in a worker: *max_bytes* in total, half of that for each source.

    A body for which there is no memory waits for a moment; it is not read meanwhile. If its source has less
    memory than other sources, the slowest bodies of those sources are then disconnected. Otherwise half-sent
    bodies from two addresses would lock out all other clients.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._used: Counter[str] = Counter()
        self._waiting: list[_Reservation] = []
        # In the order of the grants.
        self._receiving: dict[_Reservation, None] = {}

    @contextmanager
    def reserve(
        self, size: int, source: str, disconnect: Callable[[], None] = _do_nothing
    ) -> Iterator[Callable[[], object]]:
        """Reserve memory for a body of *size* bytes from *source* during the block.

        Yields a function to call once the body was received; until then *disconnect* may be called.

        Raises:
            OverloadedError: There was not enough memory in time.
        """
        if size <= _FREE_BYTES:
            yield _do_nothing
            return
        mine = _Reservation(size, source, disconnect)
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        try:
            if not mine.granted.wait(min(_GRACE_SECONDS, _WAIT_TIMEOUT_SECONDS)):
                self._evict_for(mine)
                if not mine.granted.wait(_WAIT_TIMEOUT_SECONDS - _GRACE_SECONDS):
                    raise OverloadedError
            yield partial(self._receiving.pop, mine, None)
        finally:
            with self._lock:
                self._receiving.pop(mine, None)
                if mine.granted.is_set():
                    self._used[source] -= size
                    if not self._used[source]:
                        del self._used[source]
                else:
                    self._waiting.remove(mine)
                self._grant()

    def _grant(self) -> None:
        """Grant free memory: first to the sources with the least memory, then in order of arrival."""
        free = self._max_bytes - self._used.total()
        for waiting in sorted(self._waiting, key=lambda waiting: self._used.get(waiting.source, 0)):
            if waiting.size > self._max_bytes // 2 - self._used.get(waiting.source, 0):
                continue
            if waiting.size > free:
                # Memory that becomes free is kept for this one.
                break
            self._waiting.remove(waiting)
            self._used[waiting.source] += waiting.size
            self._receiving[waiting] = None
            free -= waiting.size
            waiting.granted.set()

    def _evict_for(self, mine: _Reservation) -> None:
        """Disconnect slow bodies, of sources that keep at least as much as the source of *mine* gets."""
        evicted = []
        with self._lock:
            needed = mine.size - (self._max_bytes - self._used.total())
            kept = self._used.copy()
            for held in list(self._receiving):
                fair = self._used.get(mine.source, 0) + mine.size
                if needed > 0 and held.source != mine.source and kept[held.source] - held.size >= fair:
                    kept[held.source] -= held.size
                    needed -= held.size
                    self._receiving.pop(held, None)
                    evicted.append(held)
        for held in evicted:
            held.disconnect()
