"""The lines of the service's log that `secret-manager dev` shows."""

import json
from pathlib import Path

import pytest

from vault.clients.dev.log import FiledLog, WholeLog


def _line(level: str, message: str, logger: str = "vault.app") -> bytes:
    return json.dumps({"level": level, "logger": logger, "message": message}).encode() + b"\n"


def test_only_warnings_and_errors_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Warnings, errors and lines that are not entries are shown once; entries of requests are not."""
    log = FiledLog(tmp_path / "service.log")
    with log.output() as file:
        file.write(_line("info", "starting") + _line("warning", "no credential"))
        # Its MongoDB has one member.
        file.write(_line("warning", "no redundancy: 1 member"))
        file.write(
            _line("error", "request", "vault.toolkit.http.request_log") + _line("critical", "\x1b[31mred")
        )
        file.write(b"Traceback\n[1]\n" + _line("error", "incomplete")[:20])
        file.flush()
        log.show()
        log.show()
        expected = ["warning: no credential", "critical: \\u001b[31mred", "Traceback", "[1]"]
        assert capsys.readouterr().err.splitlines() == expected
        file.write(_line("error", "incomplete")[20:])
        file.flush()
        log.show()
    assert capsys.readouterr().err == "error: incomplete\n"


def test_a_start_has_its_own_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The log of an earlier start is replaced, and not shown."""
    (tmp_path / "service.log").write_bytes(_line("error", "of an earlier start"))
    log = FiledLog(tmp_path / "service.log")
    log.show()
    assert (tmp_path / "service.log").read_bytes() == b""
    assert capsys.readouterr().err == ""


def test_the_whole_log_is_the_service_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a file, the service prints its log itself."""
    log = WholeLog()
    with log.output() as output:
        assert output is None
    log.show()
    assert capsys.readouterr().err == ""
