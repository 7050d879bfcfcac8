"""How many requests are answered. `limits` counts; here is what is counted, and what is said of it.

When the place where all workers count together fails, each goes on by itself, in memory, and says so in the
log: a request is never refused because its count could not be kept.
"""

import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from flask import Flask, Response, after_this_request, current_app
from limits import RateLimitItem, parse_many
from limits.errors import StorageError
from limits.storage import MemoryStorage, MongoDBStorage, storage_from_string
from limits.strategies import FixedWindowRateLimiter
from pymongo.errors import PyMongoError

from vault.config.settings import Settings
from vault.config.validators import MEMORY
from vault.core.attempt import Attempt
from vault.core.errors import RateLimitedError
from vault.core.networks import source
from vault.documents.database import database_name
from vault.observability import metrics

logger = logging.getLogger(__name__)

_EXTENSION = "secret-manager-limits"

#: Milliseconds that counting may take.
_TIMEOUT_MILLISECONDS = 1_000

#: Seconds from a failure until the common count is tried again.
_RETRY_SECONDS = 5


class _Limits:
    """The limits of one application."""

    def __init__(self, settings: Settings) -> None:
        uri = settings.rate_limit_storage_uri
        self.request = _parsed(settings.rate_limit)
        self.failure = _parsed(settings.failed_auth_limit)
        self.shared = FixedWindowRateLimiter(storage_from_string(uri, **_options(uri)))
        self._own = FixedWindowRateLimiter(MemoryStorage())
        self._shared_from = 0.0
        self._is_connected = False
        # limits starts a timer for each storage in memory; no thread survives gunicorn's fork.
        for counter in (self.shared, self._own):
            if isinstance(counter.storage, MemoryStorage):
                counter.storage.timer.join()

    def count(self, limits: Sequence[RateLimitItem], *key: str) -> None:
        """Count for *key*, and tell in the reply how much the first of *limits* that is reached has left.

        Raises:
            RateLimitedError: It is one too many.
        """
        for limit in limits:
            counter, passed = self._hit(limit, key)
            if limit is limits[0] or not passed:
                _tell(counter, limit, key, passed=passed)
            if not passed:
                raise RateLimitedError

    def close(self) -> None:
        """Close the connection to the common count, if there is one."""
        storage = self.shared.storage
        # limits creates the client at its first use, and has no way to close it.
        if self._is_connected and isinstance(storage, MongoDBStorage):
            with suppress(PyMongoError):
                storage.storage.close()

    def _hit(self, limit: RateLimitItem, key: Sequence[str]) -> tuple[FixedWindowRateLimiter, bool]:
        if time.monotonic() >= self._shared_from:
            self._is_connected = True
            try:
                return self.shared, self.shared.hit(limit, *key)
            except StorageError:
                logger.warning("rate limits are counted by each worker for itself: their storage is away")
                self._shared_from = time.monotonic() + _RETRY_SECONDS
        return self._own, self._own.hit(limit, *key)


def init_app(app: Flask, settings: Settings) -> None:
    """Let *app* count, as *settings* say."""
    app.extensions[_EXTENSION] = _Limits(settings)


def close(app: Flask) -> None:
    """Close the connection to the place where all workers count, if there is one."""
    limits: _Limits = app.extensions[_EXTENSION]
    limits.close()


def count_request(attempt: Attempt) -> None:
    """Count a request of the principal of *attempt*, or of its address if nobody knows who that is.

    Raises:
        RateLimitedError: It is one too many.
    """
    principal = attempt.principal
    if limits := _limits().request:
        key = f"principal:{principal.name}" if principal.authenticated else f"address:{source(attempt.ip)}"
        _count(limits, "requests", key, attempt=attempt)


def count_failure(attempt: Attempt) -> None:
    """Count a credential that is not good, by the address that it came from.

    Only those that are not good count, and only they are refused: whoever shares an address with somebody
    who tries out credentials is not locked out with them.

    Raises:
        RateLimitedError: It is one too many.
    """
    _count(_limits().failure, "failures", f"address:{source(attempt.ip)}", attempt=attempt)


def _count(limits: Sequence[RateLimitItem], *key: str, attempt: Attempt) -> None:
    try:
        _limits().count(limits, *key)
    except RateLimitedError:
        metrics.RATE_LIMIT_HITS.labels(key[0]).inc()
        attempt.details["reason"] = "rate limit"
        raise


def _limits() -> _Limits:
    found: _Limits = current_app.extensions[_EXTENSION]
    return found


def _parsed(text: str | None) -> list[RateLimitItem]:
    """Return the limits of *text*, those of the shortest time first."""
    return sorted(parse_many(text)) if text else []


def _tell(counter: FixedWindowRateLimiter, limit: RateLimitItem, key: Sequence[str], *, passed: bool) -> None:
    def tell(reply: Response) -> Response:
        with suppress(StorageError):
            window = counter.get_window_stats(limit, *key)
            seconds = max(1, round(window.reset_time - time.time()))
            reply.headers["RateLimit-Limit"] = str(limit.amount)
            reply.headers["RateLimit-Remaining"] = str(window.remaining)
            reply.headers["RateLimit-Reset"] = str(seconds)
            if not passed:
                reply.headers["Retry-After"] = str(seconds)
        return reply

    after_this_request(tell)


def _options(uri: str) -> dict[str, Any]:
    if uri == MEMORY:
        return {}
    return {
        "database_name": database_name(uri),
        "counter_collection_name": "rate_limits",
        "window_collection_name": "rate_limit_windows",
        "wrap_exceptions": True,
        "timeoutMS": _TIMEOUT_MILLISECONDS,
    }
