"""The service on a standalone MongoDB server, which docs/mongodb.md allows for a trial."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pymongo import MongoClient
from pymongo.errors import PyMongoError

from tests.conftest import running_app, start
from tests.support.lifecycle import Caller, b64
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import find_mongod, free_port
from vault.common.processes import end
from vault.core.principal import ANONYMOUS, Principal, Scope

pytestmark = pytest.mark.process

AUDITOR = Principal(name="auditor", scopes=frozenset({Scope.AUDIT_READ}))


@pytest.fixture
def standalone(tmp_path: Path) -> Iterator[str]:
    """Run a standalone server and return its connection string."""
    port = free_port()
    arguments = ["--dbpath", str(tmp_path), "--port", str(port), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    with subprocess.Popen([find_mongod(), *arguments], stdout=subprocess.DEVNULL) as server:
        uri = f"mongodb://127.0.0.1:{port}/vault"

        def answers() -> bool:
            with suppress(PyMongoError), MongoClient[dict[str, object]](uri, timeoutMS=1_000) as client:
                return bool(client.admin.command("ping"))
            return False

        try:
            wait_until(answers)
            yield uri
        finally:
            end(server, seconds=30)


def test_a_single_server_is_enough_for_a_trial(
    standalone: str, master_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a replica set, secrets are created and fetched and the trail is read."""
    with running_app({"MASTER_KEY": master_key, "MONGO_URI": standalone}) as app:
        caller = Caller(app.test_client(), monkeypatch)
        start(app)
        ready = app.test_client().get("/health/ready")
        assert (ready.status_code, ready.json["warnings"][-1]) == (
            *(200, "MongoDB is a standalone server: no node may be lost"),
        )
        secret_id = caller.become(ANONYMOUS).create(b"value")
        assert caller.fetch(secret_id) == b64(b"value")
        caller.become(AUDITOR)
        reply = app.test_client().post("/vault/audit/query", json={})
        assert reply.status_code == 200, reply.data
        assert [entry["action"] for entry in reply.json["entries"]] == ["create", "fetch"]
