"""The command `credentials`: its options, its start and its end."""

import logging
import os
import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from vault.cli import commands
from vault.clients.systemd import commands as module
from vault.clients.systemd.activation import Passed
from vault.clients.systemd.credentials import REFUSAL
from vault.common.observability import logs

URL = "https://localhost:1"


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    """Return valid arguments."""
    (tmp_path / "token").write_text("smt_abc")
    (tmp_path / "policy.toml").write_text('[units."shop.service"]\ndb-password = "shop/db"\n')
    files = ["--token-file", str(tmp_path / "token"), "--policy", str(tmp_path / "policy.toml")]
    return ["credentials", "--url", URL, *files, "--wait", "1"]


def run(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(commands, arguments)


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the logging of this process as it is."""
    monkeypatch.setattr(logs, "configure", lambda _: None)


def test_what_cannot_work_is_refused_at_the_start(arguments: list[str], tmp_path: Path) -> None:
    """Missing options and files without content are errors, and so is a start by anything but systemd."""
    assert "Set --url, --token-file and --policy" in run("credentials").output
    (tmp_path / "empty.toml").touch()
    done = run(*arguments, "--policy", str(tmp_path / "empty.toml"))
    assert (done.exit_code, "must have a table" in done.output) == (1, True)
    (tmp_path / "token").write_text("")
    assert "the token file has no token" in run(*arguments).output
    (tmp_path / "token").write_text("smt_abc")
    refused = run(*arguments).output
    assert "systemd passes no socket. Hint: start it by secret-manager-credentials.socket" in refused


def test_it_serves_until_it_is_stopped(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A unit is answered on the socket that systemd passes; Ctrl-C and SIGTERM end the command."""
    caplog.set_level(logging.INFO)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "socket"))
    listener.listen()
    monkeypatch.setattr(module, "passed", lambda _: Passed(listener, []))
    wait = module.wait_until_stopped

    def until_answered() -> None:
        with socket.socket(socket.AF_UNIX) as unit:
            unit.connect(str(tmp_path / "socket"))
            with unit.makefile("rb") as stream:
                assert stream.read() == REFUSAL
        os.kill(os.getpid(), signal.SIGINT)
        wait()

    monkeypatch.setattr(module, "wait_until_stopped", until_answered)
    assert run(*arguments).exit_code == 0
    assert [record.message for record in caplog.records] == ["serving", "not delivered"]
