"""Clients that continuously send all kinds of requests and keep the replies."""

import json
import random
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from typing import Any
from uuid import UUID

from tests.qa.faults.history import COMMON, MARK, NOT_SENT, UNKNOWN, History, Request

#: Secrets that clients use at a time, and requests after which one is replaced.
_LIVE, _USES = 60, 40
#: Seconds after a request that failed.
_PAUSE_AFTER_FAILURE = 0.2
#: Names that all clients write at a time, and the requests of a name after which it is replaced.
_NAMES, _NAME_USES = 4, 60
#: The share of requests with these names.
_COMMON_SHARE = 0.4
#: Number of attempts of a create with the same key.
_REPEATS = 100


@dataclass(slots=True)
class Known:
    """A secret whose ID a client has received."""

    name: str
    id: str
    limited: bool
    version: int = 1
    uses: int = 0


@dataclass(slots=True)
class Pool:
    """The secrets that the clients use."""

    live: list[Known] = field(default_factory=list)
    #: The requests for names that any client creates.
    named: int = 0

    def add(self, known: Known) -> None:
        """Make clients use *known*."""
        self.live.append(known)

    def pick_name(self, chance: random.Random) -> str:
        """Return a name that others ask for at the same time."""
        self.named += 1
        return f"{COMMON}{self.named // (_NAMES * _NAME_USES)}-{chance.randrange(_NAMES)}"

    def pick(self, chance: random.Random) -> Known | None:
        """Return one of them; None if there should be more first."""
        live = self.live
        if not live or len(live) < chance.randrange(_LIVE):
            return None
        known = chance.choice(live)
        known.uses += 1
        if known.uses >= _USES:
            self.live = [one for one in live if one.uses < _USES]
        return known


class Client:
    """One client, which sends one request at a time to *host*, and makes its choices by *seed*."""

    #: Seconds between its requests, on average.
    pause = 0.06
    #: Seconds that it waits for an answer; far more than the service may take.
    timeout_seconds = 60

    def __init__(
        self,
        number: int,
        port: int,
        *,
        seed: int,
        pool: Pool,
        history: History,
        token: str = "",
        host: str = "127.0.0.1",
    ) -> None:
        self.name = f"client-{number}"
        self._credential = {"Authorization": f"Bearer {token}"} if token else {}
        self._thread = threading.Thread(target=self._work, name=self.name, daemon=True)
        self._chance = random.Random(f"{seed} {number}")  # noqa: S311 - must be repeatable
        self._pool = pool
        self._history = history
        self._serial = count()
        self._stopped = threading.Event()
        self._connection = HTTPConnection(host, port, timeout=self.timeout_seconds)
        self._actions: list[Callable[[Known], Request]] = [
            *[self.fetch] * 6,
            *[self._fetch_version] * 1,
            *[self._update] * 4,
            *[self._update_expecting] * 2,
            *[self._delete] * 2,
            *[self._restore] * 2,
        ]

        self._by_name: list[Callable[[str], Request]] = [
            *[self._create_common] * 1,
            *[self._put] * 3,
            *[self.fetch_by_name] * 2,
        ]

    def start(self) -> None:
        """Send requests until it is stopped."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current request."""
        self._stopped.set()

    def join(self) -> None:
        """Return once it has ended."""
        self._thread.join()

    def close(self) -> None:
        """Close its connection."""
        self._connection.close()

    def _work(self) -> None:
        while not self._stopped.is_set():
            if self._credential and self._chance.random() < _COMMON_SHARE:
                self._rest(self._chance.choice(self._by_name)(self._pool.pick_name(self._chance)))
                continue
            known = self._pool.pick(self._chance)
            if known is None:
                self._create()
            elif known.limited:
                self._rest(self.fetch(known))
            else:
                self._rest(self._chance.choice(self._actions)(known))

    def _rest(self, request: Request) -> None:
        self._stopped.wait(
            _PAUSE_AFTER_FAILURE if request.failed else self._chance.uniform(0, 2 * self.pause)
        )

    def _create(self) -> None:
        name = f"{self.name}-{next(self._serial)}"
        body: dict[str, Any] = {"secret": self._value(name)}
        key = self._new_id() if self._chance.random() < 0.3 else None
        if self._chance.random() < 0.3:
            body["max_reads"] = self._chance.randint(1, 3)
        # Without a credential, a secret has no name.
        if self._credential and self._chance.random() < 0.3:
            body["name"] = name
        body |= self._more()
        request = self._ask("create", name, body, key=key)
        self._rest(request)
        if key:
            # As after a lost reply; sometimes also when it was not lost.
            for _ in range(_REPEATS):
                if self._stopped.is_set() or (request.succeeded and self._chance.random() < 0.7):
                    break
                request = self._ask("create", name, body, key=key)
                self._rest(request)
        if request.succeeded:
            self._pool.add(Known(name, request.reply["secret_id"], body.get("max_reads") is not None))

    def _more(self) -> dict[str, Any]:
        """Return further fields of each create."""
        return {}

    def fetch(self, known: Known) -> Request:
        """Fetch a secret's newest version."""
        return self._ask("fetch", known.name, {"secret_id": known.id})

    def fetch_by_name(self, name: str) -> Request:
        """Fetch the newest version of the secret with *name*."""
        return self._ask("fetch", name, {"name": name})

    def _create_common(self, name: str) -> Request:
        return self._ask("create", name, {"name": name, "secret": self._value(name)})

    def _put(self, name: str) -> Request:
        data = {"value": self._value(name)}
        stored = b64encode(json.dumps(data, separators=(",", ":")).encode()).decode()
        return self._ask("put", name, {"secret": stored}, path=f"/v1/secret/data/{name}", sent={"data": data})

    def _fetch_version(self, known: Known) -> Request:
        version = self._chance.randint(1, known.version)
        return self._ask("fetch", known.name, {"secret_id": known.id, "version": version})

    def _update(self, known: Known, **more: int) -> Request:
        body = {"secret_id": known.id, "secret": self._value(known.name), **more}
        request = self._ask("update", known.name, body)
        if request.succeeded:
            known.version = request.reply["version"]
        return request

    def _update_expecting(self, known: Known) -> Request:
        return self._update(known, expected_version=known.version)

    def _delete(self, known: Known) -> Request:
        return self._ask("delete", known.name, {"secret_id": known.id})

    def _restore(self, known: Known) -> Request:
        return self._ask("restore", known.name, {"secret_id": known.id})

    def _value(self, name: str) -> str:
        return b64encode(MARK + f"{name} {self.name} {next(self._serial)}".encode()).decode()

    def _new_id(self) -> str:
        return str(UUID(int=self._chance.getrandbits(128), version=4))

    def _ask(
        self,
        action: str,
        secret: str,
        body: dict[str, Any],
        *,
        key: str | None = None,
        path: str = "",
        sent: dict[str, Any] | None = None,
    ) -> Request:
        request_id = self._new_id()
        headers = {"Content-Type": "application/json", "X-Request-ID": request_id, **self._credential}
        if key:
            headers["Idempotency-Key"] = key
        began = time.monotonic()
        status, text = self._send(path or f"/vault/secret/{action}", json.dumps(sent or body), headers)
        answered, asked = time.monotonic(), self._connection.host
        request = Request(request_id, action, secret, body, began, answered, status, text, key, asked)
        self._history.add(request)
        return request

    def _send(self, path: str, body: str, headers: dict[str, str]) -> tuple[int, str]:
        """Return status and text of the answer. There are no automatic retries."""
        connection = self._connection
        if connection.sock is None:
            try:
                connection.connect()
            except OSError:
                connection.close()
                return NOT_SENT, ""
        try:
            connection.request("POST", path, body, headers)
            reply = connection.getresponse()
            return reply.status, reply.read().decode()
        except (OSError, HTTPException):
            connection.close()
            return UNKNOWN, ""


@contextmanager
def running(clients: Sequence[Client]) -> Iterator[None]:
    """Run *clients* during the block, and wait for their last requests afterwards."""
    for client in clients:
        client.start()
    try:
        yield
    finally:
        for client in clients:
            client.stop()
        for client in clients:
            client.join()
