"""The driver as a process, with the real service: deliveries, their entries, and faults of the service."""

import json
import os
import re
import signal
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest
import requests
from pymongo import MongoClient

from tests.cli.waiting import wait_until
from tests.support.access import tokens
from tests.support.commands import command_environment
from tests.support.databases import new_database
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from tests.support.service import Service
from tests.swarm.docker import (
    CONTEXT,
    GET_SECRET,
    Reply,
    asked,
    connect,
    get_secret,
    received,
    send,
)
from vault.cli.dev.mongod import Mongod, free_port
from vault.swarm.values import MAX_BYTES

pytestmark = pytest.mark.process

#: Far more than the 2 s that a call may take, so that a busy machine does not matter.
SOON_SECONDS = 60

#: The driver with more time for each call than Docker gives it, for a busy machine.
PATIENT = """
import sys
from vault import cli
from vault.swarm.delivery import client
from vault.swarm.delivery import driver
from vault.swarm.delivery import server
client._TIMEOUT_SECONDS, driver._CALL_SECONDS, server._Handler.timeout = 20, 25, 30
sys.argv[0] = "secret-manager"
cli.main()
"""

#: And the time in which a busy machine's driver takes all calls that arrive at once.
GATHERING = """
from vault.swarm.delivery import deliveries
deliveries._QUIET_SECONDS, deliveries._MAX_GATHERING_SECONDS = 0.5, 10
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
        self.metrics_bind = f"127.0.0.1:{free_port()}"
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

    def start(self, *options: object, is_patient: bool) -> Popen[bytes]:
        """Start a driver, and return once it listens."""
        arguments = (
            *("--url", self.service.url, "--token-file", self.token, "--socket", self.socket),
            *("--metrics-bind", self.metrics_bind, *options),
        )
        program = ("-c", PATIENT) if is_patient else ("-m", "vault.cli")
        with self._log_file.open("wb") as log:
            # Not a pipe: a full one would hold the driver.
            driver = Popen(
                [sys.executable, *program, "swarm-driver", *map(str, arguments)],
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

    def measured(self, name: str) -> float:
        """Return the value of one of the driver's metrics."""
        page = requests.get(f"http://{self.metrics_bind}/metrics", timeout=60).text
        return float(re.findall(rf"^secret_manager_driver_{re.escape(name)} (\S+)$", page, re.MULTILINE)[0])


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

    def start(*options: object, is_patient: bool = True) -> Popen[bytes]:
        started.append(swarm.start(*options, is_patient=is_patient))
        return started[-1]

    yield start
    for driver in started:
        if driver.poll() is None:
            swarm.stop(driver)


Start = Callable[..., Popen[bytes]]


def all_of(swarm: Swarm, driver: Popen[bytes], count: int, **labels: str) -> list[Reply]:
    """Return the replies to *count* requests at the same time, each for a task of its own."""
    with ExitStack() as stack:
        connections = [stack.enter_context(connect(swarm.socket)) for _ in range(count)]
        bodies = (
            asked({"name": "shop/db", **labels}, TaskID=f"task{n}", TaskName=None) for n in range(count)
        )
        # On a busy machine, they would arrive one after another otherwise.
        driver.send_signal(signal.SIGSTOP)
        sent = [
            stack.enter_context(closing(send(one, GET_SECRET, body)))
            for one, body in zip(connections, bodies, strict=True)
        ]
        driver.send_signal(signal.SIGCONT)
        return [received(one) for one in sent]


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


def test_tasks_that_start_at_once_share_batches(
    swarm: Swarm, start: Start, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 tasks that start at the same time get their values in a few requests, with 200 entries."""
    swarm.create("shop/db", b"hush")
    monkeypatch.setitem(globals(), "PATIENT", GATHERING + PATIENT)
    driver = start()
    stored.audit_logs.delete_many({})
    assert {reply.value for reply in all_of(swarm, driver, 200)} == {b"hush"}
    assert swarm.measured('batches_total{outcome="answered"}') <= 10
    assert swarm.measured('deliveries_total{outcome="delivered"}') == 200
    tasks = [entry["details"]["delivery"]["task_id"] for entry in trail(stored)]
    assert sorted(tasks) == sorted(f"task{number}" for number in range(200))


def test_docker_s_limit_holds(swarm: Swarm, start: Start) -> None:
    """A value of Docker's largest size is delivered, also without room in a batch; a larger one is not."""
    largest = bytes(MAX_BYTES)
    swarm.create("shop/db", largest)
    swarm.create("shop/larger", largest + b"a")
    driver = start()
    assert swarm.get().value == largest
    assert "Docker takes 1 to 511999 bytes" in swarm.get("shop/larger").error
    replies = all_of(swarm, driver, 12)
    assert all(reply.body.get("Value") or "in time" in reply.error for reply in replies)
    assert any(reply.body.get("Value") for reply in replies)


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


def test_a_stopped_service_is_survived(swarm: Swarm, start: Start) -> None:
    """Without the service, known secrets come from the cache; afterwards from the service."""
    swarm.create("shop/db", b"hush")
    driver = start("--cache-seconds", "3600")
    assert swarm.get().value == b"hush"
    swarm.service.stop()
    assert swarm.get().value == b"hush"
    assert swarm.measured('deliveries_total{outcome="cached"}') == 1
    assert "the service cannot be reached" in swarm.get("shop/other").error
    swarm.service.start()
    swarm.service.wait_until_started()
    assert swarm.get().value == b"hush"
    messages = [line["message"] for line in swarm.stop(driver)]
    assert messages.count("cached") == 1


@pytest.mark.promise("swarm")
def test_a_hanging_service_holds_no_call(swarm: Swarm, start: Start) -> None:
    """While the service hangs, every call ends, with the cached value or the reason; then it works again."""
    swarm.create("shop/db", b"hush")
    start("--cache-seconds", "3600", is_patient=False)
    wait_until(lambda: "Err" not in swarm.get().body)
    assert swarm.service.process
    workers = [int(worker) for worker in swarm.service.workers()]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(20) as pool:
            unknown = pool.map(lambda number: swarm.get(f"shop/{number}"), range(19), timeout=SOON_SECONDS)
            known = pool.submit(swarm.get)
            assert all("the service did not answer" in reply.error for reply in unknown)
            assert known.result(SOON_SECONDS).value == b"hush"
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    # The pause after a timeout ends.
    wait_until(lambda: "Err" not in swarm.get().body)
    wait_until(lambda: "404" in str(swarm.get("shop/1").body.get("Err")))
