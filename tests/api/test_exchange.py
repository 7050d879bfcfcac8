"""What every reply carries and every request leaves in the log."""

import json
import logging
import subprocess
import sys
from uuid import UUID

import pytest
from flask.testing import FlaskClient

from vault import logs


@pytest.mark.parametrize("offered", ["r-1", "a" * 128, "01HV:x/y+z=@._-"])
def test_a_sane_request_id_is_kept(client: FlaskClient, offered: str) -> None:
    """A caller's own id is given back, so that both sides' logs can be joined."""
    assert client.get("/health/live", headers={"X-Request-ID": offered}).headers["X-Request-ID"] == offered


@pytest.mark.parametrize("offered", ["", "a" * 129, "two words", "<script>", "{}", "é", "a\tb"])
def test_any_other_request_id_is_replaced(client: FlaskClient, offered: str) -> None:
    """An id that could be harmful in a log, or none at all, is replaced by a new one."""
    reply = client.get("/health/live", headers={"X-Request-ID": offered})
    assert UUID(reply.headers["X-Request-ID"]).version == 4


def test_each_request_is_one_line_in_the_log(client: FlaskClient, caplog: pytest.LogCaptureFixture) -> None:
    """The log tells method, route, status and duration of each request, and none of what it carried."""
    with caplog.at_level(logging.INFO, "vault"):
        client.post("/vault/secret/create?secret=hunter2", json={"secret": "aHVudGVyMg=="})
        client.get("/made/up/hunter2")
    lines = [record for record in caplog.records if record.name == "vault.api.exchange"]
    assert [(line.method, line.route, line.status) for line in lines] == [  # type: ignore[attr-defined]
        ("POST", "/vault/secret/create/", 200),
        ("GET", None, 404),
    ]
    shown = "".join(logs.JsonFormatter().format(line) for line in lines)
    assert "hunter2" not in shown
    assert "aHVudGVyMg==" not in shown


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
        "import logging; from vault import logs; logs.configure('debug');"
        "logging.getLogger('vault.x').debug('ours');"
        "logging.getLogger('pymongo.command').debug('theirs');"
        "logging.getLogger('pymongo').warning('their warning')"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert [json.loads(line)["message"] for line in run.stdout.splitlines()] == ["ours", "their warning"]
    assert run.stderr == ""
