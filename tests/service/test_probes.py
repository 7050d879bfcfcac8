"""Probes only read; a worker writes what is needed when it starts."""

import logging
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from flask import Flask
from pymongo.errors import ServerSelectionTimeoutError

from tests.conftest import running_app, start
from tests.support.listening import Listener
from tests.support.problems import fields_of, messages_of
from tests.support.rotation import Stored, age_claims, fill, new_key, settings
from tests.support.trail import block_trail, restore_trail
from tests.support.waiting import wait_until
from tests.system.test_tls import make
from vault.app import _warn
from vault.common.config.settings import Settings
from vault.common.errors import StorageUnavailableError
from vault.common.observability import logs, metrics
from vault.core import services as health
from vault.core.documents import Database, keys_in_use, primary, registry
from vault.core.documents.primary import Primary
from vault.core.keys import guard
from vault.core.keys.guard import KeyringGuard

# These count a database's contents.
pytestmark = pytest.mark.new_database

OURS, FOREIGN = new_key(), new_key()
READS = {"aggregate", "count", "distinct", "find", "getMore", "hello"}
FETCH = "/vault/secret/fetch"


class Commands(Listener):
    """Records the names of the commands sent to MongoDB."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def started(self, event: Any) -> None:
        """Record a command."""
        self.names.append(event.command_name)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    commands: Commands = Commands.attached(monkeypatch)
    # Only requests are recorded: a thread's concurrent write does not belong to a probe.
    monkeypatch.setattr(guard, "INTERVAL_SECONDS", 3_600)
    return commands


@pytest.fixture
def app(
    mongo_uri: str,
    commands: Commands,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Flask]:
    assert commands.names == []
    monkeypatch.setattr(metrics, "FOLDER", str(tmp_path_factory.mktemp("measured")))
    with running_app(settings(mongo_uri, OURS) | {"METRICS_BIND": "127.0.0.1:9464"}) as app:
        yield app


def content(stored: Stored) -> dict[str, list[Any]]:
    return {name: list(stored[name].find()) for name in stored.list_collection_names()}


def probe(app: Flask, commands: Commands, stored: Stored) -> list[str]:
    """Return the failing checks, after readiness and metrics were requested and wrote nothing."""
    before = content(stored)
    commands.names.clear()
    client = app.test_client()
    failing = fields_of(client.get("/health/ready").json)
    assert client.get("/metrics", base_url="http://localhost:9464").status_code == 200
    assert commands.names
    assert set(commands.names) <= READS
    assert content(stored) == before
    return failing


def test_no_probe_writes(app: Flask, commands: Commands, stored: Stored) -> None:
    """In no state do readiness or metrics send MongoDB a command that writes."""
    client = app.test_client()
    assert probe(app, commands, stored) == ["mongodb"]
    start(app)
    assert probe(app, commands, stored) == []
    block_trail(stored)
    assert client.post(FETCH, json={}).status_code == 503
    restore_trail(stored)
    assert probe(app, commands, stored) == ["audit"]
    start(app)
    assert probe(app, commands, stored) == []
    # The gap is on record.
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"], entry["principal"]) == ("trail_resumed", "success", "service")
    fill(stored, FOREIGN, 1)
    age_claims(stored)
    app.extensions["secret-manager"].guard.look()
    assert probe(app, commands, stored) == ["keys"]
    stored.secrets.delete_many({})
    assert probe(app, commands, stored) == []
    assert registry.writing_key_ids() == set()
    assert client.post(FETCH, json={}).status_code == 422
    assert registry.writing_key_ids() == {OURS.id}
    assert registry.begin_restore("a backup", audit_enabled=None) is False


@pytest.mark.parametrize("protection", [{"AUTH_ENABLED": "true"}, {"BIND": "127.0.0.1:8000"}])
def test_with_mongodb_the_service_is_live_and_ready(
    environment: dict[str, str], protection: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both checks return 200 when the service can do its work, and readiness has no warning."""
    monkeypatch.setattr(primary, "MIN_MEMBERS", 1)
    with running_app({**environment, **protection}) as app:
        start(app)
        for path in ("/health/live", "/health/ready", "/health/ready/"):
            reply = app.test_client().get(path)
            assert (reply.status_code, reply.json) == (200, {"status": "ok"})


@pytest.mark.promise("processes")
@pytest.mark.parametrize("bind", ["0.0.0.0:8000", "vault.example:8000"])
def test_readiness_warns_about_an_open_service(environment: dict[str, str], bind: str) -> None:
    """Without authentication on a public address, the service is ready, and readiness warns about it."""
    with running_app({**environment, "BIND": bind}) as app:
        start(app)
        reply = app.test_client().get("/health/ready")
        assert reply.status_code == 200
        assert reply.json is not None
        assert reply.json["status"] == "ok"
        warning, _ = reply.json["warnings"]
        assert warning.startswith("AUTH_ENABLED is off: ")
        assert bind not in warning
        assert app.test_client().get("/health/live").json == {"status": "ok"}


@pytest.mark.promise("purges")
def test_a_worker_waits_for_the_end_of_a_restore(mongo_uri: str, stored: Stored) -> None:
    """A service on an incomplete restore refuses all and says why, then serves once it is complete."""
    with running_app(settings(mongo_uri, OURS)) as app:
        client = app.test_client()
        assert registry.begin_restore("a backup", audit_enabled=None)
        for _ in range(2):
            ready = client.get("/health/ready")
            assert (ready.status_code, fields_of(ready.json)) == (503, ["restore"])
            assert client.post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 503
        assert stored.audit_logs.count_documents({}) == 0
        registry.end_restore()
        start(app)
        assert client.get("/health/ready").status_code == 200
        assert client.post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 200


def test_a_probe_reports_why_a_start_failed(mongo_uri: str, stored: Stored) -> None:
    """Until a worker has started, readiness reports the failure of its start, not only that it has not."""
    stored.secrets.insert_many(
        [{"_id": str(number), "namespace": "a", "name": "twice"} for number in range(2)]
    )
    with running_app(settings(mongo_uri, OURS)) as app:
        start(app)
        reply = app.test_client().get("/health/ready")
    assert reply.status_code == 503
    [reason] = messages_of(reply.json)["mongodb"]
    assert "have the same name" in reason


@pytest.mark.promise(4)
def test_a_worker_without_a_needed_key_writes_nothing(app: Flask, commands: Commands, stored: Stored) -> None:
    """A start without a key that is in use leaves the database unchanged, and probes report why."""
    fill(stored, FOREIGN, 1)
    before = content(stored)
    start(app)
    assert content(stored) == before
    assert probe(app, commands, stored) == ["keys"]


def test_a_start_without_mongodb_is_retried(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    """A worker that could not start is not ready, and becomes ready without a request once it can."""
    monkeypatch.setattr(health, "INTERVAL_SECONDS", 0.01)
    require, is_away = KeyringGuard.require, [True]

    def require_or_fail(watch: KeyringGuard) -> None:
        if is_away[0]:
            raise health.StorageUnavailableError("gone")
        require(watch)

    monkeypatch.setattr(KeyringGuard, "require", require_or_fail)
    with running_app(settings(mongo_uri, OURS)) as app:
        services = app.extensions["secret-manager"]
        services.startup.begin()
        wait_until(lambda: services.health.readiness().failures == {"mongodb": ["gone"]})
        assert stored.list_collection_names() == []
        is_away[0] = False
        wait_until(lambda: not services.health.readiness().failures)
        assert registry.writing_key_ids() == {OURS.id}


@pytest.mark.usefixtures("own_timeouts")
def test_a_start_without_mongodb_is_one_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """While MongoDB is unavailable at the start, the service is live, not ready, and logs one short error."""
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr("vault.core.documents.members._TIMEOUT_MILLISECONDS", 200)
    with running_app(settings("mongodb://127.0.0.1:1/?replicaSet=rs0", OURS)) as app:
        for _ in range(2):
            start(app)
            reply = app.test_client().get("/health/ready")
            assert (reply.status_code, reply.content_type) == (503, "application/problem+json")
            assert (fields_of(reply.json), "Retry-After" in reply.headers) == (["mongodb"], True)
        # Nothing restarts the process.
        assert app.test_client().get("/health/live").status_code == 200
        # A process that ends asks no more.
        app.extensions["secret-manager"].startup.close()
        monkeypatch.delattr(Database, "explanation")
        start(app)
    logged = [(line.levelname, line.message) for line in caplog.records if line.levelno >= logging.WARNING]
    refused = "not serving: MongoDB is not available: 127.0.0.1:1: [Errno 111] Connection refused"
    assert logged == [("ERROR", refused)]


@pytest.mark.usefixtures("own_timeouts")
def test_an_unavailable_mongodb_is_a_short_line_of_one_worker(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The line stays below 500 characters with many servers; other workers write it at a lower level."""
    reasons = iter([f"{'server ' * 99}response 17", f"{'server ' * 99}response 23"] * 2)
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.2)
    monkeypatch.setattr(Database, "explanation", lambda _: next(reasons))
    levels = []
    for is_first in (True, False):
        with running_app(settings("mongodb://127.0.0.1:1/?replicaSet=rs0", OURS)) as app:
            startup = app.extensions["secret-manager"].startup
            monkeypatch.setattr(startup._retries, "start", lambda: None)
            caplog.clear()
            with caplog.at_level("INFO"):
                startup.begin(is_first=is_first)
                start(app)
                start(app)
        [line] = [line for line in caplog.records if "not serving" in line.message]
        assert len(logs.JsonFormatter().format(line)) < 500
        levels.append(line.levelname)
    assert levels == ["ERROR", "INFO"]


def test_a_refused_user_is_one_log_line(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A user that MongoDB refuses is logged once, however the driver reports each attempt."""
    codes = iter(("OperationFailure 18", "ServerSelectionTimeoutError"))

    def refuse(*_: object) -> None:
        raise StorageUnavailableError("MongoDB refuses the user", is_denied=True, reason=next(codes))

    monkeypatch.setattr(KeyringGuard, "require", refuse)
    with running_app(settings("mongodb://127.0.0.1:1/?replicaSet=rs0", OURS)) as app:
        start(app)
        start(app)
        app.extensions["secret-manager"].startup.close()
    logged = [line.message for line in caplog.records if line.levelname == "ERROR"]
    assert logged == ["not serving: MongoDB is not available: MongoDB refuses the user"]


def at_another_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Move this machine's clock ahead of MongoDB's."""
    ping = Database.ping

    def answer(made: Database) -> Primary:
        found, later = ping(made), timedelta(seconds=seconds)
        return Primary(found.hello, found.asked_at + later, found.answered_at + later)

    monkeypatch.setattr(Database, "ping", answer)


@pytest.mark.parametrize("hours", [2, -2])
def test_a_replica_with_a_wrong_clock_is_not_ready(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, hours: int
) -> None:
    """A replica whose clock differs by hours is not ready; its log and its metrics say by how much."""
    at_another_time(monkeypatch, 3_600 * hours)
    start(app)
    reply = app.test_client().get("/health/ready")
    assert reply.status_code == 503
    direction = "ahead of" if hours > 0 else "behind"
    [reason] = messages_of(reply.json)["clock"]
    assert re.fullmatch(rf"this machine's clock is 7,[12]\d\d seconds {direction} MongoDB's", reason)
    [line] = [line for line in caplog.records if "this machine's clock" in line.message]
    assert line.levelname == "ERROR"
    assert line.message.startswith("not serving: this machine's clock is 7,")
    page = app.test_client().get("/metrics", base_url="http://localhost:9464").get_data(as_text=True)
    [offset] = re.findall(r"^secret_manager_clock_offset_seconds (\S+)$", page, re.MULTILINE)
    assert abs(float(offset) - 3_600 * hours) < 100
    assert 'secret_manager_ready{check="clock"} 0.0' in page


def test_a_small_difference_of_the_clocks_is_a_warning(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica whose clock differs by a minute or two serves, and readiness warns."""
    at_another_time(monkeypatch, 150)
    start(app)
    reply = app.test_client().get("/health/ready")
    assert reply.status_code == 200
    assert reply.json is not None
    assert reply.json["warnings"][-1].endswith("seconds ahead of MongoDB's")


def test_a_mongodb_of_one_member_is_a_warning(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    """With one member, readiness and, once, the log say that no node may be lost."""
    start(app)
    start(app)
    reply = app.test_client().get("/health/ready")
    assert reply.json is not None
    text = "MongoDB's replica set has 1 member: no node may be lost"
    assert text in reply.json["warnings"]
    assert [line.message for line in caplog.records if "no node" in line.message] == [
        f"no redundancy: {text}"
    ]


def test_an_expiring_certificate_is_a_warning(
    mongo_uri: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """With a certificate that expires within 30 days, the service is ready; it names the file."""
    pair = make(tmp_path, "server")
    files = dict.fromkeys(("TLS_CERT", "TLS_CLIENT_CA"), str(pair.certificate))
    environment = settings(mongo_uri, OURS) | files | {"TLS_KEY": str(pair.key)}
    _warn(Settings.from_mapping(environment))
    with running_app(environment) as app:
        start(app)
        reply = app.test_client().get("/health/ready")
    assert reply.status_code == 200
    assert reply.json is not None
    day = f"{pair.made.not_valid_after_utc:%Y-%m-%d}"
    for name in files:
        text = f"a certificate in {name} expires on {day}"
        assert text in reply.json["warnings"]
        assert f"check the certificates: {text}" in caplog.messages


def test_a_probe_without_mongodb_is_not_ready(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A probe whose reads fail reports that MongoDB is unreachable."""

    def fail(_: object) -> set[str]:
        raise ServerSelectionTimeoutError("gone")

    monkeypatch.setattr(keys_in_use, "stored_key_ids", fail)
    assert list(app.extensions["secret-manager"].health.readiness().failures) == ["mongodb"]


def test_the_first_request_begins_the_startup_and_does_not_wait(
    mongo_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a server without our hooks, the first probe begins the startup, and returns before its end."""
    may_start, require = Event(), KeyringGuard.require

    def require_later(watch: KeyringGuard) -> None:
        assert may_start.wait(60)
        require(watch)

    monkeypatch.setattr(KeyringGuard, "require", require_later)
    with running_app(settings(mongo_uri, OURS)) as app:
        app.before_request(app.extensions["secret-manager"].startup.begin)
        client = app.test_client()
        assert client.get("/health/ready").status_code == 503
        may_start.set()
        wait_until(lambda: client.get("/health/ready").status_code == 200)
