"""Rate limits by principal and address, and their headers. The library `limits` counts.

If the storage that all workers share fails, each worker counts in its own memory and logs a warning. So a
request is never refused because its count could not be stored.

Beyond a limit, a count raises `RateLimitedError`.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from flask import Flask, Response, after_this_request, current_app, g
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, MongoDBStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from pymongo.errors import PyMongoError

from vault.common.config.settings import Settings
from vault.common.config.validators import MEMORY
from vault.common.errors import RateLimitedError
from vault.common.networks import source
from vault.common.observability import metrics
from vault.core.attempt import Attempt
from vault.core.documents.database import database_name

logger = logging.getLogger(__name__)

_EXTENSION = "secret-manager-limits"

#: Timeout of an operation of the shared storage.
_TIMEOUT_MILLISECONDS = 1_000

#: Seconds from a failure until the next attempt with the shared storage.
_RETRY_SECONDS = 5


class _Quota:
    """The limits of one *kind* of count, the shortest window first, and their names in the headers."""

    def __init__(self, kind: str, text: str | None) -> None:
        self.kind = kind
        self.limits = sorted(parse_many(text)) if text else []
        # Clients find a limit by its name, so names of several limits differ.
        self.names = {
            limit: kind if len(self.limits) == 1 else f"{kind}-{limit.amount}/{limit.get_expiry()}s"
            for limit in self.limits
        }
        self.policy = ", ".join(
            f'"{name}";q={limit.amount};w={limit.get_expiry()}' for limit, name in self.names.items()
        )


class _Limits:
    """The limits of one application."""

    def __init__(self, settings: Settings) -> None:
        uri, memory = settings.rate_limit_storage_uri, MemoryStorage()
        # limits starts a timer for the storage; no thread survives gunicorn's fork.
        memory.timer.join()
        self.request = _Quota("requests", settings.rate_limit)
        self.failure = _Quota("failures", settings.failed_auth_limit)
        self._own = FixedWindowRateLimiter(memory)
        self.shared = (
            self._own if uri == MEMORY else FixedWindowRateLimiter(storage_from_string(uri, **_options(uri)))
        )
        self._shared_from = 0.0
        self._connecting = Lock()
        self._is_connected = False

    def count(self, quota: _Quota, source: str, *, items: int = 0) -> None:
        """Count a request of *source*, or further *items* of one.

        Add headers about the first exceeded limit, or else the first of *quota*. Beyond a limit, the request
        is counted, and its *items* are not.
        """
        key = (quota.kind, source)
        # A batch that does not fit uses up no limit.
        checks = (FixedWindowRateLimiter.test,) if items else ()
        for step in (*checks, FixedWindowRateLimiter.hit):
            for limit in quota.limits:
                counter, passed = self._count(step, limit, key, items or 1)
                if limit is quota.limits[0] or not passed:
                    _add_headers(counter, quota, limit, key, passed=passed)
                if not passed:
                    raise RateLimitedError

    def close(self) -> None:
        """Close the connection to the common count, if there is one."""
        storage = self.shared.storage
        # limits creates the client at its first use, and has no way to close it.
        if self._is_connected and isinstance(storage, MongoDBStorage):
            with suppress(PyMongoError):
                storage.storage.close()

    def _count(
        self, step: Callable[..., bool], limit: RateLimitItem, key: Sequence[str], cost: int
    ) -> tuple[FixedWindowRateLimiter, bool]:
        """Return the counter in use, and the result of its method *step* for *cost* requests."""
        if time.monotonic() >= self._shared_from:
            self._connect()
            try:
                return self.shared, step(self.shared, limit, *key, cost=cost)
            except StorageError:
                logger.warning("rate limits are counted by each worker alone: their storage is unavailable")
                self._shared_from = time.monotonic() + _RETRY_SECONDS
        return self._own, step(self._own, limit, *key, cost=cost)

    def _connect(self) -> None:
        """Connect to the shared count once: limits would create a client per concurrent first request."""
        with self._connecting:
            if not self._is_connected:
                self.shared.storage.check()
                self._is_connected = True


def init_app(app: Flask, settings: Settings) -> None:
    """Add the rate limits in *settings* to *app*."""
    app.extensions[_EXTENSION] = _Limits(settings)


def close(app: Flask) -> None:
    """Close the connection to the place where all workers count, if there is one."""
    limits: _Limits = app.extensions[_EXTENSION]
    limits.close()


def count_request(attempt: Attempt) -> None:
    """Count a request of the principal of *attempt*, or of its address if the caller is anonymous."""
    quota = _limits().request
    if quota.limits:
        _count(quota, _caller(attempt), attempt=attempt)


def count_items(count: int, *, attempt: Attempt) -> None:
    """Count the items of a batch as requests, in one operation; its own request stands for the first item.

    If they exceed a limit together, none of them is counted.
    """
    quota = _limits().request
    if quota.limits and count > 1:
        _count(quota, _caller(attempt), items=count - 1, attempt=attempt)


def count_failure(attempt: Attempt) -> None:
    """Count an invalid credential, by its address.

    Only invalid credentials are counted and refused. So an attacker who guesses credentials does not lock out
    other clients at the same address.
    """
    _count(_limits().failure, f"address:{source(attempt.ip)}", attempt=attempt)


def _caller(attempt: Attempt) -> str:
    principal = attempt.principal
    return f"principal:{principal.name}" if principal.authenticated else f"address:{source(attempt.ip)}"


def _count(quota: _Quota, key: str, *, items: int = 0, attempt: Attempt) -> None:
    try:
        _limits().count(quota, key, items=items)
    except RateLimitedError:
        metrics.RATE_LIMIT_HITS.labels(quota.kind).inc()
        attempt.details["reason"] = "rate limit"
        raise


def _limits() -> _Limits:
    limits: _Limits = current_app.extensions[_EXTENSION]
    return limits


def _add_headers(
    counter: FixedWindowRateLimiter, quota: _Quota, limit: RateLimitItem, key: Sequence[str], *, passed: bool
) -> None:
    """Add the headers for *limit*, and for all of its *quota*, to the reply, in place of earlier ones."""
    if "rate_limit" not in g:
        after_this_request(_write_headers)
    g.rate_limit = counter, quota, limit, key, passed


def _write_headers(reply: Response) -> Response:
    counter, quota, limit, key, passed = g.rate_limit
    with suppress(StorageError):
        window = counter.get_window_stats(limit, *key)
        seconds = max(1, round(window.reset_time - time.time()))
        # draft-ietf-httpapi-ratelimit-headers-10
        reply.headers["RateLimit-Policy"] = quota.policy
        reply.headers["RateLimit"] = f'"{quota.names[limit]}";r={window.remaining};t={seconds}'
        if not passed:
            reply.headers["Retry-After"] = str(seconds)
    return reply


def _options(uri: str) -> dict[str, Any]:
    """Return the options of the storage in MongoDB."""
    return {
        "database_name": database_name(uri),
        "counter_collection_name": "rate_limits",
        "window_collection_name": "rate_limit_windows",
        "wrap_exceptions": True,
        "timeoutMS": _TIMEOUT_MILLISECONDS,
    }
