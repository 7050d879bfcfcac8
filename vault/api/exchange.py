"""What every request and reply gets, whatever it is about."""

import logging
import re
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, g, request

from vault import logs

logger = logging.getLogger(__name__)

_REQUEST_ID = "X-Request-ID"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


def init_app(app: Flask) -> None:
    """Give every request of *app* an id and every reply its headers and a log line."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)


def _begin() -> None:
    offered = request.headers.get(_REQUEST_ID, "")
    logs.request_id.set(offered if _SANE_REQUEST_ID.fullmatch(offered) else str(uuid4()))
    g.started = perf_counter()


def _end(reply: Response) -> Response:
    reply.headers[_REQUEST_ID] = logs.request_id.get()
    reply.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/vault/"):
        reply.headers["Cache-Control"] = "no-store"
    logger.info(
        "request",
        extra={
            "method": request.method,
            # The route and not the path: a path is whatever a client makes up.
            "route": request.url_rule.rule if request.url_rule else None,
            "status": reply.status_code,
            "milliseconds": round((perf_counter() - g.started) * 1_000, 2),
        },
    )
    return reply


def _forget(_error: BaseException | None) -> None:
    # A kept-alive connection's next request is answered in the same context.
    logs.request_id.set("")
