"""The driver as a process, with the real service: deliveries, their entries, and faults of the service."""

import json
import signal
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
from pymongo import MongoClient

from tests.clients.swarm.docker import CONTEXT, Reply, get_secret
from tests.support.access import tokens
from tests.support.commands import command_environment
from tests.support.databases import new_database
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod, free_port

pytestmark = pytest.mark.process


#: The driver with more time for each call than Docker gives it, for a busy machine.
PATIENT = """
import sys
from vault import cli
from vault.clients.delivery import client
from vault.clients.delivery import driver
from vault.clients.delivery import server
client._TIMEOUT_SECONDS, driver._CALL_SECONDS, server._Handler.timeout = 20, 25, 30
sys.argv[0] = "secret-manager"
cli.main()
"""


class Swarm:
    """A service that requires credentials, and drivers with a token for the path `shop/`."""

    def __init__(self, service: Service, environment: dict[str, str], folder: Path) -> None:
        self.service = service
        self.socket = folder / "secret-manager.sock"
        self.log = ""
        self._log_file = folder / "driver.log"
        self.policy = folder / "policy.toml"
        self.token = folder / "token"
        self._environment, self._folder = environment, folder
        self._admin = self.new_token("admin", "--role", "admin")
        self.token.write_text(self.new_token("driver", "--role", "driver", "--path", "shop/"))

    def new_token(self, name: str, *options: str) -> str:
        """Return a new token."""
        return tokens(self._environment, self._folder, "create", "--name", name, *options)

    def revoke(self, name: str) -> None:
        """Revoke a token."""
        tokens(self._environment, self._folder, "revoke", name)

    def call(self, operation: str, **body: Any) -> dict[str, Any]:
        """Return the reply to an operation of the administrator."""
        reply = self.service.post(f"/vault/secret/{operation}", body, Authorization=f"Bearer {self._admin}")
        assert reply.status == 200, reply
        return dict(reply.body)

    def create(self, name: str, value: bytes) -> str:
        """Store a secret and return its ID."""
        return str(self.call("create", name=name, secret=b64encode(value).decode())["secret_id"])

    def start(self, *options: object) -> Popen[bytes]:
        """Start a driver, and return once it listens."""
        arguments = (
            *("--url", self.service.url, "--token-file", self.token, "--socket", self.socket),
            *("--metrics-bind", f"127.0.0.1:{free_port()}", *options),
        )
        with self._log_file.open("wb") as log:
            # Not a pipe: a full one would hold the driver.
            driver = Popen(
                [sys.executable, "-c", PATIENT, "swarm-driver", *map(str, arguments)],
                cwd=self._folder,
                env=command_environment({}),
                stdout=log,
                stderr=log,
            )
        wait_until(lambda: '"serving"' in self._log_file.read_text())
        return driver

    def stop(self, driver: Popen[bytes]) -> list[dict[str, Any]]:
        """Stop a driver, and return the lines of its log."""
        driver.send_signal(signal.SIGTERM)
        assert driver.wait(120) == 0
        self.log = self._log_file.read_text()
        return [json.loads(line) for line in self.log.splitlines()]

    def get(self, name: str = "shop/db", **labels: str) -> Reply:
        """Return the reply to Docker's request for a secret."""
        return get_secret(self.socket, {"name": name, **labels})


@pytest.fixture(scope="module")
def served(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Service, dict[str, str]]]:
    """Run the service, and return it with its settings."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri}
        settings |= {"AUTH_ENABLED": "true", "MAX_SECRET_BYTES": "600000"}
        with Service(settings, patient=True, folder=tmp_path_factory.mktemp("served")) as service:
            service.wait_until_started()
            yield service, settings


@pytest.fixture
def stored(served: tuple[Service, dict[str, str]]) -> Iterator[Stored]:
    """Return the service's database, without the secrets and tokens of earlier tests."""
    with MongoClient[dict[str, Any]](served[1]["MONGO_URI"], tz_aware=True) as client:
        database = client.get_default_database()
        for name in ("secrets", "tokens"):
            database[name].delete_many({})
        yield database


@pytest.fixture
def swarm(served: tuple[Service, dict[str, str]], stored: Stored, tmp_path: Path) -> Swarm:  # noqa: ARG001 - empties
    """Return a swarm on the service."""
    return Swarm(*served, tmp_path)


@pytest.fixture
def start(swarm: Swarm) -> Iterator[Callable[..., Popen[bytes]]]:
    """Return a function that starts a driver with options; it is stopped in the end."""
    started: list[Popen[bytes]] = []

    def start(*options: object) -> Popen[bytes]:
        started.append(swarm.start(*options))
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            swarm.stop(driver)


Start = Callable[..., Popen[bytes]]


@pytest.mark.promise("swarm")
def test_each_delivery_is_on_record(swarm: Swarm, start: Start, stored: Stored) -> None:
    """A task gets the value as the labels say, and the entry of its fetch names task, service and node."""
    secret_id = swarm.create("shop/db", b'{"user": "a", "key": "aHVzaA=="}')
    swarm.call("update", secret_id=secret_id, secret=b64encode(b"new").decode())
    driver = start()
    stored.audit_logs.delete_many({})
    assert swarm.get().value == b"new"
    assert swarm.get(version="1").value == b'{"user": "a", "key": "aHVzaA=="}'
    assert swarm.get(version="1", field="user").value == b"a"
    assert swarm.get(version="1", field="key", encoding="base64").value == b"hush"
    entries = trail(stored)
    assert [entry["action"] for entry in entries] == ["fetch"] * 4
    assert all(entry["details"]["delivery"] == CONTEXT for entry in entries)
    assert all(entry["secret_id"] == secret_id for entry in entries)
    assert {entry["principal"] for entry in entries} == {"driver"}
    lines = swarm.stop(driver)[1:]
    ids = [entry["request_id"] for entry in stored.audit_logs.find().sort("ts")]
    assert [line["request_id"] for line in lines] == ids
    for hidden in ("new", "hush", secret_id, swarm.token.read_text().strip()):
        assert hidden not in swarm.log


@pytest.mark.promise("swarm")
def test_what_the_token_does_not_reach_is_not_delivered(swarm: Swarm, start: Start) -> None:
    """A secret outside the token's paths is not found; a revoked token delivers nothing; a new one does."""
    swarm.create("shop/db", b"hush")
    swarm.create("billing/db", b"hush")
    start("--cache-seconds", "3600")
    assert swarm.get().value == b"hush"
    assert swarm.get("billing/db").error == "the service answers 404 (secret_not_found)"
    swarm.revoke("driver")
    replies = [swarm.get()]
    # One worker refuses the token before the other, within 5 seconds.
    wait_until(lambda: "Err" in replies[-1].body or replies.append(swarm.get()))
    assert replies[-1].error == "the service answers 401 (invalid_credential)"
    swarm.token.write_text(swarm.new_token("next", "--role", "driver"))
    assert swarm.get("billing/db").value == b"hush"
    swarm.token.write_text(swarm.new_token("weak", "--role", "reader"))
    assert swarm.get().error == "the service answers 403 (scope_missing)"


@pytest.mark.promise("swarm")
def test_the_policy_decides_and_its_reason_is_on_record(swarm: Swarm, start: Start, stored: Stored) -> None:
    """A service that the table does not name gets nothing; log and trail have the reason."""
    swarm.create("shop/db", b"hush")
    swarm.policy.write_text("[services]\nshop_web = ['shop/']")
    driver = start("--policy", swarm.policy)
    stored.audit_logs.delete_many({})
    reason = "the policy does not allow this secret to the service shop_api"
    assert swarm.get().error == reason
    assert swarm.get(services="shop_web").error.startswith("the label secret-manager.services does not name")
    entries = trail(stored)
    assert {(entry["status"], entry["details"]["name"]) for entry in entries} == {("denied", "shop/db")}
    contexts = [entry["details"]["delivery"] for entry in entries]
    assert CONTEXT | {"refusal": reason} in contexts
    assert any("secret-manager.services" in context["refusal"] for context in contexts)
    swarm.policy.write_text("[services]\n'shop_*' = ['shop/']")
    assert swarm.get().value == b"hush"
    refused = swarm.stop(driver)[1]
    assert (refused["reason"], refused["recorded"], refused["outcome"]) == (reason, True, "forbidden")
