"""How many requests are answered. Flask-Limiter counts; here is what is counted, and what is said of it.

When the place where all workers count together fails, each goes on by itself, in memory, and says so in the
log: a request is never refused because its count could not be kept.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network
from typing import Any

from flask import Flask, Response, current_app, g
from flask_limiter import Limiter, RateLimitExceeded
from limits.errors import StorageError
from pymongo.uri_parser import parse_uri

from vault.errors import RateLimitedError
from vault.operations.attempt import Attempt
from vault.settings import Settings

_EXTENSION = "secret-manager-limits"
_COUNTED_BY = "counted_by"
_MEMORY = "memory://"
_DATABASE = "vault"

#: Milliseconds that counting may take.
_PATIENCE = 1_000


class _Limits:
    """The limits of one application."""

    def __init__(self, app: Flask, settings: Settings) -> None:
        self.limiter = Limiter(
            _key,
            storage_uri=settings.rate_limit_storage_uri,
            storage_options=_options(settings.rate_limit_storage_uri),
            strategy="fixed-window",
            in_memory_fallback_enabled=True,
            headers_enabled=False,
        )
        self.limiter.init_app(app)
        # It would look for limits of each view before the request. There are none but those called below.
        self.limiter.request_filter(lambda: _COUNTED_BY not in g)
        # limits starts a timer for each place in memory; no thread survives gunicorn's fork.
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.join()
        # A name is all that Flask-Limiter knows a limit by, hence the two functions.
        self.request: Callable[[], None] = _request
        if settings.rate_limit:
            self.request = self.limiter.shared_limit(settings.rate_limit, scope="requests")(_request)
        self.failure = self.limiter.shared_limit(settings.failed_auth_limit, scope="failures")(_failure)


def init_app(app: Flask, settings: Settings) -> None:
    """Let *app* count, as *settings* say, and tell so in its replies."""
    app.extensions[_EXTENSION] = _Limits(app, settings)
    app.after_request(_tell)


def close(app: Flask) -> None:
    """Close the connection to the place where all workers count, if there is one."""
    # limits makes the client at its first use, and has no way to close it.
    client = getattr(app.extensions[_EXTENSION].limiter.storage, "_storage", None)
    if client is not None:
        client.close()


def count_request(attempt: Attempt) -> None:
    """Count a request of the principal of *attempt*, or of its address if nobody knows who that is.

    Raises:
        RateLimitedError: It is one too many.
    """
    principal = attempt.principal
    key = f"principal:{principal.name}" if principal.authenticated else _source(attempt.ip)
    _count(_limits().request, key, attempt)


def count_failure(attempt: Attempt) -> None:
    """Count a credential that is not good, by the address that it came from.

    Only those that are not good count, and only they are refused: whoever shares an address with somebody
    who tries out credentials is not locked out with them.

    Raises:
        RateLimitedError: It is one too many.
    """
    _count(_limits().failure, _source(attempt.ip), attempt)


def _source(address: str) -> str:
    """Return what *address* is counted as: of IPv6 the first 64 bits, as one client has all the rest."""
    return f"address:{ip_network(f'{address}/64', strict=False) if ':' in address else address}"


def _limits() -> _Limits:
    found: _Limits = current_app.extensions[_EXTENSION]
    return found


def _count(count: Callable[[], None], key: str, attempt: Attempt) -> None:
    setattr(g, _COUNTED_BY, key)
    try:
        count()
    except RateLimitExceeded:
        attempt.details["reason"] = "rate limit"
        raise RateLimitedError from None


def _key() -> str:
    key: str = g.get(_COUNTED_BY)
    return key


def _request() -> None:
    """Stand for a request; what counts is that it is called."""


def _failure() -> None:
    """Stand for a refused credential."""


def _tell(reply: Response) -> Response:
    limit = _limits().limiter.current_limit
    if limit is not None:
        with suppress(StorageError):
            seconds = max(1, round(limit.reset_at - time.time()))
            reply.headers["RateLimit-Limit"] = str(limit.limit.amount)
            reply.headers["RateLimit-Remaining"] = str(limit.remaining)
            reply.headers["RateLimit-Reset"] = str(seconds)
            if limit.breached:
                reply.headers["Retry-After"] = str(seconds)
    return reply


def _options(uri: str) -> dict[str, Any]:
    if uri == _MEMORY:
        return {}
    return {
        # As a plain URI, so that no SRV record is looked up for it.
        "database_name": parse_uri(uri.replace("mongodb+srv://", "mongodb://", 1))["database"] or _DATABASE,
        "counter_collection_name": "rate_limits",
        "window_collection_name": "rate_limit_windows",
        "wrap_exceptions": True,
        "timeoutMS": _PATIENCE,
    }
