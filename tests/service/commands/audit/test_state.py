"""The database decides whether there is an audit trail; changes of that are recorded."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app, start
from tests.core.keys.test_guard import watch_of
from tests.support.commands import Done, invoke
from tests.support.problems import fields_of, messages_of
from tests.support.rotation import Stored, connected, new_key, settings
from tests.support.service import Service
from tests.support.trail import block_trail, restore_trail
from tests.support.waiting import wait_until
from vault.core.crypto import Keyring
from vault.core.documents import registry

KEY = new_key()
OFF = {"AUDIT_ENABLED": "false"}
CREATE = ("tokens", "create", "--role", "admin", "--name")
PATH = "/vault/secret/create/"
SECRET = {"secret": "YQ=="}


def run(folder: Path, uri: str, *arguments: str, **environment: str) -> Done:
    return invoke(*arguments, environment=settings(uri, KEY) | environment, folder=folder)


def ready(uri: str, **environment: str) -> dict[str, Any]:
    """Return the failing readiness checks, after comparing them with the replies."""
    with running_app(settings(uri, KEY) | environment) as app:
        client = app.test_client()
        start(app)
        reply = client.get("/health/ready")
        errors = messages_of(reply.json)
        assert client.post(PATH, json=SECRET).status_code == (503 if errors else 200)
        return errors


def actions(stored: Stored) -> list[str]:
    return [entry["action"] for entry in stored.audit_logs.find().sort("ts", 1)]


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        ((*CREATE, "other"), ".env"),
        (("tokens", "list"), "environment"),
        (("tokens", "revoke", "ci"), "environment"),
        (("keys", "rewrap"), "environment"),
    ],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_auditing_is_not_disabled_as_a_side_effect(
    mongo_uri: str, stored: Stored, tmp_path: Path, arguments: tuple[str, ...], place: str
) -> None:
    """With `AUDIT_ENABLED=false`, no command works on a database that has a trail."""
    assert run(tmp_path, mongo_uri, *CREATE, "ci").returncode == 0
    before = list(stored.tokens.find()), list(stored.audit_logs.find())
    environment = OFF
    if place == ".env":
        environment = {}
        (tmp_path / ".env").write_text("AUDIT_ENABLED=false\n")
    done = run(tmp_path, mongo_uri, *arguments, **environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert "AUDIT_ENABLED is off, but this database has an audit trail" in done.stderr
    assert (list(stored.tokens.find()), list(stored.audit_logs.find())) == before
    assert not (tmp_path / "b").exists()


@pytest.mark.promise(3)
def test_the_trail_is_disabled_and_enabled_on_record(mongo_uri: str, stored: Stored, tmp_path: Path) -> None:
    """`disable` leaves a signed last entry, `enable` a first one; processes that disagree do not serve."""
    assert ready(mongo_uri) == {}
    on = "AUDIT_ENABLED is off, but this database has an audit trail; set AUDIT_ENABLED=true, "
    assert ready(mongo_uri, **OFF) == {"audit": [on + "or run `secret-manager audit disable`"]}
    served = ["create", "stream_closed"]
    for _ in range(2):
        # The service's future setting, or its current one.
        assert run(tmp_path, mongo_uri, "audit", "disable", **(OFF if _ else {})).returncode == 0
    assert actions(stored) == [*served, "audit_disabled"]
    assert ready(mongo_uri, **OFF) == {}
    off = "AUDIT_ENABLED is on, but the audit trail of this database is disabled; set AUDIT_ENABLED=false, "
    assert ready(mongo_uri) == {"audit": [off + "or run `secret-manager audit enable`"]}
    assert run(tmp_path, mongo_uri, *CREATE, "ci").returncode == 1
    assert run(tmp_path, mongo_uri, *CREATE, "ci", **OFF).returncode == 0
    assert actions(stored) == [*served, "audit_disabled"]
    assert run(tmp_path, mongo_uri, "audit", "enable", **OFF).returncode == 0
    assert ready(mongo_uri) == {}
    assert actions(stored) == [*served, "audit_disabled", "audit_enabled", *served]
    done = run(tmp_path, mongo_uri, "audit", "verify")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "6 entries in 4 streams: intact")
    for action in ("audit_disabled", "audit_enabled"):
        entry = stored.audit_logs.find_one({"action": action})
        assert entry is not None
        assert (entry["principal"], entry["status"], "signature" in entry) == ("operator", "success", True)


def test_without_its_last_entry_the_trail_is_not_disabled(
    mongo_uri: str, stored: Stored, tmp_path: Path
) -> None:
    """While the trail cannot be written it stays enabled, and `disable` fails."""
    assert ready(mongo_uri) == {}
    block_trail(stored)
    done = run(tmp_path, mongo_uri, "audit", "disable")
    assert (done.returncode, done.stderr.endswith("the audit trail cannot be written\n")) == (1, True)
    restore_trail(stored)
    assert ready(mongo_uri) == {}


@pytest.mark.parametrize("enabled", [True, False])
def test_a_new_database_takes_the_state_of_the_first_process(mongo_uri: str, enabled: bool) -> None:
    """An empty database has no state; after the first process, one that disagrees does not serve."""
    setting = {"AUDIT_ENABLED": str(enabled)}
    other = {"AUDIT_ENABLED": str(not enabled)}
    assert ready(mongo_uri, **setting) == {}
    assert list(ready(mongo_uri, **other)) == ["audit"]
    assert ready(mongo_uri, **setting) == {}


def test_an_installation_of_an_earlier_version_keeps_working(mongo_uri: str, stored: Stored) -> None:
    """Without a recorded state, existing entries mean a trail; without entries the setting decides."""
    assert ready(mongo_uri, **OFF) == {}
    stored["keys"].update_one({"_id": "claims"}, {"$unset": {"trail": True}})
    assert ready(mongo_uri, **OFF) == {}
    stored["keys"].update_one({"_id": "claims"}, {"$unset": {"trail": True}})
    assert ready(mongo_uri) == {}
    stored["keys"].update_one({"_id": "claims"}, {"$unset": {"trail": True}})
    assert list(ready(mongo_uri, **OFF)) == ["audit"]


def test_a_replica_of_an_earlier_version_leaves_the_state(mongo_uri: str, stored: Stored) -> None:
    """In a rolling update, an older worker claims and releases without changing the state."""
    assert ready(mongo_uri) == {}
    before = stored["keys"].find_one("claims", {"trail": True})
    # The form that earlier versions write.
    own = {"worker": "older", "key_id": KEY.id, "held": [KEY.id], "renewed_at": "$$NOW"}
    for _ in range(2):
        stored["keys"].update_one({"_id": "claims"}, {"$setOnInsert": {"workers": []}}, upsert=True)
        stored["keys"].update_one(
            {"_id": "claims", "restored": None}, [{"$set": {"workers": {"$concatArrays": [[own]]}}}]
        )
    assert ready(mongo_uri) == {}
    stored["keys"].update_one({"_id": "claims"}, {"$pull": {"workers": {"worker": "older"}}})
    assert stored["keys"].find_one("claims", {"trail": True}) == before
    assert before is not None
    assert before["trail"]["enabled"] is True


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "planted", [False, "off", 0, [True], {"a": True}, [[]]], ids=lambda value: f"enabled {value}"
)
def test_a_forged_state_can_only_stop_the_service(mongo_uri: str, stored: Stored, planted: Any) -> None:
    """With any forged state in the database, a process that audits never serves without a trail."""
    with running_app(settings(mongo_uri, KEY)) as app:
        client = app.test_client()
        assert client.post(PATH, json=SECRET).status_code == 200
        entries = stored.audit_logs.count_documents({})
        stored["keys"].update_one({"_id": "claims"}, {"$set": {"trail.enabled": planted}})
        watch_of(app).look()
        assert client.post(PATH, json=SECRET).status_code == 503
        assert fields_of(client.get("/health/ready").json) == ["audit"]
    assert stored.audit_logs.count_documents({}) == entries


@pytest.mark.parametrize("planted", ["text", [{"enabled": True}], [1], None, 7], ids=str)
def test_a_malformed_state_is_ignored(mongo_uri: str, stored: Stored, planted: Any) -> None:
    """An invalid stored state breaks neither its periodic check nor the commands that set it."""
    assert ready(mongo_uri) == {}
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"trail": planted}})
    assert set(ready(mongo_uri)) <= {"audit"}
    with connected(mongo_uri):
        registry.set_trail_enabled(enabled=True)
        assert registry.Worker(Keyring(KEY)).claim() == (not isinstance(planted, list))


@pytest.mark.process
def test_a_running_service_notices_within_seconds(mongo_uri: str, tmp_path: Path) -> None:
    """All workers stop serving when the trail is disabled, and continue when it is enabled again."""
    environment = settings(mongo_uri, KEY) | {"WEB_CONCURRENCY": "2"}
    with Service(environment, folder=tmp_path) as service:
        service.wait_until_started()
        assert run(tmp_path, mongo_uri, "audit", "disable").returncode == 0
        wait_until(lambda: service.post(PATH, SECRET).status == 503)
        service.wait_until("/health/ready", status=503)
        refused = "not serving: AUDIT_ENABLED is on, but the audit trail"
        wait_until(lambda: refused in service.log.read_text())
        assert run(tmp_path, mongo_uri, "audit", "enable").returncode == 0
        wait_until(lambda: service.post(PATH, SECRET).status == 200)
        service.wait_until("/health/ready")
