"""Rotations at the source on a real swarm: services restart by themselves, and no request fails."""

import json
import os
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from tests.features.rotation import servers
from tests.features.rotation.servers import FIRST_PASSWORD, USERS, Server
from tests.qa.deployment.engine import build, docker, is_gone, orders, remove_stack, run, wait_for
from tests.support.access import tokens
from tests.support.databases import new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process

_SHOP, _NAME = "database-shop", "shop/database"
_DRIVER = "secret-manager-driver"
_GRACE_SECONDS = 3_600
_FOLDER = "tests/features/rotation/qa/deployment"
_IMAGE = "FROM python:3.13-slim\nRUN pip install --quiet --root-user-action=ignore 'psycopg[binary]'\n"


class Shop:
    """The service with a rotation plan, next to a swarm with a shop."""

    def __init__(self, service: Service, admin: str, server: Server) -> None:
        self._service = service
        self._admin = admin
        self.server = server

    def call(self, path: str, **body: Any) -> dict[str, Any]:
        """Return the reply to a call of an administrator."""
        reply = self._service.post(f"/vault/{path}", body, Authorization=f"Bearer {self._admin}")
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.body
        return found

    def store(self, name: str, value: str) -> None:
        """Store a secret."""
        self.call("secret/create", name=name, secret=b64encode(value.encode()).decode())

    def value(self) -> dict[str, str]:
        """Return the user and password in use; the administrator does not hold the former ones any more."""
        found: dict[str, str] = json.loads(b64decode(self.call("secret/fetch", name=_NAME)["secret"]))
        return found

    def has_closed(self) -> bool:
        """Return whether no former password is open."""
        return self.call("rotation/show", name=_NAME)["step"] is None

    def logs_in(self, value: dict[str, str]) -> bool:
        """Return whether the server accepts a user with a password."""
        try:
            with psycopg.connect(self.server.url, user=value["username"], password=value["password"]):
                return True
        except psycopg.OperationalError:
            return False

    def entries(self, action: str) -> list[dict[str, Any]]:
        """Return the entries of an action."""
        entries: list[dict[str, Any]] = self.call("audit/query", action=action, limit=1_000)["entries"]
        return entries


@contextmanager
def _driver(token: str, url: str) -> Iterator[None]:
    """Deploy the driver and the follower by their stack files, with this token and service."""
    files = (
        "deploy/stack.driver.yml",
        "deploy/stack.rotation.yml",
        f"{_FOLDER}/follower.override.yml",
    )
    socket = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    run("docker", "secret", "create", "swarm_driver_token", "-", stdin=token)
    try:
        run(
            *("docker", "stack", "deploy", "--resolve-image", "never", "--detach=true"),
            *(part for file in files for part in ("-c", file)),
            _DRIVER,
            SECRET_MANAGER_URL=url,
            SECRET_MANAGER_NETWORK="host",
            DOCKER_SOCKET=socket,
        )
        wait_for(lambda: _replicas(_DRIVER) == ["1/1", "1/1"], what="the driver and the follower")
        yield
    finally:
        # Of a failure.
        print(run("docker", "service", "logs", "--raw", f"{_DRIVER}_swarm-follower", check=False))  # noqa: T201
        remove_stack(_DRIVER)
        wait_for(lambda: is_gone(_DRIVER), what="the end of the driver")
        docker("secret", "rm", "swarm_driver_token")


@pytest.fixture(scope="module")
def shop(client_image: str, mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Run PostgreSQL, the service and the driver next to the swarm, and the shop on it."""
    assert client_image
    folder = tmp_path_factory.mktemp("source")
    gateway = docker(
        "network", "inspect", "docker_gwbridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"
    )
    build("database-shop:latest", _IMAGE)
    with servers.postgresql(gateway) as server, new_database(mongod) as uri:
        place = server.url.rpartition("@")[2].replace("127.0.0.1", gateway)
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE SEQUENCE orders")
            connection.execute(f"GRANT USAGE ON SEQUENCE orders TO {', '.join(USERS)}")
        environment = {"MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(), "MONGO_URI": uri}
        settings = {"AUTH_ENABLED": "true", "ROTATION_CHECK_SECONDS": "1"}
        with Service(environment | settings, patient=True, folder=folder) as service:
            service.wait_until("/health/ready")
            admin = tokens(environment, folder, "create", "--name", "admin", "--role", "admin")
            scopes = ("secret:fetch", "secret:deliver", "audit:read")
            options = [part for scope in scopes for part in ("--scope", scope)]
            token = tokens(environment, folder, "create", "--name", "driver", "--path", "shop/", *options)
            found = Shop(service, admin, server)
            found.store(f"{_NAME}-admin", server.url)
            found.store(_NAME, json.dumps({"username": USERS[0], "password": FIRST_PASSWORD}))
            plan = {"kind": "postgresql", "users": list(USERS), "every_seconds": 86_400}
            plan |= {"name": _NAME, "admin": f"{_NAME}-admin", "grace_seconds": _GRACE_SECONDS}
            found.call("rotation/create", **plan)
            with _driver(token, service.url):
                try:
                    run(
                        *("docker", "stack", "deploy", "--resolve-image", "never", "--detach=true"),
                        *("-c", f"{_FOLDER}/database_shop.yml", _SHOP),
                        DATABASE=f"postgresql://{place}",
                    )
                    wait_for(lambda: _replicas(_SHOP) == ["3/3"], what="the shop")
                    yield found
                finally:
                    remove_stack(_SHOP)
                    wait_for(lambda: is_gone(_SHOP), what="the end of the shop")


def _replicas(stack: str) -> list[str]:
    return docker("stack", "services", stack, "--format", "{{.Replicas}}").split()


@pytest.mark.promise("swarm")
@pytest.mark.parametrize(("rotations", "closes"), [(2, 1), (10, 10)], ids=["2", "10"])
def test_no_request_fails_and_the_former_password_is_closed(shop: Shop, rotations: int, closes: int) -> None:
    """Without a command, services restart after each rotation; the trail then ends the former password."""
    closed: list[float] = []
    with orders(_SHOP, "database-shop:latest") as record:
        for number in range(rotations):
            # The last one of another test.
            wait_for(shop.has_closed, what="the close of the former password")
            former, releases = shop.value(), len(shop.entries("rotation_release"))
            shop.call("rotation/run", name=_NAME)
            published = time.monotonic()
            assert shop.logs_in(former)
            assert shop.logs_in(shop.value())
            wait_for(lambda seen=releases: len(shop.entries("rotation_release")) > seen, what="the tasks")
            if number < closes:
                wait_for(shop.has_closed, what="the close of the former password")
                closed.append(time.monotonic() - published)
                assert not shop.logs_in(former)
                assert shop.logs_in(shop.value())
    assert record["failures"] == []
    assert len(record["orders"]) > 100 * rotations
    assert len(record["orders"]) == len(set(record["orders"]))
    steps = [entry["details"] for entry in shop.entries("rotation_step")]
    ended = [step["holders"] for step in steps if step["step"] == "close"]
    assert len(ended) >= closes
    assert not any(ended)
    shown = ", ".join(f"{one:.1f}" for one in closed)
    print(f"{len(record['orders'])} orders, 0 failures; seconds to the close: {shown}")  # noqa: T201 - figures
