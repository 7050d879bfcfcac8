"""Reading a JSON body strictly."""

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

#: Bodies of up to this many bytes take no room: the limits on connections are limit enough for them.
_FREE_BYTES = 16_384

#: Seconds that a body waits for room.
_WAIT_SECONDS = 3.0

#: Seconds after which it takes the room of bodies that are still being received.
_GRACE_SECONDS = 1.0


def _do_nothing() -> None:
    """Stand in for what there is no need to do."""


class _Waiting:
    """A body that waits for room."""

    __slots__ = ("granted", "hang_up", "size", "source")

    def __init__(self, size: int, source: str, hang_up: Callable[[], None]) -> None:
        self.size = size
        self.source = source
        self.hang_up = hang_up
        self.granted = Event()


class BodyMemory:
    """Bounds the bytes of the bodies that are under way, in total and by the half for each source.

    A body that finds no room waits for a moment, without having been read: it is still with its sender. If
    it is from a source that has less than others, theirs that are slowest to arrive are hung up for it.
    Otherwise half-sent bodies from two addresses would lock out all others.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = Lock()
        self._taken: Counter[str] = Counter()
        self._waiting: list[_Waiting] = []
        # In the order in which they got their room.
        self._receiving: dict[_Waiting, None] = {}

    @contextmanager
    def taken(
        self, size: int, source: str, hang_up: Callable[[], None] = _do_nothing
    ) -> Iterator[Callable[[], object]]:
        """Hold room for a body of *size* bytes from *source* during the block.

        Yields what to call once the body was received; until then *hang_up* may be called.

        Raises:
            OverloadedError: There was none in time.
        """
        if size <= _FREE_BYTES:
            yield _do_nothing
            return
        mine = _Waiting(size, source, hang_up)
        with self._lock:
            self._waiting.append(mine)
            self._grant()
        try:
            if not mine.granted.wait(min(_GRACE_SECONDS, _WAIT_SECONDS)):
                self._evict_for(mine)
                if not mine.granted.wait(_WAIT_SECONDS - _GRACE_SECONDS):
                    raise OverloadedError
            yield partial(self._receiving.pop, mine, None)
        finally:
            with self._lock:
                self._receiving.pop(mine, None)
                if mine.granted.is_set():
                    self._taken[source] -= size
                    if not self._taken[source]:
                        del self._taken[source]
                else:
                    self._waiting.remove(mine)
                self._grant()

    def _grant(self) -> None:
        """Grant free room: sources with little of it first, then in the order of arrival."""
        free = self._size - self._taken.total()
        for waiting in sorted(self._waiting, key=lambda waiting: self._taken.get(waiting.source, 0)):
            if waiting.size > self._size // 2 - self._taken.get(waiting.source, 0):
                continue
            if waiting.size > free:
                # What gets free is kept for it.
                break
            self._waiting.remove(waiting)
            self._taken[waiting.source] += waiting.size
            self._receiving[waiting] = None
            free -= waiting.size
            waiting.granted.set()

    def _evict_for(self, mine: _Waiting) -> None:
        """Hang up the slowest bodies, of sources that keep no less than that of *mine* has then."""
        evicted = []
        with self._lock:
            needed = mine.size - (self._size - self._taken.total())
            kept = self._taken.copy()
            for held in list(self._receiving):
                fair = self._taken.get(mine.source, 0) + mine.size
                if needed > 0 and held.source != mine.source and kept[held.source] - held.size >= fair:
                    kept[held.source] -= held.size
                    needed -= held.size
                    self._receiving.pop(held, None)
                    evicted.append(held)
        for held in evicted:
            held.hang_up()


_CONTENT_TYPE = "application/json"
_BODY = "body"


class StrictJsonParser(FlaskParser):
    """Takes only what every JSON reader would understand alike: UTF-8, no key twice, no NaN.

    Two readers that see different values in one body (a proxy that checks, a service that acts) are a
    way around the check.
    """

    def load_json(self, req: Request, schema: Schema) -> Any:  # noqa: ARG002 - webargs' signature
        """Return what the body of *req* holds, which `receive` has read.

        Raises:
            BadRequest: It is not JSON, or not such that it reads the same everywhere.
        """
        try:
            # Not kept: a large body would stay in memory until the end of its request.
            return _DECODER.decode(g.pop(_BODY).decode())
        except json.JSONDecodeError as error:
            raise BadRequest(f"malformed JSON at line {error.lineno}, column {error.colno}") from None
        except (ValueError, RecursionError):
            # Not UTF-8, a key twice, NaN or Infinity, an endless number, or nested too deeply.
            raise BadRequest("malformed JSON") from None


def announced(req: Request) -> int:
    """Return the most bytes that the body of *req* can have.

    Raises:
        UnsupportedMediaType: The body is not declared as plain JSON.
        RequestEntityTooLarge: It is declared as longer than the limit.
    """
    charset = req.mimetype_params.get("charset", "utf-8")
    if req.mimetype != _CONTENT_TYPE or charset.lower() != "utf-8":
        raise UnsupportedMediaType(f"the Content-Type must be {_CONTENT_TYPE}, in UTF-8")
    if req.headers.get("Content-Encoding", "identity") != "identity":
        raise UnsupportedMediaType("the body must not have a Content-Encoding")
    limit = req.max_content_length or 0
    # A chunked body says how long it is only at its end.
    size = limit if "Transfer-Encoding" in req.headers else req.content_length or 0
    if size > limit:
        raise RequestEntityTooLarge
    return size


def receive(req: Request) -> None:
    """Read the body of *req*.

    Raises:
        RequestTimeout: The server did not get it in time.
        RequestEntityTooLarge: It is longer than the limit; it was not read further.
        BadRequest: It is not framed as HTTP asks.
    """
    setattr(g, _BODY, _read(req))


def _read(req: Request) -> bytes:
    try:
        with deadline.paused():
            body = req.stream.read()
            # Without a Content-Length the stream just ends at the limit; reading on is what raises then.
            req.stream.read(1)
    except HTTPException:
        # Too long, or too slow.
        raise
    except Exception:  # noqa: BLE001 - the server's own errors: only the sender can have caused them
        raise BadRequest("the body is not framed as HTTP asks") from None
    if req.content_length not in (None, len(body)):
        raise BadRequest("the body is shorter than its Content-Length")
    return body


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


# One decoder for all: making one takes longer than decoding a body.
_DECODER = json.JSONDecoder(object_pairs_hook=unique_names, parse_constant=_refuse_constant)
