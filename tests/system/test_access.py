"""Access control on the real service: several workers, real logs, and commands run at the same time."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.access import tokens
from tests.support.databases import new_database
from tests.support.issuer import AUDIENCE, ISSUER, public_pem
from tests.support.service import Reply, Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process

FETCH = "/vault/secret/fetch"


@contextmanager
def running(environment: dict[str, str], folder: Path, workers: int) -> Iterator[Service]:
    """Run a service that requires credentials, with the most verbose log level."""
    settings = {
        "AUTH_ENABLED": "true",
        "WEB_CONCURRENCY": str(workers),
        "LOG_LEVEL": "debug",
        "JWT_PUBLIC_KEY": public_pem(),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": AUDIENCE,
        "FAILED_AUTH_LIMIT": "10000/minute",
    }
    with Service({**environment, **settings}, patient=True, folder=folder) as service:
        service.wait_until_started()
        yield service


@pytest.fixture(scope="module")
def environment(mongod: Mongod, master_key: str) -> Iterator[dict[str, str]]:
    """Return the settings of the services, which the tests share."""
    with new_database(mongod) as uri:
        yield {"MASTER_KEY": master_key, "MONGO_URI": uri}


@pytest.fixture(scope="module")
def asking(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run four workers."""
    with running(environment, tmp_path_factory.mktemp("asking"), workers=4) as service:
        yield service


def send(service: Service, path: str, body: object, credential: str) -> Reply:
    return service.post(path, body, Authorization=f"Bearer {credential}", Connection="close")


@pytest.mark.promise(5)
def test_every_worker_refuses_a_revoked_token(
    environment: dict[str, str], asking: Service, tmp_path: Path
) -> None:
    """All four workers refuse a revoked token within 5 seconds, even if they have just accepted it."""
    token = tokens(environment, tmp_path, "create", "--name", "ci", "--role", "reader")
    earlier = len(requests(asking))

    def answers() -> Counter[int]:
        return Counter(send(asking, FETCH, {}, token).status for _ in range(40))

    def all_workers_answered() -> bool:
        assert answers() == {422: 40}
        return len({line["pid"] for line in requests(asking)[earlier:]}) == 4

    wait_until(all_workers_answered)
    tokens(environment, tmp_path, "revoke", "ci")
    time.sleep(5)
    assert answers() == {401: 40}


def requests(service: Service) -> list[dict[str, Any]]:
    lines = (json.loads(line) for line in service.log.read_text().splitlines())
    return [line for line in lines if line["message"] == "request"]


def test_a_start_without_authentication_logs_a_warning(shared_service: Service, asking: Service) -> None:
    """A service started without authentication logs a warning that anyone with an ID can read."""
    for running, expected in ((shared_service, 1), (asking, 0)):
        lines = [json.loads(line) for line in running.log.read_text().splitlines()]
        warnings = [
            line for line in lines if line["level"] == "warning" and "AUTH_ENABLED" in line["message"]
        ]
        assert len(warnings) == expected
