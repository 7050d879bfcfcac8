"""Once a process has served with authentication, none serves without it until an operator disables it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click.testing
import pytest
from flask import Flask

from tests.conftest import running_app, start
from tests.core.keys.test_guard import watch_of
from tests.support.commands import Done, invoke
from tests.support.problems import messages_of
from tests.support.rotation import Stored, age_claims, connected, new_key, settings
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import AuthInUseError
from vault.core.attempt import Action, Attempt, attempts_finished
from vault.core.crypto import Keyring
from vault.core.documents import registry
from vault.core.keys import authentication
from vault.core.principal import OPERATOR

KEY = new_key()
ON, OFF = {"AUTH_ENABLED": "true"}, {"AUTH_ENABLED": "false"}
DISABLE = ("auth", "disable", "--yes")
PATH = "/vault/secret/create/"
SECRET = {"secret": "YQ=="}
REFUSAL = (
    "authentication was enabled for this database; "
    "set AUTH_ENABLED=true, or run `secret-manager auth disable`"
)


@pytest.fixture
def run(mongo_uri: str, tmp_path: Path) -> Any:
    def command(*arguments: str, **environment: str) -> Done:
        return invoke(*arguments, environment=settings(mongo_uri, KEY) | environment, folder=tmp_path)

    return command


@contextmanager
def replica(uri: str, setting: dict[str, str]) -> Iterator[Flask]:
    """Run and start a replica with this *setting*."""
    with running_app(settings(uri, KEY) | setting) as app:
        start(app)
        yield app


def create(app: Flask) -> int:
    """Return the status of a create without a credential."""
    return app.test_client().post(PATH, json=SECRET).status_code


def state(app: Flask) -> tuple[int, dict[str, Any]]:
    """Return the status of an anonymous create, and the failing checks."""
    return create(app), messages_of(app.test_client().get("/health/ready").json)


def served(uri: str, setting: dict[str, str]) -> tuple[int, dict[str, Any]]:
    """Return the `state` of a replica that starts with this *setting*, and stops."""
    with replica(uri, setting) as app:
        return state(app)


def authenticating() -> registry.Worker:
    """Return a new worker with authentication."""
    return registry.Worker(Keyring(KEY), auth_enabled=True)


def outcomes(stored: Stored) -> list[str]:
    """Return the outcomes of all attempts to disable authentication."""
    return [entry["status"] for entry in stored.audit_logs.find({"action": "auth_disabled"}).sort("ts", 1)]


def test_a_secured_database_is_not_served_without_authentication(
    mongo_uri: str, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """After a start with authentication, a replica without it refuses, stores nothing, and says why."""
    assert served(mongo_uri, OFF) == (200, {})
    assert served(mongo_uri, ON) == (401, {})
    before = stored.secrets.count_documents({}), stored.audit_logs.count_documents({})
    caplog.clear()
    assert served(mongo_uri, OFF) == (503, {"auth": [REFUSAL]})
    assert f"not serving: {REFUSAL}" in caplog.messages
    assert (stored.secrets.count_documents({}), stored.audit_logs.count_documents({})) == before
    assert served(mongo_uri, ON) == (401, {})


def test_a_replica_without_authentication_stops_once_one_with_it_starts(mongo_uri: str) -> None:
    """A start with authentication ends the service of a replica without it at its next check."""
    with replica(mongo_uri, OFF) as app:
        assert state(app) == (200, {})
        assert authenticating().claim()
        watch_of(app).look()
        assert state(app) == (503, {"auth": [REFUSAL]})


def test_an_operator_disables_authentication_on_record(mongo_uri: str, stored: Stored, run: Any) -> None:
    """`auth disable` leaves an entry, then a replica without authentication serves; a start undoes it."""
    served(mongo_uri, ON)
    for _ in range(2):
        assert run(*DISABLE).returncode == 0
    assert outcomes(stored) == ["success"]
    assert served(mongo_uri, OFF) == (200, {})
    assert served(mongo_uri, ON) == (401, {})
    assert served(mongo_uri, OFF) == (503, {"auth": [REFUSAL]})


@pytest.mark.parametrize("milliseconds", [0, 39_000])
def test_authentication_is_not_disabled_beside_a_replica_with_it(
    mongo_uri: str, stored: Stored, run: Any, milliseconds: int
) -> None:
    """While a process with authentication may run, `auth disable` refuses on record, and changes nothing."""
    served(mongo_uri, ON)
    with connected(mongo_uri):
        assert authenticating().claim()
    age_claims(stored, milliseconds)
    done = run(*DISABLE)
    assert (done.returncode, "stop them" in done.stderr) == (1, True)
    assert outcomes(stored) == ["error"]
    assert served(mongo_uri, OFF)[0] == 503
    age_claims(stored, 41_000)
    assert run(*DISABLE).returncode == 0


def test_a_person_is_asked(mongo_uri: str, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, `auth disable` asks first; without an answer, nothing changes."""
    served(mongo_uri, ON)
    streams = click.testing._NamedTextIOWrapper
    monkeypatch.setattr(streams, "isatty", lambda stream: stream.name == "<stdin>", raising=False)
    assert run("auth", "disable").returncode != 0
    assert served(mongo_uri, OFF)[0] == 503


def test_a_start_during_the_command_wins(mongo_uri: str) -> None:
    """If a process with authentication starts while the entry is written, authentication stays enabled."""
    with connected(mongo_uri):
        worker = authenticating()
        assert worker.claim()
        worker.release()
        starting = authenticating()

        def record(*_: object) -> bool:
            return not starting.claim()

        with attempts_finished.connected_to(record), pytest.raises(AuthInUseError):
            authentication.disable(Attempt(action=Action.AUTH_DISABLED, principal=OPERATOR))
        assert registry.requires_auth()


def test_a_replica_with_authentication_restores_the_record(mongo_uri: str, stored: Stored) -> None:
    """If the record disappears while a replica with authentication runs, its next check writes it again."""
    with replica(mongo_uri, ON) as app:
        stored["keys"].update_one({"_id": "claims"}, {"$unset": {"auth": True}})
        watch_of(app).look()
        assert registry.requires_auth()
        assert state(app) == (401, {})


def test_without_its_entry_authentication_is_not_disabled(mongo_uri: str, stored: Stored, run: Any) -> None:
    """While the trail cannot be written, `auth disable` fails and changes nothing."""
    served(mongo_uri, ON)
    block_trail(stored)
    assert run(*DISABLE).returncode == 1
    restore_trail(stored)
    assert served(mongo_uri, OFF)[0] == 503


def test_commands_neither_need_nor_change_the_record(mongo_uri: str, run: Any) -> None:
    """Operators' commands work with either setting, and do not enable authentication."""
    create = ("tokens", "create", "--role", "admin", "--name")
    assert run(*create, "first", **ON).returncode == 0
    assert served(mongo_uri, OFF) == (200, {})
    served(mongo_uri, ON)
    assert run(*create, "second", **OFF).returncode == 0


@pytest.mark.parametrize("planted", [True, "off", 0, [False], {"a": False}, [[]]], ids=str)
def test_a_forged_record_can_only_stop_the_service(mongo_uri: str, stored: Stored, planted: Any) -> None:
    """With any value in place of the record, replicas without authentication refuse, and others serve."""
    served(mongo_uri, OFF)
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"auth": {"enabled": planted}}})
    assert served(mongo_uri, OFF) == (503, {"auth": [REFUSAL]})
    assert served(mongo_uri, ON) == (401, {})


@pytest.mark.parametrize("planted", ["text", [{"enabled": True}], [1], [], None, 7], ids=str)
def test_a_malformed_record_breaks_nothing(mongo_uri: str, stored: Stored, run: Any, planted: Any) -> None:
    """A start with authentication replaces a malformed record, and the command ends it."""
    served(mongo_uri, OFF)
    stored["keys"].update_one({"_id": "claims"}, {"$set": {"auth": planted}})
    assert served(mongo_uri, ON) == (401, {})
    assert served(mongo_uri, OFF)[0] == 503
    assert run(*DISABLE).returncode == 0
    assert served(mongo_uri, OFF) == (200, {})


def test_a_worker_of_an_earlier_version_is_not_mistaken(mongo_uri: str, stored: Stored) -> None:
    """An earlier version takes over an ended worker's document, and does not count as authenticating."""
    with connected(mongo_uri):
        worker = authenticating()
        assert worker.claim()
        assert registry.runs_with_auth()
        worker.release()
        taken = {"worker": "older", "keyring": KEY.id, "renewed_at": "$$NOW"}
        stored["keys"].update_one({"worker": {"$exists": True}}, [{"$set": taken}])
        assert not registry.runs_with_auth()
