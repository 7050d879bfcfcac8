"""A swarm with a stand-in for Docker, and the real service in this process, for the tests of rotations."""

from base64 import b64decode
from collections.abc import Mapping
from typing import Any

from flask.testing import FlaskClient

from tests.clients.swarm.dockerd import Dockerd
from tests.support.lifecycle import ALICE, Caller, b64
from vault.clients.swarm.engine import Engine
from vault.clients.swarm.rotation.holders import Holder, Holders
from vault.clients.swarm.rotation.lock import RotationLock
from vault.clients.swarm.rotation.rotation import Rotation
from vault.clients.swarm.stored import Stored
from vault.common.errors import ServiceRefusedError, ServiceUnavailableError
from vault.core.principal import ROLES, Principal, Scope

DRIVER = Principal(name="driver", scopes=ROLES["driver"])
OPERATOR = Principal(
    name="rotator",
    scopes=frozenset({Scope.SECRET_DESCRIBE, Scope.SECRET_FETCH, Scope.SECRET_UPDATE, Scope.AUDIT_READ}),
)
NAME = "shop/db"


class InProcess:
    """The service as the client of commands calls it."""

    def __init__(self, client: FlaskClient, caller: Caller, principal: Principal) -> None:
        self._client = client
        self._caller = caller
        self._principal = principal
        #: The operations whose next call fails: True if it takes effect nevertheless.
        self.away: dict[str, list[bool]] = {}
        #: The number of calls that the rate limit refuses.
        self.limited = 0

    def call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the reply of the service."""
        failures = self.away.get(path.rsplit("/", 1)[1], [])
        is_done = failures.pop(0) if failures else None
        if self.limited:
            self.limited -= 1
            raise ServiceRefusedError("Too many requests", status=429, code="rate_limited")
        if is_done is False:
            raise ServiceUnavailableError("the service cannot be reached")
        self._caller.become(self._principal)
        reply = self._client.post(path, json=body)
        if is_done:
            raise ServiceUnavailableError("the service does not answer in time")
        found = dict(reply.json or {})
        if reply.status_code != 200:
            raise ServiceRefusedError(found["title"], status=reply.status_code, code=found["code"])
        return found


class World:
    """The secret `shop/db` in the service, a swarm, and rotations."""

    def __init__(self, client: FlaskClient, caller: Caller) -> None:
        self.dockerd = Dockerd(self._deliver)
        self.service = InProcess(client, caller, OPERATOR)
        self.stored = Stored(self.service)
        self.caller = caller
        self._driver = InProcess(client, caller, DRIVER)
        #: False while the driver has values from its cache only, without entries.
        self.is_recording = True
        self.events: list[tuple[str, str]] = []
        self.engine: Engine
        self.lock: RotationLock

    def _deliver(self, context: dict[str, str], labels: dict[str, str]) -> bytes | None:
        wanted: dict[str, Any] = {"name": labels["secret-manager.name"]}
        if "secret-manager.version" in labels:
            wanted["version"] = int(labels["secret-manager.version"])
        delivery = {"delivery": context} if self.is_recording else {}
        try:
            return b64decode(self._driver.call("/vault/secret/fetch", wanted | delivery)["secret"])
        except ServiceRefusedError:
            return None

    def report(self, event: str, text: str, **data: object) -> None:
        """Take a step of a rotation."""
        assert text
        self.events.append((event, str(data.get("service", data.get("version", "")))))

    @property
    def value(self) -> bytes:
        """The newest value."""
        self.caller.become(OPERATOR)
        return b64decode(self.caller("fetch", name=NAME)["secret"])

    def update(self, *values: bytes) -> None:
        """Store new versions, as someone else does."""
        self.caller.become(ALICE)
        for value in values:
            self.caller("update", name=NAME, secret=b64(value))

    def holders(self) -> list[Holder]:
        """Return the holders of the secret."""
        return list(Holders(self.engine, self.stored).of(self.stored.describe(NAME)))

    def versions(self) -> dict[str, list[int | None]]:
        """Return the versions of the tasks, by service."""
        found: dict[str, list[int | None]] = {}
        for holder in self.holders():
            found.setdefault(holder.task.service.name, []).append(holder.version)
        return found

    def rotation(self, *, timeout_seconds: float = 20) -> Rotation:
        """Return a rotation of the secret as it is now."""
        return Rotation(
            NAME,
            service=self.service,
            engine=self.engine,
            lock=self.lock,
            progress=self.report,
            timeout_seconds=timeout_seconds,
            poll_seconds=0,
        )
