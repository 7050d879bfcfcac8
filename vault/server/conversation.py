"""A conversation with a client: its requests, one after the other, each with its reply."""

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
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


class Conversation:
    """The requests of *client* on *connection*, which *application* answers.

    Their environments extend *template*. An unread rest of a body of at most *max_rest* bytes is discarded.
    """

    def __init__(
        self,
        client: Client,
        connection: Connection,
        application: Application,
        template: Environ,
        *,
        max_rest: int,
    ) -> None:
        self._client = client
        self._connection = connection
        self._application = application
        self._template = template
        self._max_rest = max_rest
        #: True once the worker stops.
        self._ends = False
        connection.end_after_request = self._end

    def run(self) -> None:
        """Answer requests until the connection ends."""
        with suppress(GoneError, TimeoutError):
            try:
                while (head := self._next_head()) and self._answer(head):
                    pass
            except HTTPException as refusal:
                self._refuse(refusal)

    def _end(self) -> None:
        self._ends = True

    def _next_head(self) -> Head | None:
        """Return the head of the next request; None if there is none."""
        client, connection = self._client, self._connection
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
        return heads.parse(data[: end + 2], self._template)

    def _with_rest(self, data: bytes) -> bytes:
        """Return *data*, the beginning of a head, with all up to its end, unless the client leaves before."""
        client = self._client
        self._connection.wait()
        client.deadline = monotonic() + clients.CLIENT_SECONDS
        more = data
        while more and heads.END not in data[-len(more) - len(heads.END) :]:
            heads.check_part(data)
            TURNS.take(self._connection.source)
            more = client.receive(_STEP_BYTES)
            data += more
        return data

    def _answer(self, head: Head) -> bool:
        """Answer the request with *head*; return whether another one may follow."""
        body = self._body(head)
        reply = Reply(head, self._client.send, lambda: self._ends_after(head, body))
        parts: Iterable[bytes] = ()
        try:
            try:
                parts = self._application(head.environ, reply.start)
                # The client may not read the reply.
                self._connection.wait()
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
            if not reply.is_begun:
                self._refuse(InternalServerError())
            return False
        if not body or not body.left:
            return not reply.is_last
        if not reply.is_last and body.discard():
            return True
        self._connection.wait()
        self._client.linger()
        return False

    def _body(self, head: Head) -> Body | None:
        """Give *head* its body; return it if it has not arrived completely."""
        client, length = self._client, head.length
        body: Body | None = None
        if head.is_chunked:
            body = ChunkedBody(client, self._connection, is_withheld=head.expects_continue)
        elif length > len(client.unread):
            body = LengthBody(client, self._connection, is_withheld=head.expects_continue, length=length)
        head.environ["wsgi.input"] = body or BytesIO(client.unread[:length])
        if not body:
            client.unread = client.unread[length:]
        return body

    def _ends_after(self, head: Head, body: Body | None) -> bool:
        return self._ends or head.is_last or (body is not None and body.ends_connection(self._max_rest))

    def _refuse(self, error: HTTPException) -> None:
        """Refuse a request that the application does not see, as a problem document."""
        self._connection.wait()
        self._client.send(raw(refuse_unread(error)))
        self._client.linger()


def raw(reply: Response) -> bytes:
    """Return *reply* as the last one of a connection."""
    head = f"HTTP/1.1 {reply.status}\r\nConnection: close\r\n{reply.headers}"
    return head.encode("latin-1") + reply.get_data()
