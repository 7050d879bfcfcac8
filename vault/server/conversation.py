"""A conversation with a client: its requests, one after the other, each with its reply."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from sys import maxsize
from time import monotonic
from typing import Any

from werkzeug.exceptions import ClientDisconnected, HTTPException, InternalServerError
from werkzeug.wrappers import Response

from vault.server import clients, heads
from vault.server.bodies import Body, ChunkedBody
from vault.server.clients import Client
from vault.server.heads import Environ, Head
from vault.server.replies import Reply
from vault.server.turns import TURNS
from vault.toolkit.http.connections import Connection
from vault.toolkit.http.request_log import refuse_unread

logger = logging.getLogger(__name__)

#: Bytes that are received at a time between requests. Most requests are shorter.
_STEP_BYTES = 8_192


@dataclass
class Conversation:
    """The requests of a client, which *application* answers; their environments extend *template*."""

    client: Client
    connection: Connection
    application: Callable[[Environ, Any], Iterable[bytes]]
    template: Environ
    #: Bytes of a body that are discarded if the application does not read them.
    max_rest: int
    #: The body of the last request, unless it came with the head.
    _body: Body | None = None
    #: True if the last head is one of HEAD, whose replies have no body.
    _is_head: bool = False
    _is_refused: bool = False

    def run(self) -> None:
        """Answer requests until the connection ends."""
        with suppress(ClientDisconnected, TimeoutError):
            while self._answer_next() and (self._body is None or self._body.discard()):
                pass
            # Bytes that nothing reads would reset the connection, and the client could lose the reply.
            if self._is_refused or (self._body and self._body.left) or self.connection.has_unread():
                self.connection.wait()
                self.client.linger("discarding " + self.connection.source)

    def _answer_next(self) -> bool:
        """Answer the next request; return whether another one may follow, after its body."""
        # A method, so that nothing of a request stays in memory while the client is waited for.
        try:
            head = self._next_head()
        except HTTPException as refusal:
            return self._refuse(refusal)
        return head is not None and self._answer(head)

    def _next_head(self) -> Head | None:
        """Return the head of the next request; None at the end of the connection."""
        client, connection = self.client, self.connection
        data, has_waited = client.unread, False
        if not data:
            connection.rest()
            now = TURNS.round()
            seconds = clients.IDLE_SECONDS if connection.is_used else clients.CLIENT_SECONDS
            data = client.receive(_STEP_BYTES, monotonic() + seconds)
            has_waited = TURNS.round() != now
        if (end := data.find(heads.END)) < 0:
            data, has_waited = self._with_rest(data), False
            if (end := data.find(heads.END)) < 0:
                return None
        # A connection whose next request has always arrived would never let another one run.
        if not (has_waited and TURNS.take_now(connection.source)):
            connection.wait()
            TURNS.take(connection.source)
        if connection.is_evicted:
            # No reply could be sent, so the request must have no effect.
            return None
        connection.work()
        client.unread = data[end + len(heads.END) :]
        self._is_head = data.removeprefix(b"\r\n").startswith(b"HEAD ")
        return heads.parse(data[: end + 2], self.template)

    def _with_rest(self, data: bytes) -> bytes:
        """Return *data*, the beginning of a head, with all up to its end, unless the client leaves before."""
        self.connection.wait()
        deadline = monotonic() + clients.CLIENT_SECONDS
        more = data
        while more and heads.END not in data[-len(more) - len(heads.END) :]:
            heads.check_part(data)
            TURNS.take(self.connection.source)
            more = self.client.receive(_STEP_BYTES, deadline)
            data += more
        return data

    def _answer(self, head: Head) -> bool:
        """Answer the request with *head*; return whether another one may follow, after its body."""
        self._add_body(head)
        reply = Reply(head, self.client.send, self._ends)
        parts: Iterable[bytes] = ()
        try:
            try:
                parts = self.application(head.environ, reply.start)
                # The client may not read the reply.
                self.connection.wait()
                for part in parts:
                    reply.write(part)
                reply.finish()
            finally:
                if close := getattr(parts, "close", None):
                    close()
        except ClientDisconnected:
            raise
        except Exception:
            logger.exception("request failed")
            return not reply.is_begun and self._refuse(InternalServerError())
        return not reply.is_last

    def _add_body(self, head: Head) -> None:
        client, length = self.client, head.length
        self._body = None
        if length is not None and length <= len(client.unread):
            head.environ["wsgi.input"] = BytesIO(client.unread[:length])
            client.unread = client.unread[length:]
            return
        kind, left = (ChunkedBody, maxsize) if length is None else (Body, length)
        self._body = kind(client, self.connection, left, is_withheld=head.expects_continue)
        head.environ["wsgi.input"] = self._body

    def _ends(self) -> bool:
        return self.connection.is_last or bool(self._body and self._body.ends_connection(self.max_rest))

    def _refuse(self, error: HTTPException) -> bool:
        """Refuse a request that the application does not see, as a problem document. No other one follows."""
        self.connection.wait()
        self._is_refused = True
        self.client.send(raw(refuse_unread(error), omits_body=self._is_head))
        return False


def raw(reply: Response, *, omits_body: bool = False) -> bytes:
    """Return *reply* as the last one of a connection."""
    head = f"HTTP/1.1 {reply.status}\r\nConnection: close\r\n{reply.headers}"
    return head.encode("latin-1") + (b"" if omits_body else reply.get_data())
