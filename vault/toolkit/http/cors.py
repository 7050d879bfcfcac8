"""`OPTIONS` requests, and CORS for the origins in `CORS_ORIGINS`."""

from functools import partial
from http import HTTPStatus

from flask import Flask, Response, request
from werkzeug.exceptions import MethodNotAllowed

from vault.common.config.validators import ANY_ORIGIN
from vault.toolkit.http.errors import refuse

#: Request headers that a page of another origin may send.
_REQUEST_HEADERS = "Authorization, Content-Type, Idempotency-Key, X-Receipt, X-Request-ID, X-Role"

#: Reply headers that a page of another origin may read, in addition to the headers that every page may.
_REPLY_HEADERS = "RateLimit, RateLimit-Policy, Retry-After, WWW-Authenticate, X-Receipt, X-Request-ID"

#: Seconds for which a browser may keep the reply to a preflight request.
_MAX_AGE_SECONDS = 600


def init_app(app: Flask, origins: tuple[str, ...]) -> None:
    """Answer `OPTIONS` for each path of *app*, and allow requests from pages of *origins*."""
    app.register_error_handler(MethodNotAllowed, _answer)
    if origins:
        app.after_request(partial(_share, frozenset(origins)))


def _answer(error: MethodNotAllowed) -> Response:
    """Answer `OPTIONS`, without a credential, a body or MongoDB: the API document says the same."""
    error.valid_methods = [*sorted(error.valid_methods or ()), "OPTIONS"]
    if request.method != "OPTIONS":
        return refuse(error)
    reply = Response(status=HTTPStatus.NO_CONTENT, headers={"Allow": ", ".join(error.valid_methods)})
    del reply.headers["Content-Type"]
    return reply


def _share(origins: frozenset[str], reply: Response) -> Response:
    """Allow the page that sent this request to read *reply*, if it is of one of *origins*.

    Credentials that a browser adds by itself (cookies, client certificates) stay excluded.
    """
    origin = request.headers.get("Origin", "")
    if ANY_ORIGIN in origins:
        origin = ANY_ORIGIN
    else:
        # On every reply: a cache must not answer one origin with the reply to another.
        reply.vary.add("Origin")
    # Compared: a reflected origin, or one that matches a pattern, would admit pages of others.
    if origin not in origins:
        return reply
    reply.headers["Access-Control-Allow-Origin"] = origin
    if request.method == "OPTIONS":
        reply.headers["Access-Control-Allow-Methods"] = reply.headers.get("Allow", "")
        reply.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        reply.headers["Access-Control-Max-Age"] = str(_MAX_AGE_SECONDS)
    else:
        reply.headers["Access-Control-Expose-Headers"] = _REPLY_HEADERS
    return reply
