"""A MongoDB that hangs takes a request no longer than its time, and the service no more than its room."""

import os
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.life import UNKNOWN_ID
from tests.service import Service
from vault.api import blueprint
from vault.cli.mongod import Mongod


@pytest.mark.parametrize("seconds", ["1", "10"])
def test_a_hung_mongodb_is_503_in_time(master_key: str, tmp_path: Path, seconds: str) -> None:
    """While MongoDB is stopped all are answered 503 within their time, and afterwards all is well."""
    with Mongod(tmp_path / "db") as mongod:
        environment = {
            "MASTER_KEY": master_key,
            "MONGO_URI": mongod.uri,
            "REQUEST_TIMEOUT_SECONDS": seconds,
            "WEB_CONCURRENCY": "1",
        }
        with Service(environment, folder=tmp_path) as service:
            service.wait_until("/health/ready")
            kept = service.create(b"value")
            assert mongod._process is not None
            os.kill(mongod._process.pid, signal.SIGSTOP)
            try:
                with ThreadPoolExecutor(20) as pool:
                    created = list(pool.map(lambda _: _create(service), range(20)))
                    fetched = list(pool.map(lambda _: service.fetch(kept).status, range(20)))
            finally:
                os.kill(mongod._process.pid, signal.SIGCONT)
            assert created + fetched == [503] * 40
            service.wait_until("/health/ready")
            assert service.fetch(kept).status == 200


def _create(service: Service) -> int:
    return service.post("/vault/secret/create/", {"secret": "YQ=="}).status


def test_beyond_its_room_a_worker_refuses_at_once(client: FlaskClient) -> None:
    """A request too many is 503, and leaves room for the next once others have ended."""
    slots = client.application.extensions[blueprint.SLOTS]
    taken = [slots.acquire(blocking=False) for _ in range(blueprint.MOST_AT_ONCE)]
    assert all(taken)
    refused = client.post("/vault/secret/fetch", json={"secret_id": UNKNOWN_ID})
    assert refused.status_code == 503
    assert refused.get_json(force=True)["detail"] == "The service is overloaded. Try again shortly."
    assert int(refused.headers["Retry-After"]) > 0
    slots.release()
    found = Counter(
        client.post("/vault/secret/fetch", json={"secret_id": UNKNOWN_ID}).status_code for _ in range(3)
    )
    assert found == {404: 3}
