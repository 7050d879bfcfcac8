"""Mixed load on a deployment of several replicas, by many honest clients and a few others."""

import itertools
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.database import Database

from tests.support.lifecycle import UNKNOWN_ID
from tests.support.service import Reply, Service

CREATE, FETCH = "/vault/secret/create/", "/vault/secret/fetch"
#: For a client without waits.
IMPATIENT = "203.0.113.9"
#: Concurrent calls: more in the middle than at the ends.
CALLERS = (4, 8, 16, 8, 4)

SETTINGS = {
    "WEB_CONCURRENCY": "4",
    "TRUSTED_PROXIES": "127.0.0.1",
    "RATE_LIMIT": "2/second",
    "FAILED_AUTH_LIMIT": "5/minute",
}


class MixedLoad:
    """Creates, fetches, and all other calls, valid and invalid; each reply must be the expected one."""

    def __init__(self, replicas: Sequence[Service]) -> None:
        self._replicas = itertools.cycle(replicas)
        self._addresses = itertools.cycle(f"10.0.{number // 250}.{number % 250}" for number in range(1_000))
        self._ids = [self._create() for _ in range(20)]
        self.sent = 0

    def run(self, seconds: float) -> None:
        """Make each call once, and then any of them for the given time."""
        actions = [self.fetch] * 12 + [self._create] * 5 + [self.describe, self.update, self.delete]
        actions += [self.missing, self.invalid, self.shapeless, self.refused, self.nameless, self.impatient]
        for action in dict.fromkeys(actions):
            action()
        for callers in CALLERS:
            ended = time.monotonic() + seconds / len(CALLERS)
            with ThreadPoolExecutor(callers) as pool:
                for done in [pool.submit(self._repeat, actions, ended) for _ in range(callers)]:
                    done.result()

    def _repeat(self, actions: Sequence[Callable[[], object]], ended: float) -> None:
        while time.monotonic() < ended:
            secrets.choice(actions)()
            self.sent += 1

    def _post(self, path: str, body: object, *expected: int, address: str = "", **headers: str) -> Reply:
        headers["X-Forwarded-For"] = address or next(self._addresses)
        reply = next(self._replicas).post(path, body, **headers)
        assert reply.status in expected, (path, reply.status, reply.body)
        return reply

    def _create(self) -> str:
        body = {"secret": b64encode(secrets.token_bytes(24)).decode(), "labels": {"team": "billing"}}
        return str(self._post(CREATE, body, 200).body["secret_id"])

    def fetch(self) -> None:
        """Fetch an existing secret."""
        self._post(FETCH, {"secret_id": secrets.choice(self._ids)}, 200)

    def describe(self) -> None:
        """Describe an existing secret."""
        self._post("/vault/secret/describe", {"secret_id": secrets.choice(self._ids)}, 200)

    def update(self) -> None:
        """Update a secret, possibly concurrently with others."""
        body = {"secret_id": secrets.choice(self._ids), "secret": "YW5vdGhlcg=="}
        self._post("/vault/secret/update", body, 200, 503)

    def delete(self) -> None:
        """Delete a secret created for that."""
        self._post("/vault/secret/delete", {"secret_id": self._create()}, 200)

    def missing(self) -> None:
        """Request a missing secret."""
        self._post(FETCH, {"secret_id": UNKNOWN_ID}, 404)

    def invalid(self) -> None:
        """Send invalid base64."""
        self._post(CREATE, {"secret": "?"}, 400)

    def shapeless(self) -> None:
        """Send an invalid body."""
        self._post(FETCH, {"id": UNKNOWN_ID}, 422)

    def nameless(self) -> None:
        """Use a name without a credential."""
        self._post(FETCH, {"name": "billing/db-password"}, 401)

    def refused(self) -> None:
        """Send an invalid credential, from one address until that is refused as well."""
        token = {"Authorization": "Bearer smt_expired"}
        self._post(FETCH, {"secret_id": UNKNOWN_ID}, 401, 429, address="198.51.100.7", **token)

    def impatient(self) -> None:
        """Call more often than the limit."""
        for _ in range(20):
            self._post(FETCH, {"secret_id": secrets.choice(self._ids)}, 200, 429, address=IMPATIENT)


def spoil(stored: Database[dict[str, Any]], service: Service) -> str:
    """Return the ID of a secret that was altered in the database."""
    secret_id = service.create(b"a value")
    stored.secrets.update_one({"_id": secret_id}, {"$inc": {"version": 1}})
    return secret_id
