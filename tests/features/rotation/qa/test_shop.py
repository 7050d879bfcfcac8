"""The sample shop, as processes of this machine: no order fails while the database's passwords rotate."""

import json
import os
import subprocess
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from tests.features.rotation import servers
from tests.features.rotation.servers import ADMIN_PASSWORD
from tests.qa.deployment.shop_load import Load
from tests.support.access import tokens
from tests.support.service import Service, patient
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import free_port

pytestmark = pytest.mark.process

_SHOP = Path(__file__).parents[4] / "docs/examples/shop"
_REPLICAS, _CALLERS, _USERS = 2, 2, ["shop_a", "shop_b"]

Call = Callable[[str, dict[str, object]], dict[str, Any]]


@contextmanager
def shop(environment: dict[str, str]) -> Iterator[int]:
    """Run a replica, and yield its port once it is healthy."""
    port = free_port()
    variables = {"PATH": os.environ["PATH"], "PORT": str(port), **environment}
    with subprocess.Popen(
        [sys.executable, str(_SHOP / "shop.py")], env=variables, stderr=subprocess.DEVNULL
    ) as it:
        try:
            check = [sys.executable, str(_SHOP / "shop.py"), "--check"]
            wait_until(
                lambda: not subprocess.run(check, env=variables, capture_output=True).returncode, pause=0.2
            )
            yield port
        finally:
            # Without its time for requests in progress.
            it.kill()


@pytest.fixture
def deployment(environment: dict[str, str], tmp_path: Path) -> Iterator[tuple[Call, list[int]]]:
    """Run all of the sample stack, and yield the administrator's calls and the ports of the replicas."""
    with ExitStack() as stack:
        database = stack.enter_context(servers.postgresql())
        counter = stack.enter_context(servers.key_value("redis"))
        with psycopg.connect(database.url, autocommit=True) as connection:
            connection.execute((_SHOP / "database.sql").read_bytes())
        with redis.Redis.from_url(counter.url) as admin:
            admin.execute_command(
                "ACL", "SETUSER", "shop", "on", f">{ADMIN_PASSWORD}", "~shop:*", "+@all", "-@admin"
            )
        settings = {"AUTH_ENABLED": "true", "ROTATION_CHECK_SECONDS": "1", "WEB_CONCURRENCY": "1"}
        service = stack.enter_context(Service(environment | settings, patient=True, folder=tmp_path))
        service.wait_until_started()
        operator = tokens(environment, tmp_path, "create", "--name", "dba", "--role", "admin")
        scope = ("--scope", "secret:fetch", "--path", "shop/db")
        (tmp_path / "token").write_text(tokens(environment, tmp_path, "create", "--name", "shop", *scope))
        (tmp_path / "password").write_text(ADMIN_PASSWORD)

        def call(path: str, body: dict[str, object]) -> dict[str, Any]:
            reply = patient(lambda: service.post(f"/vault/{path}", body, Authorization=f"Bearer {operator}"))
            assert reply.status == 200, reply
            return dict(reply.body)

        first = json.dumps({"username": _USERS[0], "password": "first"})
        for name, value in (("shop/db", first), ("shop/postgres-url", database.url)):
            call("secret/create", {"name": name, "secret": b64encode(value.encode()).decode()})
        place = urlsplit(database.url)
        variables = {
            "DATABASE": f"host={place.hostname} port={place.port} dbname=postgres",
            "REDIS_URL": f"redis://{urlsplit(counter.url).netloc.rpartition('@')[2]}",
            "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
            "VAULT_URL": service.url,
            "VAULT_TOKEN_FILE": str(tmp_path / "token"),
        }
        yield call, [stack.enter_context(shop(variables)) for _ in range(_REPLICAS)]


@pytest.mark.parametrize(
    ("every", "grace", "rotations"),
    [
        # Shorter than the time between two fetches: logins fail, and the shop fetches again.
        # On a busy machine, it can log in seconds after the fetch.
        pytest.param(1, 3, 3, id="short"),
        pytest.param(120, 600, 3, id="every two minutes"),
    ],
)
def test_no_order_fails(deployment: tuple[Call, list[int]], every: int, grace: int, rotations: int) -> None:
    """Each order gets its own number, and is in the database, while the timer changes the password.

    It can have a body, also on a kept connection.
    """
    call, ports = deployment
    with closing(HTTPConnection("127.0.0.1", ports[0], timeout=60)) as connection:
        for _ in range(2):
            connection.request("POST", "/orders", b'{"item": "tea"}')
            with connection.getresponse() as reply:
                assert (reply.status, reply.read().isdigit()) == (200, True)
    loads = [Load("127.0.0.1", port) for port in ports]
    callers = [Thread(target=load.run) for load in loads for _ in range(_CALLERS)]
    for caller in callers:
        caller.start()
    try:
        names = {"name": "shop/db", "admin": "shop/postgres-url", "kind": "postgresql", "users": _USERS}
        call("rotation/create", {**names, "every_seconds": every, "grace_seconds": grace})

        def is_done() -> bool:
            # The one who stored the first value may use it.
            call("secret/fetch", {"name": "shop/db"})
            plan = call("rotation/show", {"name": "shop/db"})
            assert not plan.get("error"), plan
            return bool((plan["version"] or 0) > rotations and plan["step"] is None)

        wait_until(is_done, seconds=120 + 5 * every * rotations, pause=1)
    finally:
        for load in loads:
            load.ending = True
        for caller in callers:
            caller.join()
    orders = [order for load in loads for order in load.orders]
    failures = [failure for load in loads for failure in load.failures]
    print(f"\n{rotations} rotations, {len(orders)} orders, {len(failures)} failed")  # noqa: T201 - the figures
    assert failures == []
    assert len(orders) == len(set(orders)) > 100
