"""A hanging MongoDB delays a request no longer than its timeout, and queues stay within their limits."""

import os
import signal
import socket
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import running_app, start
from tests.support.lifecycle import UNKNOWN_ID
from tests.support.rotation import Stored
from tests.support.service import Service, patient
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod
from vault.core.documents import AuditEntry
from vault.toolkit.operations.blueprint import SLOTS
from vault.toolkit.operations.slots import MAX_CONCURRENT_REQUESTS

CREATE = "/vault/secret/create/"


@pytest.mark.promise("network")
@pytest.mark.process
@pytest.mark.nightly
def test_a_hung_mongodb_is_503_in_time(master_key: str, tmp_path: Path) -> None:
    """While MongoDB is stopped, all requests return 503 within their timeout; afterwards all succeed."""
    with Mongod(tmp_path / "db") as mongod:
        environment = {
            "MASTER_KEY": master_key,
            "MONGO_URI": mongod.uri,
            "REQUEST_TIMEOUT_SECONDS": "1",
            "WEB_CONCURRENCY": "1",
        }
        with Service(environment, measured=True, folder=tmp_path) as service:
            service.wait_until_started()
            # A busy machine may need more than a second.
            created = patient(lambda: service.post(CREATE, {"secret": "YQ=="}))
            kept = str(created.body["secret_id"])
            assert mongod._process is not None
            os.kill(mongod._process.pid, signal.SIGSTOP)
            try:
                with ThreadPoolExecutor(20) as pool:
                    creates = list(pool.map(lambda _: _create(service), range(20)))
                    fetches = list(pool.map(lambda _: service.fetch(kept).status, range(20)))
            finally:
                os.kill(mongod._process.pid, signal.SIGCONT)
            assert creates + fetches == [503] * 40
            service.wait_until("/health/ready")
            assert patient(lambda: service.fetch(kept)).status == 200


def _create(service: Service) -> int:
    return service.post(CREATE, {"secret": "YQ=="}).status


@pytest.mark.promise("network")
def test_a_request_over_the_limit_is_refused_immediately(client: FlaskClient) -> None:
    """A request over the limit returns 503, and the next one succeeds after others have ended."""
    slots = client.application.extensions[SLOTS]
    for _ in range(MAX_CONCURRENT_REQUESTS):
        slots.pop()
    refused = client.post("/vault/secret/fetch", json={"secret_id": UNKNOWN_ID})
    assert refused.status_code == 503
    assert refused.get_json(force=True)["detail"] == "The service is overloaded. Try again shortly."
    assert int(refused.headers["Retry-After"]) > 0
    slots.append(None)
    found = Counter(
        client.post("/vault/secret/fetch", json={"secret_id": UNKNOWN_ID}).status_code for _ in range(3)
    )
    assert found == {404: 3}


@pytest.mark.promise("network")
@pytest.mark.process
def test_half_sent_bodies_take_no_slot(environment: dict[str, str], tmp_path: Path) -> None:
    """While more clients than a worker has slots withhold half a body, other clients are answered."""
    settings = {"WEB_CONCURRENCY": "1", "MAX_CONNECTIONS_PER_ADDRESS": "1000"}
    half = b"POST /vault/secret/create/ HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    half += b"Content-Length: 1000\r\n\r\n{"
    with (
        Service({**environment, **settings}, measured=True, patient=True, folder=tmp_path) as service,
        ExitStack() as held,
    ):
        service.wait_until_started()
        for _ in range(MAX_CONCURRENT_REQUESTS + 20):
            connection = socket.create_connection(("127.0.0.1", service.port), timeout=30)
            held.enter_context(connection).sendall(half)
        assert [_create(service) for _ in range(10)] == [200] * 10


def test_a_late_operation_is_rolled_back(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If its entry takes too long, an operation leaves no held read, and no half of a change or a create."""
    store = AuditEntry.store
    go_on = Event()
    go_on.set()

    def store_slowly(*entries_and_effect: Any) -> None:
        go_on.wait(60)
        store(*entries_and_effect)

    monkeypatch.setattr(AuditEntry, "store", store_slowly)
    with running_app(environment) as app:
        once = app.test_client().post(CREATE, json={"secret": "YQ==", "max_reads": 1}).get_json()
    before, entries = stored.secrets.find_one(), 1
    # Less than that, and a busy machine may not come to the entry.
    with running_app({**environment, "REQUEST_TIMEOUT_SECONDS": "3"}) as app:
        start(app)
        client = app.test_client()
        for path, body, version in (
            ("fetch", once, 1),
            ("update", {**once, "secret": "Yg=="}, 2),
        ):
            go_on.clear()
            assert client.post(f"/vault/secret/{path}", json=body).status_code == 503
            assert list(stored.secrets.find()) == [before]
            go_on.set()
            # Until it is written, the next one would wait for it.
            entries += 1
            wait_until(lambda entries=entries: stored.audit_logs.count_documents({}) == entries)
            # The outcome of a change was unknown: its entry and it are stored together.
            assert [found["version"] for found in stored.secrets.find()] == [version]
        go_on.clear()
        assert client.post(CREATE, json={"secret": "YQ=="}).status_code == 503
        assert stored.secrets.count_documents({}) == 1
        go_on.set()
        wait_until(lambda: stored.audit_logs.count_documents({}) == entries + 1)
        # What the commit has stored for a caller who is gone is removed again.
        wait_until(lambda: stored.secrets.count_documents({}) == 1)
    with running_app(environment) as app:
        assert app.test_client().post("/vault/secret/fetch", json=once).get_json() == {"secret": "Yg=="}
