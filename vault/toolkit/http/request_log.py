"""Request IDs, headers, metrics and log lines of all requests."""

import logging
import re
from functools import cache
from http import HTTPStatus
from time import perf_counter
from uuid import uuid4

from flask import Flask, Response, current_app, g, request
from werkzeug.exceptions import HTTPException

from vault.common.errors import OverloadedError
from vault.common.observability import logs, metrics
from vault.toolkit.http.application import header, unwrapped
from vault.toolkit.http.errors import problem
from vault.toolkit.http.prefixes import operations
from vault.toolkit.http.refusals import REFUSALS, code_of

logger = logging.getLogger(__name__)

#: Request IDs that clients may choose.
REQUEST_ID_PATTERN = "^[A-Za-z0-9._:/+=@-]{1,128}$"

_REQUEST_ID = "X-Request-ID"
#: The request ID of a refused connection: no request was read.
_REFUSED_CONNECTION = "refused-connection"
_VALID_REQUEST_ID = re.compile(REQUEST_ID_PATTERN)

#: For a year, and only for this host: other hosts of its domain may have no TLS.
_TLS_POLICY = "max-age=31536000"

#: The name in metrics and logs of requests for no endpoint.
_UNKNOWN = "none"

_LIVE = "health_live"

#: Names in metrics of the endpoints that are not operations of the API.
_ENDPOINTS = {
    "Health.live": _LIVE,
    "Health.ready": "health_ready",
    "openapi_json": "openapi",
    "root": "docs",
    "documentation.page": "docs",
    "documentation.static": "docs",
    "documentation.swagger_ui": "docs",
    "problem_pages.index": "problems",
    "problem_pages.page": "problems",
    None: _UNKNOWN,
}

# Looking up a label's child takes longer than counting with it.
_requests = cache(metrics.REQUESTS.labels)
_duration = cache(metrics.DURATION.labels)
_refusals = cache(metrics.REFUSALS.labels)


def init_app(app: Flask, *, serves_tls: bool) -> None:
    """Add an ID to every request of *app*, and headers, metrics and a log line to every reply."""
    app.before_request(_begin)
    app.after_request(_end)
    if serves_tls:
        app.after_request(_require_tls)
    app.teardown_request(_forget)
    for reason in REFUSALS:
        # Present from the start: Prometheus sees no increase in a counter that first appears with value 1.
        _refusals(reason)


def _begin() -> None:
    client_id = header(unwrapped(request), _REQUEST_ID) or ""
    logs.request_id.set(client_id if _VALID_REQUEST_ID.fullmatch(client_id) else str(uuid4()))
    g.started = perf_counter()


def refuse_unread(error: HTTPException) -> Response:
    """Return the refusal of a request that the server could not read, which the application does not see.

    It is counted and logged like other refusals, without anything that the client sent.
    """
    logs.request_id.set(str(uuid4()))
    try:
        reply = _with_headers(problem(error))
        reason = code_of(error)
        _requests(_UNKNOWN, reply.status_code).inc()
        _refusals(reason).inc()
        _write(reply.status_code, reason=reason)
        return reply
    finally:
        _forget(None)


def refuse_connection() -> Response:
    """Return the refusal of a connection, the same for all: `vault.toolkit.http.connections` counts them."""
    logs.request_id.set(_REFUSED_CONNECTION)
    try:
        return _with_headers(problem(OverloadedError()))
    finally:
        _forget(None)


def _with_headers(reply: Response) -> Response:
    # Added, not set: no reply has them yet, and looking for them takes time.
    reply.headers.add(_REQUEST_ID, logs.request_id.get())
    reply.headers.add("X-Content-Type-Options", "nosniff")
    return reply


def _end(reply: Response) -> Response:
    req, context = unwrapped(request), unwrapped(g)
    _with_headers(reply)
    if req.path.startswith(operations(unwrapped(current_app))):
        reply.headers.add("Cache-Control", "no-store")
    rule = req.url_rule
    operation = _operation(rule.endpoint if rule else None)
    seconds = perf_counter() - context.started
    reason = context.get("refused_for")
    _requests(operation, context.get("measured_status", reply.status_code)).inc()
    _duration(operation).observe(seconds)
    if reason:
        _refusals(reason).inc()
    attempt = context.get("attempt")
    _write(
        reply.status_code,
        method=req.method,
        # The route, not the path: clients choose the path.
        route=rule.rule if rule else None,
        operation=operation,
        reason=reason,
        milliseconds=round(seconds * 1_000, 2),
        principal=attempt.principal.name if attempt else None,
    )
    return reply


def _require_tls(reply: Response) -> Response:
    """Make browsers use TLS for this host from now on. Over plain HTTP, they would ignore this."""
    reply.headers["Strict-Transport-Security"] = _TLS_POLICY
    return reply


def _write(
    status: int,
    *,
    method: str | None = None,
    route: str | None = None,
    operation: str = _UNKNOWN,
    reason: str | None,
    milliseconds: float | None = None,
    principal: str | None = None,
) -> None:
    """Write the line of a request, with the fields in this order."""
    line = {
        "method": method,
        "route": route,
        "operation": operation,
        "status": status,
        "reason": reason,
        "milliseconds": milliseconds,
        "principal": principal,
    }
    logs.write(logger, _level(status, operation), "request", line)


@cache
def _operation(endpoint: str | None) -> str:
    """Return the name of an endpoint in metrics and logs: for operations, the `operationId`."""
    return _ENDPOINTS.get(endpoint) or str(endpoint).rpartition(".")[2]


def _level(status: int, operation: str) -> int:
    """Return the log level: refusals are for the caller to fix, failures for the operator."""
    if operation == _LIVE and status == HTTPStatus.OK:
        # Supervisors ask every few seconds.
        return logging.DEBUG
    # 501 refuses a framing that anyone can send.
    if status < HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.NOT_IMPLEMENTED:
        return logging.INFO
    return logging.WARNING if status == HTTPStatus.SERVICE_UNAVAILABLE else logging.ERROR


def _forget(_error: BaseException | None) -> None:
    # A kept-alive connection's next request is answered in the same context.
    logs.request_id.set("")
