"""A conversation with a client: its requests, one after the other, each with its reply."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from time import monotonic
from typing import Any

from werkzeug.exceptions import HTTPException, InternalServerError
from werkzeug.wrappers import Response

from vault.api.http.connections import Connection
from vault.api.http.request_log import refuse_unread
from vault.server import clients, heads
from vault.server.bodies import Body, ChunkedBody, LengthBody
from vault.server.clients import NEVER, Client, GoneError
from vault.server.heads import Environ, Head
from vault.server.replies import Reply
from vault.server.turns import TURNS

logger = logging.getLogger(__name__)

#: Bytes that are received at a time between requests. Most requests are shorter.
_STEP_BYTES = 8_192

Application = Callable[[Environ, Any], Iterable[bytes]]


@dataclass
class Conversation:
    """The requests of a client, which *application* answers; their environments extend *template*."""

    client: Client
    connection: Connection
    application: Application
    template: Environ
    #: Bytes of a body that are discarded if the application does not read them.
    max_rest: int
    #: True if bytes may arrive that nothing reads. They would reset the connection, and the client could lose
    #: the reply.
    _lingers: bool = False

    def run(self) -> None:
        """Answer requests until the connection ends."""
        with suppress(GoneError, TimeoutError):
            while self._answer_next():
                pass
            if self._lingers:
                self.connection.wait()
                self.client.linger()

    def _answer_next(self) -> bool:
        """Answer the next request; return whether another one may follow."""
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
            client.deadline = monotonic() + (
                clients.IDLE_SECONDS if connection.is_used else clients.CLIENT_SECONDS
            )
            data = client.receive(_STEP_BYTES)
            has_waited = TURNS.round() != now
        if (end := data.find(heads.END)) < 0:
            data, has_waited = self._with_rest(data), False
            end = data.find(heads.END)
        client.deadline = NEVER
        if end < 0:
            return None
        # A connection whose next request has always arrived would never let another one run.
        if not (has_waited and TURNS.take_now()):
            connection.wait()
            TURNS.take(connection.source)
        if connection.is_evicted:
            # No reply could be sent, so the request must have no effect.
            return None
        connection.work()
        client.unread = data[end + len(heads.END) :]
        return heads.parse(data[: end + 2], self.template)

    def _with_rest(self, data: bytes) -> bytes:
        """Return *data*, the beginning of a head, with all up to its end, unless the client leaves before."""
        client = self.client
        self.connection.wait()
        client.deadline = monotonic() + clients.CLIENT_SECONDS
        more = data
        while more and heads.END not in data[-len(more) - len(heads.END) :]:
            heads.check_part(data)
            TURNS.take(self.connection.source)
            more = client.receive(_STEP_BYTES)
            data += more
        return data

    def _answer(self, head: Head) -> bool:
        """Answer the request with *head*; return whether another one may follow."""
        body = self._body(head)
        reply = Reply(head, self.client.send, lambda: self._ends_after(head, body))
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
        except GoneError:
            raise
        except Exception:
            logger.exception("request failed")
            return not reply.is_begun and self._refuse(InternalServerError())
        if not reply.is_last and (body is None or body.discard()):
            return True
        self._lingers = bool(body and body.left) or self.connection.has_unread()
        return False

    def _body(self, head: Head) -> Body | None:
        """Give *head* its body; return it if it has not arrived completely."""
        client, length = self.client, head.length
        if not head.is_chunked and length <= len(client.unread):
            head.environ["wsgi.input"] = BytesIO(client.unread[:length])
            client.unread = client.unread[length:]
            return None
        kind = ChunkedBody if head.is_chunked else LengthBody
        body = kind(client, self.connection, length, is_withheld=head.expects_continue)
        head.environ["wsgi.input"] = body
        return body

    def _ends_after(self, head: Head, body: Body | None) -> bool:
        return self.connection.is_last or head.is_last or bool(body and body.ends_connection(self.max_rest))

    def _refuse(self, error: HTTPException) -> bool:
        """Refuse a request that the application does not see, as a problem document. No other one follows."""
        self.connection.wait()
        self.client.send(raw(refuse_unread(error)))
        self._lingers = True
        return False


def raw(reply: Response) -> bytes:
    """Return *reply* as the last one of a connection."""
    head = f"HTTP/1.1 {reply.status}\r\nConnection: close\r\n{reply.headers}"
    return head.encode("latin-1") + reply.get_data()
