"""What every reply carries and every request leaves in the log."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.access import make_token
from vault.core.errors import SecretNotFoundError, StorageUnavailableError
from vault.observability import logs
from vault.secrets.service import SecretService


@pytest.mark.parametrize("offered", ["r-1", "a" * 128, "01HV:x/y+z=@._-"])
def test_a_sane_request_id_is_kept(client: FlaskClient, offered: str) -> None:
    """A caller's own id is given back, so that both sides' logs can be joined."""
    assert client.get("/health/live", headers={"X-Request-ID": offered}).headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ["", "a" * 129, "two words", "<script>", "{}", "é", "a\tb"])
def test_any_other_request_id_is_replaced(client: FlaskClient, offered: str) -> None:
    """An id that could be harmful in a log, or none at all, is replaced by a new one."""
    reply = client.get("/health/live", headers={"X-Request-ID": offered})
    assert UUID(reply.headers["X-Request-ID"]).version == 4


@pytest.fixture
def informative(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let the service log each request."""
    with caplog.at_level(logging.INFO, "vault"):
        yield


def request_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["message"] == "request"]


@pytest.mark.usefixtures("informative")
def test_each_request_is_one_line_in_the_log(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """The log tells of each request what was asked and how it ended, and none of what it carried."""
    client.post("/vault/secret/create?secret=hunter2", json={"secret": "aHVudGVyMg=="})
    client.get("/made/up/hunter2")
    lines = request_lines(capsys)
    told = ("method", "route", "operation", "status", "reason", "principal")
    assert [tuple(line[name] for name in told) for line in lines] == [
        ("POST", "/vault/secret/create/", "create_secret", 200, None, "anonymous"),
        ("GET", None, "none", 404, "not_found", None),
    ]
    assert {line["logger"] for line in lines} == {"vault.api.request_log"}
    assert "hunter2" not in str(lines)
    assert "aHVudGVyMg==" not in str(lines)


def test_a_level_above_leaves_the_lines_of_requests_out(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who sets LOG_LEVEL to warning has no line of what went well."""
    with caplog.at_level(logging.WARNING, "vault"):
        client.get("/health/live")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("informative")
def test_a_log_that_cannot_be_written_fails_no_request(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk, a reader of the log that is gone, or no output at all costs lines and no replies."""
    full = Path("/dev/full").open("w")  # noqa: SIM115 - to close it fails
    for output in (full, None):
        monkeypatch.setattr(sys, "stdout", output)
        assert client.get("/health/live").status_code == 200
    with pytest.raises(OSError, match="No space left"):
        full.close()
    monkeypatch.setattr(sys, "stdout", full)
    assert client.get("/health/live").status_code == 200


@pytest.mark.usefixtures("informative")
def test_a_request_s_line_is_there_with_its_reply(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A line is not held back in a buffer, from which a killed process would take it along."""
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        client.get("/health/live")
        assert json.loads((tmp_path / "log").read_text())["status"] == 200


@pytest.mark.usefixtures("informative")
def test_a_request_s_line_names_the_principal(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """Who asked is in the log by name, also who was refused and is known."""
    client = app.test_client()
    token = make_token(app, "somebody", scopes=("secret:create",))
    for path in ("/vault/secret/create/", "/vault/secret/fetch"):
        client.post(path, json={"secret": "YQ=="}, headers={"Authorization": f"Bearer {token}"})
    lines = request_lines(capsys)
    assert [(line["status"], line["reason"], line["principal"]) for line in lines] == [
        (200, None, "somebody"),
        (403, "scope_missing", "somebody"),
    ]


@pytest.mark.usefixtures("informative")
def test_the_level_tells_whose_business_it_is(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a caller did wrong is no more than information; what the service could not do is more."""
    raised: list[type[Exception]] = [SecretNotFoundError, StorageUnavailableError, RuntimeError]
    body = {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}
    for error in raised:

        def fail(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(SecretService, "fetch", fail)
        client.post("/vault/secret/fetch", json=body)
    assert [line["level"] for line in request_lines(capsys)] == ["info", "warning", "error"]


def test_a_request_s_lines_carry_its_id(client: FlaskClient) -> None:
    """While a request is answered its id is known to the log, and no longer afterwards."""
    formatter = logs.JsonFormatter()
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    logs.request_id.set("r-2")
    assert json.loads(formatter.format(record))["request_id"] == "r-2"
    client.get("/health/live")
    assert "request_id" not in json.loads(formatter.format(record))


def test_an_exception_is_logged_without_its_text() -> None:
    """Of exceptions, causes included, types and places are kept; texts may quote secrets and are not."""
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("hunter2") from KeyError("hunter2")
    error = (caught.type, caught.value, caught.tb)
    record = logging.LogRecord("vault", logging.ERROR, "", 0, "failed", None, error)
    line = logs.JsonFormatter().format(record)
    assert "hunter2" not in line
    assert json.loads(line)["exception"][0] == "RuntimeError"
    assert "KeyError" in json.loads(line)["exception"]
    empty = logging.LogRecord("vault", logging.ERROR, "", 0, "failed", None, (None, None, None))
    assert "exception" not in json.loads(logs.JsonFormatter().format(empty))


def test_configured_logs_are_json_on_standard_output() -> None:
    """A process that configures logging writes one JSON object a line, libraries' debug lines left out."""
    program = (
        "import logging; from vault.observability import logs; logs.configure('debug');"
        "logging.getLogger('vault.x').debug('ours');"
        "logging.getLogger('pymongo.command').debug('theirs');"
        "logging.getLogger('pymongo').warning('their warning')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in run.stdout.splitlines()] == ["ours", "their warning"]
    assert run.stderr == ""
