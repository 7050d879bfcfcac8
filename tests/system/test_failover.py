"""An acknowledged secret survives the loss of the member that acknowledged it."""

import os
import threading
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import requests
from pymongo import MongoClient

from tests.cli.waiting import wait_until
from tests.support.commands import run_command
from tests.support.replica_set import ThreeMembers
from tests.support.service import Service, patient

pytestmark = pytest.mark.process


@pytest.fixture
def members(tmp_path: Path) -> Iterator[ThreeMembers]:
    with ThreeMembers(tmp_path) as members:
        yield members


class Clients:
    """Threads that create and fetch continuously and record the replies."""

    def __init__(self, service: Service, count: int) -> None:
        self._service = service
        self._stop = threading.Event()
        #: Values by the IDs under which they were acknowledged.
        self.created: dict[str, str] = {}
        #: IDs of the requests that were answered 200, by operation.
        self.acknowledged: dict[str, str] = {}
        self.statuses: Counter[int] = Counter()
        self.wrong: list[str] = []
        self._threads = [threading.Thread(target=self._work) for _ in range(count)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        with requests.Session() as session:
            while not self._stop.is_set():
                value = b64encode(os.urandom(24)).decode()
                body = self._ask(session, "create/", {"secret": value})
                if body is None:
                    time.sleep(0.05)
                    continue
                self.created[body["secret_id"]] = value
                fetched = self._ask(session, "fetch", body)
                if fetched not in (None, {"secret": value}):
                    self.wrong.append(body["secret_id"])

    def _ask(self, session: requests.Session, call: str, body: object) -> dict[str, str] | None:
        identifier = str(uuid4())
        reply = session.post(
            f"{self._service.url}/vault/secret/{call}",
            json=body,
            headers={"X-Request-ID": identifier},
            timeout=60,
        )
        self.statuses[reply.status_code] += 1
        if reply.status_code != 200:
            return None
        self.acknowledged[identifier] = call.strip("/")
        answer: dict[str, str] = reply.json()
        return answer


@pytest.mark.promise(4)
@pytest.mark.long
def test_losing_the_primary_loses_no_acknowledged_secret(
    members: ThreeMembers, master_key: str, tmp_path: Path
) -> None:
    """After SIGKILL of the primary under load, every acknowledged secret is readable and has one entry."""
    environment = {"MASTER_KEY": master_key, "MONGO_URI": members.uri("vault"), "WEB_CONCURRENCY": "2"}
    with Service(environment, folder=tmp_path) as service:
        service.wait_until("/health/ready")
        with Clients(service, 16) as clients:
            wait_until(lambda: len(clients.created) > 200, seconds=120)
            members.primary().kill()
            members.primary()
            before = len(clients.created)
            wait_until(lambda: len(clients.created) > before + 200, seconds=120)
        assert clients.wrong == []
        assert set(clients.statuses) <= {200, 503}
        for secret_id, value in clients.created.items():
            reply = patient(lambda which=secret_id: service.fetch(which))
            assert reply.body == {"secret": value}
    with MongoClient(members.uri("vault")) as client:
        entries = Counter(
            (entry["request_id"], entry["action"])
            for entry in client.vault.audit_logs.find({"status": "success"})
        )
    missing = [one for one in clients.acknowledged.items() if entries[one] != 1]
    assert missing == []
    verified = run_command("audit", "verify", environment=environment, folder=tmp_path)
    assert verified.returncode == 0, verified.stdout + verified.stderr
