"""A cache of secrets, for any client of the service."""

import logging
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

ATTEMPTS = 5
MAX_WAIT_SECONDS = 30.0

log = logging.getLogger(__name__)


class Secret(NamedTuple):
    """A value and its version."""

    value: bytes
    version: int


class UnavailableError(Exception):
    """The service cannot reply now; ask again after *retry_after* seconds."""

    def __init__(self, retry_after: float) -> None:
        super().__init__("the service is unavailable")
        self.retry_after = retry_after


class SecretCache:
    """Calls *fetch* once in *max_age* seconds for each name, and keeps the value during an outage.

    *fetch* raises `UnavailableError`, or another error if the caller may not have the secret.
    """

    def __init__(self, fetch: Callable[[str], Secret], *, max_age: float = 300) -> None:
        self._fetch = fetch
        self._max_age = max_age
        self._cached: dict[str, tuple[Secret, float]] = {}
        self._retry_at = 0.0
        # One thread asks, and the others wait for its result.
        self._lock = threading.Lock()

    def get(self, name: str, *, refused: Secret | None = None) -> Secret:
        """Return the secret. If a login with a secret failed, pass it as *refused* to get a newer one."""
        with self._lock:
            now = time.monotonic()
            secret, expires = self._cached.get(name, (None, 0.0))
            is_fresh = now < expires and secret != refused
            if secret and (is_fresh or now < self._retry_at):
                return secret
            try:
                secret = self._read(name, attempts=1 if secret else ATTEMPTS)
            except UnavailableError as error:
                if not secret:
                    raise
                self._retry_at = time.monotonic() + error.retry_after
                log.warning("unavailable: keeping version %d of %s", secret.version, name)
                return secret
            except Exception:
                # For example, the secret was deleted, or the token was revoked.
                self._cached.pop(name, None)
                raise
            self._cached[name] = secret, time.monotonic() + self._max_age
            return secret

    def _read(self, name: str, attempts: int) -> Secret:
        for left in reversed(range(attempts)):
            try:
                return self._fetch(name)
            except UnavailableError as error:
                if not left or error.retry_after > MAX_WAIT_SECONDS:
                    raise
                time.sleep(error.retry_after)
        raise AssertionError
