"""Counts of requests and failures, and the headers about them. The library `limits` counts.

If the storage that all workers share fails, each worker counts in its own memory and logs a warning. So a
request is never refused because its count could not be stored.
"""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any

from flask import Response, after_this_request, g
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, MongoDBStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from pymongo.errors import PyMongoError

from vault.common.config.settings import Settings
from vault.common.config.validators import MEMORY
from vault.common.errors import RateLimitedError
from vault.core.documents.database import database_name

logger = logging.getLogger(__name__)

#: Timeout of an operation of the shared storage.
_TIMEOUT_MILLISECONDS = 1_000

#: Seconds from a failure until the next attempt with the shared storage.
_RETRY_SECONDS = 5


class Quota:
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


class Counters:
    """The counts of one application."""

    def __init__(self, settings: Settings) -> None:
        uri, memory = settings.rate_limit_storage_uri, MemoryStorage()
        # limits starts a timer for the storage; no thread survives gunicorn's fork.
        memory.timer.join()
        self.request = Quota("requests", settings.rate_limit)
        self.failure = Quota("failures", settings.failed_auth_limit)
        self._own = FixedWindowRateLimiter(memory)
        self.shared = (
            self._own if uri == MEMORY else FixedWindowRateLimiter(storage_from_string(uri, **_options(uri)))
        )
        self._shared_from = 0.0
        self._connecting = Lock()
        self._is_connected = False

    def count(self, quota: Quota, source: str, *, items: int = 0) -> None:
        """Count a request of *source*, or further *items* of one.

        Add headers about the first exceeded limit, or else the first of *quota*. Beyond a limit, the request
        is counted, and its *items* are not.

        Raises:
            RateLimitedError: It is beyond a limit.
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


def _add_headers(
    counter: FixedWindowRateLimiter, quota: Quota, limit: RateLimitItem, key: Sequence[str], *, passed: bool
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
