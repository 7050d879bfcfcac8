"""The model of exposures against a service whose workers are killed.

A caller that gets no answer cannot know whether it was served: then the entries of its request say so. Its
secret gets another name in the model, and in the end the service says what became of it.
"""

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from time import sleep
from typing import Any
from uuid import uuid4

from tests.features.exposure.exposure_model import Fact, Model
from tests.support.rotation import Stored
from tests.support.service import Service


class UnansweredError(Exception):
    """The request got no answer, or 503."""


@dataclass
class Answer:
    """An answer, as Flask's test client has it."""

    status_code: int
    text: str

    @property
    def json(self) -> Any:
        """The body."""
        return json.loads(self.text)


@dataclass
class HTTPClient:
    """A client of *service* in the place of Flask's test client; each request has an ID and a connection."""

    service: Service
    #: The IDs of requests without an answer.
    unanswered: list[str] = field(default_factory=list)

    def open(
        self, path: str, *, method: str, headers: Mapping[str, str], json: object = None, data: bytes = b""
    ) -> Answer:
        """Return the answer.

        Raises:
            UnansweredError: No answer came, and `unanswered` has the ID then.
        """
        sent = {"X-Request-ID": str(uuid4()), "Content-Type": "application/json", **headers}
        body = data if json is None else _encoded(json)
        try:
            reply, content = self.service._send(method, path, body or None, **sent)
            status = reply.status
        except OSError:
            status, content = 503, b""
        if status == 503:
            self.unanswered.append(sent["X-Request-ID"])
            raise UnansweredError
        return Answer(status, content.decode())

    def post(self, path: str, *, json: object, headers: Mapping[str, str]) -> Answer:
        """Return the answer to a POST of JSON. Errors as `open`."""
        return self.open(path, method="POST", headers=headers, json=json)


def _encoded(body: object) -> bytes:
    return json.dumps(body).encode()


@dataclass(kw_only=True)
class KilledModel(Model):
    """Random operations on *service*, whose entries *stored* has."""

    service: Service
    stored: Stored

    def __post_init__(self) -> None:
        """Create the principals."""
        super().__post_init__()
        self.http = HTTPClient(self.service)
        client: Any = self.http
        self._clients = {name: replace(one, client=client) for name, one in self._clients.items()}
        #: The number of names that each secret had before, and the secrets in an unknown state.
        self._generations: Counter[str] = Counter()
        self._unknown: set[str] = set()

    def run_while_killing(self, kills: int) -> None:
        """Perform random operations until both workers were killed *kills* times; note what entries say."""
        with ThreadPoolExecutor(1) as pool:
            killer = pool.submit(self._kill, kills)
            while not killer.done():
                self.run(1)
            killer.result()
        for request_id in self.http.unanswered:
            for entry in self.stored.audit_logs.find({"request_id": request_id, "status": "success"}):
                for fact, how in self._proved(entry):
                    self.facts[fact].append(how)
        known = {secret_id for _, secret_id, _ in self.facts}
        for secret_id in self._unknown | (known - self.current.keys()):
            self.current[secret_id] = self._asked(secret_id)

    def _kill(self, kills: int) -> None:
        random = Random(self.seed)  # noqa: S311 - not for secrets
        for done in range(10 * kills):
            # A killed worker can have been between two requests.
            if done >= kills and self.http.unanswered:
                break
            workers = self.service.workers()
            # At any place of an operation.
            sleep(random.random())
            for worker in workers:
                with suppress(ProcessLookupError):
                    os.kill(int(worker), signal.SIGKILL)

    def _name(self, number: int) -> str:
        name = super()._name(number)
        return f"{name}/{self._generations[name]}" if self._generations[name] else name

    def _perform(self, operation: Callable[[str, str], None], who: str, name: str) -> None:
        try:
            operation(who, name)
        except UnansweredError:
            self._generations["/".join(name.split("/")[:2])] += 1
            if secret := self._secrets.pop(name, None):
                self._unknown.add(secret.secret_id)

    def _proved(self, entry: Mapping[str, Any]) -> Iterator[tuple[Fact, str]]:
        """Yield the fact that *entry* proves, if there is one."""
        details, action = entry.get("details", {}), entry["action"]
        if action == "unwrap":
            if "wrapped" in details or (origin := self._origin(entry)) is None:
                return
            how, about = "unwrap", origin
        elif action == "fetch" and not details.keys() & {"wrapped", "subkeys"}:
            how, about = "delivery" if "delivery" in details else "fetch", entry
        elif action in ("create", "update") and details.get("version") != 0:
            how, about = "write", entry
        else:
            return
        yield (entry["principal"], about["secret_id"], about.get("details", {}).get("version", 1)), how

    def _origin(self, unwrap: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the entry of the read whose reply *unwrap* took; None if it was no read of a value."""
        found = self.stored.audit_logs.find_one(
            {"details.accessor": unwrap["secret_id"], "status": "success"}
        )
        if found is None or found["action"] == "unwrap":
            return found and self._origin(found)
        return found if found["action"] == "fetch" and "subkeys" not in found["details"] else None

    def _asked(self, secret_id: str) -> int | None:
        """Return the current version of a secret, as the service says."""
        token = self._clients[self.principals[0]].token
        headers = {"Authorization": f"Bearer {token}"}
        answer = None
        while answer is None:
            with suppress(UnansweredError):
                answer = self.http.post(
                    "/vault/secret/describe", json={"secret_id": secret_id}, headers=headers
                )
        if answer.status_code == 404:
            return None
        [newest, *_] = answer.json["versions"] or [{"version": 0, "deleted_at": None}]
        version = answer.json["version"]
        return version if newest["version"] == version and not newest["deleted_at"] else None
