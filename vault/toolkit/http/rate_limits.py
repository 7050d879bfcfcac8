"""Rate limits by principal and address.

Beyond a limit, a count raises `RateLimitedError`.
"""

from threading import Lock
from typing import TYPE_CHECKING

from flask import Flask, current_app

from vault.common.config.settings import Settings
from vault.common.errors import RateLimitedError
from vault.common.networks import source
from vault.common.observability import metrics
from vault.core.attempt import Attempt

if TYPE_CHECKING:
    from vault.toolkit.http.counters import Counters, Quota

_EXTENSION = "secret-manager-limits"


class _Limits:
    """The limits of one application. The first count makes its counters: many workers never count."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.limits_requests = bool(settings.rate_limit)
        self._making = Lock()
        self._counters: Counters | None = None

    @property
    def counters(self) -> "Counters":
        """The counters, which load the library `limits`."""
        from vault.toolkit.http.counters import Counters

        with self._making:
            self._counters = self._counters or Counters(self._settings)
        return self._counters

    def close(self) -> None:
        """Close the connection to the common count, if there is one."""
        if self._counters:
            self._counters.close()


def init_app(app: Flask, settings: Settings) -> None:
    """Add the rate limits in *settings* to *app*."""
    app.extensions[_EXTENSION] = _Limits(settings)


def close(app: Flask) -> None:
    """Close the connection to the place where all workers count, if there is one."""
    limits: _Limits = app.extensions[_EXTENSION]
    limits.close()


def count_request(attempt: Attempt) -> None:
    """Count a request of the principal of *attempt*, or of its address if the caller is anonymous."""
    limits = _limits()
    if limits.limits_requests:
        _count(limits.counters.request, _caller(attempt), attempt=attempt)


def count_items(count: int, *, attempt: Attempt) -> None:
    """Count the items of a batch as requests, in one operation; its own request stands for the first item.

    If they exceed a limit together, none of them is counted.
    """
    limits = _limits()
    if limits.limits_requests and count > 1:
        _count(limits.counters.request, _caller(attempt), items=count - 1, attempt=attempt)


def count_failure(attempt: Attempt) -> None:
    """Count an invalid credential, by its address.

    Only invalid credentials are counted and refused. So an attacker who guesses credentials does not lock out
    other clients at the same address.
    """
    _count(_limits().counters.failure, f"address:{source(attempt.ip)}", attempt=attempt)


def _caller(attempt: Attempt) -> str:
    principal = attempt.principal
    return f"principal:{principal.name}" if principal.authenticated else f"address:{source(attempt.ip)}"


def _count(quota: "Quota", key: str, *, items: int = 0, attempt: Attempt) -> None:
    try:
        _limits().counters.count(quota, key, items=items)
    except RateLimitedError:
        metrics.RATE_LIMIT_HITS.labels(quota.kind).inc()
        attempt.details["reason"] = "rate limit"
        raise


def _limits() -> _Limits:
    limits: _Limits = current_app.extensions[_EXTENSION]
    return limits
