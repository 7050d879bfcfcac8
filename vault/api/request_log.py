"""What every request and reply gets, whatever it is about."""

import logging
import re
from functools import cache
from http import HTTPStatus
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, g, request

from vault.api.errors import REASONS
from vault.observability import logs, metrics

logger = logging.getLogger(__name__)

_REQUEST_ID = "X-Request-ID"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")


#: What metrics call the endpoints that are no operations of the API.
_ENDPOINTS = {
    "Health.live": "health_live",
    "Health.ready": "health_ready",
    "openapi_json": "openapi",
    "documentation.page": "docs",
    "documentation.static": "docs",
    "documentation.swagger_ui": "docs",
    None: "none",
}

# Making a child takes longer than counting with it.
_requests = cache(metrics.REQUESTS.labels)
_duration = cache(metrics.DURATION.labels)
_refusals = cache(metrics.REFUSALS.labels)


def init_app(app: Flask) -> None:
    """Give every request of *app* an id and every reply its headers and a log line."""
    app.before_request(_begin)
    app.after_request(_end)
    app.teardown_request(_forget)
    for reason in REASONS:
        # There from the start: of what first appears as 1 Prometheus sees no increase.
        _refusals(reason)


def _begin() -> None:
    offered = request.headers.get(_REQUEST_ID, "")
    logs.request_id.set(offered if _SANE_REQUEST_ID.fullmatch(offered) else str(uuid4()))
    g.started = perf_counter()


def _end(reply: Response) -> Response:
    reply.headers[_REQUEST_ID] = logs.request_id.get()
    reply.headers["X-Content-Type-Options"] = "nosniff"
    if request.path.startswith("/vault/"):
        reply.headers["Cache-Control"] = "no-store"
    rule = request.url_rule
    operation = _operation(rule.endpoint if rule else None)
    seconds = perf_counter() - g.started
    reason = g.get("refused_for")
    _requests(operation, reply.status_code).inc()
    _duration(operation).observe(seconds)
    if reason:
        _refusals(reason).inc()
    attempt = g.get("attempt")
    logs.write(
        logger,
        _level(reply.status_code),
        "request",
        {
            "method": request.method,
            # The route and not the path: a path is whatever a client makes up.
            "route": rule.rule if rule else None,
            "operation": operation,
            "status": reply.status_code,
            "reason": reason,
            "milliseconds": round(seconds * 1_000, 2),
            "principal": attempt.principal.name if attempt else None,
        },
    )
    return reply


@cache
def _operation(endpoint: str | None) -> str:
    """Return what metrics and log call an endpoint: an operation of the API by its name in the document."""
    return _ENDPOINTS.get(endpoint) or str(endpoint).rpartition(".")[2]


def _level(status: int) -> int:
    """Return how much an operator should care: a refusal is a caller's business, a failure is not."""
    if status < HTTPStatus.INTERNAL_SERVER_ERROR:
        return logging.INFO
    return logging.WARNING if status == HTTPStatus.SERVICE_UNAVAILABLE else logging.ERROR


def _forget(_error: BaseException | None) -> None:
    # A kept-alive connection's next request is answered in the same context.
    logs.request_id.set("")
