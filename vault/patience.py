"""How long a client is waited for: for the rest of its request, and until it takes the reply."""

from contextlib import suppress
from time import monotonic
from typing import Any

from gevent import Timeout, sleep
from gunicorn.http.body import LengthReader
from werkzeug.exceptions import RequestTimeout

#: Seconds that a client may take for its TLS handshake, for the body of a request, and to take a reply.
#: For the headers it has those of `keepalive`.
CLIENT_SECONDS = 10

#: Bytes of a refused request's body that are still read, so that its sender gets to read the refusal.
_DRAIN_BYTES = 2**27
_DRAIN_STEP = 2**16


class _Body:
    """A request's body, which has to be there in time: who sends half of one holds a place of others."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._deadline = monotonic() + CLIENT_SECONDS

    def read(self, size: int | None = None) -> bytes:
        """Return up to *size* bytes.

        Raises:
            RequestTimeout: They did not come in time.
        """
        late = RequestTimeout("the body did not arrive in time")
        left = self._deadline - monotonic()
        # What comes without a pause lets no timer run out.
        if left <= 0:
            raise late
        with Timeout(left, late):
            data: bytes = self._body.read(size)
            return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._body, name)


def _has_come(request: Any) -> bool:
    """Return whether the body came with the headers, as small ones do: a timer for it took 4 % of a fetch."""
    reader = request.body.reader
    return isinstance(reader, LengthReader) and reader.length <= request.unreader.buf.getbuffer().nbytes


def pre_request(_worker: Any, request: Any) -> None:
    """Let the sender of *request* not take forever, neither for its body nor to read the reply."""
    if not _has_come(request):
        request.body = _Body(request.body)
    request.unreader.sock.settimeout(CLIENT_SECONDS)


def post_request(_worker: Any, request: Any, _environ: Any, _reply: Any) -> None:
    """Read what a refused request left unread, up to a limit, and then close its connection.

    By itself gunicorn would read on without a limit before the connection's next request, and without
    letting any other connection take its turn.
    """
    if not request.body.failed:
        with suppress(RequestTimeout):
            # The measuring of coverage loses track of a greenlet that has slept, and misses the loop's end.
            for _ in range(_DRAIN_BYTES // _DRAIN_STEP):  # pragma: no branch
                if len(request.body.read(_DRAIN_STEP)) < _DRAIN_STEP:
                    return
                sleep(0)
    request.force_close()  # pragma: no cover - as above; test_an_endless_body_stops_nobody_else needs it
