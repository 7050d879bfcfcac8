"""Common parts of the operators' commands."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.commands import invoke
from tests.support.rotation import Stored, new_key, settings


@pytest.mark.promise("processes")
@pytest.mark.parametrize(
    "command", [("tokens", "create", "--name", "a", "--role", "reader"), ("audit", "verify")]
)
def test_a_command_names_the_settings_of_a_dotenv_file(
    environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A command names the `.env` it read and the settings in it on standard error, without values."""
    (tmp_path / ".env").write_text("FAILED_AUTH_LIMIT=77/minute\nLOG_LEVEL=debug\nBIND=127.0.0.1:1\n")
    done = invoke(
        *command,
        environment={**environment, "BIND": "127.0.0.1:2"},
        folder=tmp_path,
    )
    assert done.stderr.splitlines()[0] == f"Settings from {tmp_path / '.env'}: FAILED_AUTH_LIMIT, LOG_LEVEL"
    assert "77/minute" not in done.stderr
    assert ".env" not in done.stdout


def test_missing_settings_say_where_they_belong(tmp_path: Path) -> None:
    """Without the service's settings, an operator's command says that it needs them, and where to read on."""
    done = invoke("tokens", "list", environment={}, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid settings: MASTER_KEY: is required")
    assert "Hint: this command needs the settings of the service" in done.stderr


def test_an_unavailable_mongodb_is_named_without_its_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address at which a command looked for MongoDB is in the error, without user and password."""
    monkeypatch.setattr("vault.core.documents.database.OPERATION_TIMEOUT_SECONDS", 0.05)
    away = settings("mongodb://me:pass@127.0.0.1:1/vault", new_key())
    done = invoke("tokens", "list", environment=away, folder=tmp_path)
    assert done.returncode == 5
    assert done.stderr == (
        "error: MongoDB is not available: 127.0.0.1:1: [Errno 111] Connection refused. Hint: check that "
        "MongoDB runs at mongodb://127.0.0.1:1/vault, and that MONGO_URI leads to it\n"
    )


def test_a_world_writable_dotenv_file_stops_a_command(environment: dict[str, str], tmp_path: Path) -> None:
    """A command refuses a `.env` that any user of the machine could have written."""
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\n")
    (tmp_path / ".env").chmod(0o666)
    done = invoke("tokens", "list", environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid settings: .env: is writable by everyone.")


@pytest.mark.parametrize(
    ("command", "path", "body", "outcome"),
    [
        ("tokens create --name boss --role reader", "token/create", {"name": "boss"}, "bad_request"),
        ("tokens create --name service --role reader", "token/create", {"name": "service"}, "bad_request"),
        ("tokens revoke unknown", "token/revoke", {"name": "unknown"}, "not_found"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_a_refusal_has_the_outcome_that_it_has_over_http(
    environment: dict[str, str],
    tmp_path: Path,
    stored: Stored,
    command: str,
    path: str,
    body: dict[str, Any],
    outcome: str,
) -> None:
    """A refused command leaves the same entry as the refused request, and not that of a failure."""
    with running_app({**environment, "AUTH_ENABLED": "true"}) as app:
        token = make_token(app, "boss", role="admin")
        more = {"scopes": ["secret:fetch"]} if path == "token/create" else {}
        reply = app.test_client().post(f"/vault/{path}", json=body | more, headers=bearer(token))
        assert 400 <= reply.status_code < 500, reply.text
    require_same(stored, command, outcome, environment, tmp_path)


def require_same(
    stored: Stored, command: str, outcome: str, environment: dict[str, str], folder: Path
) -> None:
    """Require that *command* is refused with the *outcome* of the only refused request."""
    done = invoke(*command.split(), environment=environment, folder=folder)
    assert done.returncode != 0
    over_http, by_command = stored.audit_logs.find({"status": {"$ne": "success"}}).sort("ts")
    assert (over_http["principal"], by_command["principal"]) == ("boss", "operator")
    assert (over_http["status"], by_command["status"]) == (outcome, outcome)
    assert over_http["action"] == by_command["action"]


def test_a_failure_of_the_service_is_an_error(
    environment: dict[str, str], tmp_path: Path, stored: Stored
) -> None:
    """A command that cannot decrypt what is stored leaves the entry of a failure."""
    create = ("tokens", "create", "--role", "reader", "--name")
    assert invoke(*create, "first", environment=environment, folder=tmp_path).returncode == 0
    key = stored.token_keys.find_one()
    assert key is not None
    altered = key["envelope"][:-1] + bytes([key["envelope"][-1] ^ 1])
    stored.token_keys.update_one({}, {"$set": {"envelope": altered}})
    assert invoke(*create, "second", environment=environment, folder=tmp_path).returncode == 1
    last = stored.audit_logs.find_one(sort=[("ts", -1)])
    assert last is not None
    assert (last["action"], last["status"]) == ("token_create", "error")
