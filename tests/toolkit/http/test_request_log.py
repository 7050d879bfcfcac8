"""The request ID of every reply and the log lines of every request."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import make_token
from vault.common.errors import SecretNotFoundError, StorageUnavailableError
from vault.common.observability import logs
from vault.core.secrets.service import SecretService


def test_a_valid_request_id_is_kept(client: FlaskClient) -> None:
    """A caller's valid request ID is returned, so that both sides' logs can be joined."""
    for offered in ["r-1", "a" * 128, "01HV:x/y+z=@._-"]:
        reply = client.get("/health/live", headers={"X-Request-ID": offered})
        assert reply.headers["X-Request-ID"] == offered


def test_any_other_request_id_is_replaced(client: FlaskClient) -> None:
    """A missing request ID, or one that could harm a log, is replaced by a new one."""
    for offered in ["", "a" * 129, "<script>", "é"]:
        reply = client.get("/health/live", headers={"X-Request-ID": offered})
        assert UUID(reply.headers["X-Request-ID"]).version == 4, offered


@pytest.fixture
def informative(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Set the log level so that each request is logged."""
    with caplog.at_level(logging.INFO, "vault"):
        yield


def request_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if line["message"] == "request"]


@pytest.mark.usefixtures("informative")
def test_each_request_is_one_line_in_the_log(client: FlaskClient, capsys: pytest.CaptureFixture[str]) -> None:
    """The log line of a request has its operation and result, and none of its content."""
    client.post("/vault/secret/create?secret=hunter2", json={"secret": "aHVudGVyMg=="})
    client.get("/made/up/hunter2")
    lines = request_lines(capsys)
    fields = ("method", "route", "operation", "status", "reason", "principal")
    assert [tuple(line[name] for name in fields) for line in lines] == [
        ("POST", "/vault/secret/create", "create_secret", 200, None, "anonymous"),
        ("GET", None, "none", 404, "not_found", None),
    ]
    assert {line["logger"] for line in lines} == {"vault.toolkit.http.request_log"}
    assert "hunter2" not in str(lines)
    assert "aHVudGVyMg==" not in str(lines)


@pytest.mark.parametrize(("path", "level"), [("/health/live", "debug"), ("/openapi.json", "info")])
def test_probes_of_supervisors_do_not_fill_the_log(
    client: FlaskClient,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    path: str,
    level: str,
) -> None:
    """A successful `GET /health/live` is logged at debug; a refused one and all others are at info."""
    with caplog.at_level(logging.DEBUG, "vault"):
        client.get(path)
        client.post(path, json={})
    assert [line["level"] for line in request_lines(capsys)] == [level, "info"]


def test_a_higher_level_omits_successful_requests(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """With LOG_LEVEL at warning, successful requests are not logged."""
    with caplog.at_level(logging.WARNING, "vault"):
        client.get("/openapi.json")
    assert capsys.readouterr().out == ""


@pytest.mark.usefixtures("informative")
def test_an_unwritable_log_fails_no_request(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk, a closed pipe or a missing output loses log lines and no replies."""
    full = Path("/dev/full").open("w")  # noqa: SIM115 - closing it fails
    for output in (full, None):
        monkeypatch.setattr(sys, "stdout", output)
        assert client.get("/openapi.json").status_code == 200
    with pytest.raises(OSError, match="No space left"):
        full.close()
    monkeypatch.setattr(sys, "stdout", full)
    assert client.get("/openapi.json").status_code == 200


@pytest.mark.usefixtures("informative")
def test_a_request_is_logged_before_its_reply(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A log line is not buffered, so a killed process loses none."""
    with (tmp_path / "log").open("w") as log:
        monkeypatch.setattr(sys, "stdout", log)
        client.get("/openapi.json")
        assert json.loads((tmp_path / "log").read_text())["status"] == 200


@pytest.mark.usefixtures("informative")
def test_a_request_s_line_names_the_principal(app: Flask, capsys: pytest.CaptureFixture[str]) -> None:
    """The log names the principal, including an identified one that was refused."""
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
def test_the_level_depends_on_the_cause(
    client: FlaskClient, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller's mistake is logged as information; a failure of the service is logged higher."""
    raised: list[type[Exception]] = [SecretNotFoundError, StorageUnavailableError, RuntimeError]
    body = {"secret_id": "550e8400-e29b-41d4-a716-446655440000"}
    for error in raised:

        def fail(*_: object, error: type[Exception] = error, **__: object) -> None:
            raise error

        monkeypatch.setattr(SecretService, "fetch", fail)
        client.post("/vault/secret/fetch", json=body)
    client.post("/vault/secret/fetch", json=body, headers={"Transfer-Encoding": "gzip"})
    levels = [(line["status"], line["level"]) for line in request_lines(capsys)]
    assert levels == [(404, "info"), (503, "warning"), (500, "error"), (501, "info")]


def test_a_request_s_lines_carry_its_id(client: FlaskClient) -> None:
    """The log lines of a request carry its ID, and later lines do not."""
    formatter = logs.JsonFormatter()
    record = logging.makeLogRecord({"msg": "hello", "levelname": "INFO"})
    logs.request_id.set("r-2")
    assert json.loads(formatter.format(record))["request_id"] == "r-2"
    client.get("/health/live")
    assert "request_id" not in json.loads(formatter.format(record))


@pytest.mark.promise(2)
def test_an_exception_is_logged_without_its_text() -> None:
    """An exception and its causes are logged by type and place, never by text, which may quote secrets."""
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


@pytest.mark.parametrize(("seconds", "shown"), [(0.0129, "00.012"), (59.9999, "59.999"), (1.5, "01.500")])
def test_a_line_has_the_time_of_its_record(seconds: float, shown: str) -> None:
    """A line begins with the time of its record, in UTC and milliseconds, and its level, name and process."""
    record = logging.makeLogRecord({"created": 1_700_000_040 + seconds, "name": "vault.x", "levelno": 30})
    line = json.loads(logs.JsonFormatter().format(record))
    assert list(line.items())[:4] == [
        ("time", f"2023-11-14T22:14:{shown}+00:00"),
        ("level", "warning"),
        ("logger", "vault.x"),
        ("pid", os.getpid()),
    ]


@pytest.mark.process
def test_configured_logs_are_json_on_standard_output() -> None:
    """A process with configured logging writes one JSON object per line, without libraries' debug lines."""
    program = (
        "import logging; from vault.common.observability import logs; logs.configure('debug');"
        "logging.getLogger('vault.x').debug('ours');"
        "logging.getLogger('pymongo.command').debug('theirs');"
        "logging.getLogger('pymongo').warning('their warning')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in run.stdout.splitlines()] == ["ours", "their warning"]
    assert run.stderr == ""
