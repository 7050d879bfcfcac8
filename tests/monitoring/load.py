"""Load of all kinds on a deployment of several replicas, as many honest clients make it, and a few others."""

import itertools
import secrets
import time
from base64 import b64encode
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pymongo.database import Database

from tests.life import UNKNOWN_ID
from tests.service import Reply, Service

CREATE, FETCH = "/vault/secret/create/", "/vault/secret/fetch"
#: Of a client that waits for nothing.
IMPATIENT = "203.0.113.9"
#: Calls that are under way at a time: more in the middle than at the ends.
CALLERS = (4, 8, 16, 8, 4)

SETTINGS = {
    "WEB_CONCURRENCY": "4",
    "TRUSTED_PROXIES": "127.0.0.1",
    "RATE_LIMIT": "2/second",
    "FAILED_AUTH_LIMIT": "5/minute",
}


class MixedLoad:
    """Creates, fetches, and all else that callers do, right and wrong; each reply has to be as expected."""

    def __init__(self, replicas: Sequence[Service]) -> None:
        self._replicas = itertools.cycle(replicas)
        self._addresses = itertools.cycle(f"10.0.{number // 250}.{number % 250}" for number in range(1_000))
        self._ids = [self._create() for _ in range(20)]
        self.sent = 0

    def run(self, seconds: float) -> None:
        """Call for so long."""
        actions = [self.fetch] * 12 + [self._create] * 5 + [self.describe, self.update, self.delete]
        actions += [self.missing, self.invalid, self.shapeless, self.refused, self.nameless, self.impatient]
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
        """Fetch something that is there."""
        self._post(FETCH, {"secret_id": secrets.choice(self._ids)}, 200)

    def describe(self) -> None:
        """Describe something."""
        self._post("/vault/secret/describe", {"secret_id": secrets.choice(self._ids)}, 200)

    def update(self) -> None:
        """Give something another value; others may be at it."""
        body = {"secret_id": secrets.choice(self._ids), "secret": "YW5vdGhlcg=="}
        self._post("/vault/secret/update", body, 200, 503)

    def delete(self) -> None:
        """Delete something that was created for it."""
        self._post("/vault/secret/delete", {"secret_id": self._create()}, 200)

    def missing(self) -> None:
        """Ask for what is not there."""
        self._post(FETCH, {"secret_id": UNKNOWN_ID}, 404)

    def invalid(self) -> None:
        """Send what is no base64."""
        self._post(CREATE, {"secret": "?"}, 400)

    def shapeless(self) -> None:
        """Send another shape."""
        self._post(FETCH, {"id": UNKNOWN_ID}, 422)

    def nameless(self) -> None:
        """Ask for a name without a credential."""
        self._post(FETCH, {"name": "billing/db-password"}, 401)

    def refused(self) -> None:
        """Come with a credential that is not good, from one address until that is refused as well."""
        token = {"Authorization": "Bearer smt_expired"}
        self._post(FETCH, {"secret_id": UNKNOWN_ID}, 401, 429, address="198.51.100.7", **token)

    def impatient(self) -> None:
        """Call more often than one may."""
        for _ in range(20):
            self._post(FETCH, {"secret_id": secrets.choice(self._ids)}, 200, 429, address=IMPATIENT)


def spoil(stored: Database[dict[str, Any]], service: Service) -> str:
    """Return the id of a secret that somebody has changed in the database."""
    secret_id = service.create(b"a value")
    stored.secrets.update_one({"_id": secret_id}, {"$inc": {"version": 1}})
    return secret_id
