"""One request of a client, and its reply: on record first, and scrubbed on its way back."""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, NoReturn

import h11

from vault.clients.broker import fields, heads
from vault.clients.broker.problems import CONTENT_TYPE, RefusedError, bad_reply, malformed
from vault.clients.broker.scrubber import RepetitiveValueError, Scrubber, Sought, without
from vault.clients.broker.service import Session, Use, Uses
from vault.clients.broker.stream import PeerGoneError, Stream
from vault.clients.broker.targets import Origin, path_of
from vault.clients.broker.upstream import Upstream, UpstreamExchange

logger = logging.getLogger(__name__)

#: The maximum bytes of a request's body.
MAX_BODY_BYTES = 10 * 1_048_576

#: Between two parts of a request's body.
_BODY_SECONDS = 30

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})


@dataclass(frozen=True, slots=True)
class Passage:
    """The way of requests to one host, for one session."""

    session: Session
    uses: Uses
    upstream: Upstream


class Exchange:
    """A request of *client* with the method and fields of *head*, and its reply."""

    def __init__(self, client: Stream, head: bytes) -> None:
        """Read *head*.

        Raises:
            RefusedError: It is malformed.
        """
        self._client = client
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=heads.MAX_BYTES)
        self._is_begun = False
        self._http.receive_data(head)
        event = None
        with suppress(h11.RemoteProtocolError):
            event = self._http.next_event()
        if not isinstance(event, h11.Request):
            raise malformed("is malformed")
        self.request = event
        self.fields = fields.raw(event.headers)

    @property
    def target(self) -> str:
        """The target of the request, which is visible ASCII."""
        return self.request.target.decode()

    @property
    def method(self) -> str:
        """The method of the request."""
        return self.request.method.decode()

    async def relay(self, target: str, passage: Passage) -> None:
        """Send the request for *target* on, with the header of its use; return the reply without the value.

        Raises:
            RefusedError: The request or its reply is refused.
            PeerGoneError: A peer broke off.
        """
        origin = passage.upstream.origin
        self._require(origin)
        path = path_of(target)
        use = await passage.uses.use(passage.session, origin, self.method, path)
        about = {"host": origin.authority.rule, "method": self.method, "path": path}
        logger.info("used", extra={**about, "secret_name": use.name, "version": use.version})
        passing = await passage.upstream.exchange()
        try:
            head = h11.Request(
                method=self.method, target=target, headers=[*fields.sent(self.fields, origin, use)]
            )
            await first(
                self._reply(passing, use),
                self._upload(passing, head),
                passage.uses.cut_at_end(passage.session, origin.authority.rule),
            )
        finally:
            passage.upstream.release(passing)

    async def refuse(self, error: RefusedError) -> None:
        """Send the refusal, if no reply has begun; else cut the connection."""
        if self._is_begun:
            raise PeerGoneError
        await send_problem(self._client, self._http, error)

    @property
    def is_reusable(self) -> bool:
        """True if the client's connection can have another request."""
        return self._http.our_state is self._http.their_state is h11.DONE

    def _require(self, origin: Origin) -> None:
        if self.request.http_version != b"1.1":
            raise RefusedError(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "version_refused", "The request must be in HTTP/1.1."
            )
        if self.method not in _METHODS:
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                "method_refused",
                "No use rule can have this method.",
                headers={"Allow": ", ".join(sorted(_METHODS))},
            )
        fields.require_fields(self.fields, origin)
        if int(dict(self.fields).get(b"content-length", b"0")) > MAX_BODY_BYTES:
            raise _too_large()

    async def _upload(self, passing: UpstreamExchange, head: h11.Request) -> NoReturn:
        """Send *head* and the body on, then wait until the client leaves."""
        await _sent(passing, head)
        sent = 0
        while data := await self._body():
            sent += len(data)
            if sent > MAX_BODY_BYTES:
                raise _too_large()
            await _sent(passing, h11.Data(data=data))
        await _sent(passing, h11.EndOfMessage())
        self._client.unread(self._http.trailing_data[0])
        await self._until_left()

    async def _body(self) -> bytes:
        """Return the next bytes of the body, of all chunks that have arrived; empty at its end."""
        data = bytearray()
        try:
            while self._http.their_state is h11.SEND_BODY:
                event = self._http.next_event()
                if isinstance(event, h11.Data):
                    data += event.data
                elif event is h11.NEED_DATA and data:
                    break
                elif event is h11.NEED_DATA:
                    await self._receive()
        except h11.RemoteProtocolError:
            raise malformed("has a malformed body") from None
        return bytes(data)

    async def _receive(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            going_on = h11.InformationalResponse(status_code=HTTPStatus.CONTINUE, headers=[])
            await self._client.send(self._http.send(going_on))
        self._http.receive_data(await self._client.receive(_BODY_SECONDS))

    async def _until_left(self) -> NoReturn:
        data = await self._client.receive(None)
        if not data:
            raise PeerGoneError
        # The next request came early.
        self._client.unread(data)
        await _forever()

    async def _reply(self, passing: UpstreamExchange, use: Use) -> None:
        sought = Sought(use.secret)
        reply = await passing.reply()
        try:
            headers = fields.returned(
                fields.raw(reply.headers.raw_items()), lambda text: without(sought, text)
            )
            await self._send(h11.Response(status_code=reply.status_code, headers=list(headers)))
            scrubber = Scrubber(sought)
            while (data := await passing.body()) is not None:
                await self._send_data(scrubber.feed(data))
        except RepetitiveValueError:
            raise bad_reply("cannot be searched for the value, which repeats itself") from None
        await self._send_data(scrubber.finish())
        await self._send(h11.EndOfMessage())

    async def _send_data(self, data: bytes) -> None:
        if data:
            await self._send(h11.Data(data=data))

    async def _send(self, event: h11.Event) -> None:
        data = self._http.send(event)
        self._is_begun = True
        await self._client.send(data)


async def send_problem(client: Stream, http: h11.Connection, error: RefusedError) -> None:
    """Send the refusal as the reply of *http*, which a request can follow only if nothing of it is unread."""
    with suppress(h11.RemoteProtocolError):
        # A request without a body is complete only now.
        http.next_event()
    document = error.document()
    headers = [
        ("Content-Type", CONTENT_TYPE),
        ("Content-Length", str(len(document))),
        *error.headers.items(),
        *([] if http.their_state is h11.DONE else [("Connection", "close")]),
    ]
    data = http.send(h11.Response(status_code=error.status, headers=headers))
    # None for the reply to HEAD.
    body = http.send(h11.Data(data=document))
    end = http.send(h11.EndOfMessage())
    await client.send(b"".join(filter(None, (data, body, end))))


async def _sent(passing: UpstreamExchange, event: h11.Event) -> None:
    """Send *event*; a host that takes no more may still reply, which decides."""
    try:
        await passing.send(event)
    except PeerGoneError:
        await _forever()


async def _forever() -> NoReturn:
    while True:
        await asyncio.Event().wait()


async def first(result: Coroutine[Any, Any, None], *others: Coroutine[Any, Any, None]) -> None:
    """Return once *result* is there, or raise the error of the first that fails; all end."""
    tasks = [asyncio.ensure_future(one) for one in (result, *others)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        min(done, key=tasks.index).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _too_large() -> RefusedError:
    return RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "request_too_large",
        f"The request has more than {MAX_BODY_BYTES} bytes.",
    )
