"""`secret-manager serve`."""

import errno
import json
import os
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.support.rotation import new_key, settings
from tests.support.service import Service
from vault.cli import commands
from vault.clients.dev.mongod import free_port
from vault.service.commands import service

#: Modules that the service loads at its start and later, and optional ones of its libraries.
_PLANTED = (
    "gunicorn",
    "gevent",
    "vault",
    "flask",
    "mongoengine",
    "prometheus_client",
    "snappy",
    "bson",
    "json",
)
_SAFE = ("-P", "-m", "vault.cli", "serve")


@pytest.mark.promise("processes")
@pytest.mark.process
def test_modules_of_the_working_folder_do_not_run(environment: dict[str, str], tmp_path: Path) -> None:
    """Write access to the working folder does not run code with the service's master key."""
    folder = tmp_path / "working"
    for name in _PLANTED:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text(
            f"import os\nos.close(os.open({str(tmp_path / 'ran-')!r} + __name__, os.O_CREAT))\n"
            "raise SystemExit('a planted module ran')\n"
        )
    with Service(environment, folder=folder, command=_SAFE) as service:
        service.wait_until("/health/ready")
        assert service.fetch(service.create(b"value")).status == 200
    assert not list(tmp_path.glob("ran-*"))


@pytest.mark.parametrize(("options", "level"), [([], "debug"), (["-q"], "warning")], ids=["loud", "quiet"])
def test_a_quiet_service_logs_warnings_only(
    options: list[str], level: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With `--quiet`, the log has warnings and errors only; otherwise LOG_LEVEL decides."""
    monkeypatch.chdir(tmp_path)
    levels = []
    monkeypatch.setattr(os, "execv", lambda *_: levels.append(os.environ["LOG_LEVEL"]))
    environment = settings("mongodb://127.0.0.1:1", new_key()) | {"LOG_LEVEL": "debug", "PYTHONSAFEPATH": "1"}
    environment |= {"BIND": f"127.0.0.1:{free_port()}"}
    assert CliRunner(env=environment).invoke(commands, ["serve", *options]).exit_code == 0
    assert levels == [level]


@pytest.mark.parametrize("name", ["BIND", "METRICS_BIND"])
@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_in_use_is_one_line(
    name: str, host: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If another process listens on a port of the service, `serve` says so in one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "_LISTEN_TIMEOUT_SECONDS", 0)
    monkeypatch.setattr(service, "_LISTEN_PAUSE_SECONDS", 0)
    family = socket.AF_INET6 if host == "[::1]" else socket.AF_INET
    with socket.create_server((host.strip("[]"), 0), family=family) as taken:
        address = f"{host}:{taken.getsockname()[1]}"
        environment = settings("mongodb://127.0.0.1:1", new_key()) | {"BIND": f"127.0.0.1:{free_port()}"}
        done = CliRunner(env=environment | {name: address}).invoke(commands, ["serve"])
    hint = f"stop the process that listens there, or change {name}"
    assert (done.exit_code, done.stderr) == (1, "")
    line = json.loads(done.stdout)
    assert (line["level"], line["logger"]) == ("error", "vault.service.commands.service")
    assert (
        line["message"] == f"not starting: cannot listen on {address}: Address already in use. Hint: {hint}"
    )


def test_a_port_that_becomes_free_is_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """While the predecessor of the service stops, `serve` waits for its port."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execv", lambda *_: None)
    taken = socket.create_server(("127.0.0.1", 0))
    monkeypatch.setattr(service, "sleep", lambda _: taken.close())
    environment = settings("mongodb://127.0.0.1:1", new_key())
    environment |= {"BIND": f"127.0.0.1:{taken.getsockname()[1]}", "PYTHONSAFEPATH": "1"}
    assert CliRunner(env=environment).invoke(commands, ["serve"]).exit_code == 0


def test_an_address_of_another_machine_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An address on which no process can listen is reported without waiting."""
    monkeypatch.chdir(tmp_path)
    environment = settings("mongodb://127.0.0.1:1", new_key()) | {"BIND": "192.0.2.1:8000"}
    done = CliRunner(env=environment).invoke(commands, ["serve"])
    problem = "cannot listen on 192.0.2.1:8000: Cannot assign requested address"
    assert f"{problem}. Hint: use an address of this machine in BIND" in done.stdout


def test_a_port_of_root_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A port that needs a privilege is reported as such, not as one in use."""
    monkeypatch.chdir(tmp_path)
    denied = PermissionError(errno.EACCES, "Permission denied")
    monkeypatch.setattr(service, "_listen_error", lambda _: denied)
    environment = settings("mongodb://127.0.0.1:1", new_key()) | {"BIND": "127.0.0.1:443"}
    done = CliRunner(env=environment).invoke(commands, ["serve"])
    assert "Permission denied. Hint: ports below 1024 need root or CAP_NET_BIND_SERVICE" in done.stdout


def test_a_defect_of_the_start_is_a_line_of_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Any failure before the log is configured is one JSON line, without the error's text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(service, "_require_free_ports", lambda _: 1 / 0)
    done = CliRunner(env=settings("mongodb://127.0.0.1:1", new_key())).invoke(commands, ["serve"])
    assert (done.exit_code != 0, done.stderr) == (True, "")
    line = json.loads(done.stdout)
    assert (line["level"], line["message"][:46]) == (
        "error",
        "not starting: unexpected ZeroDivisionError at ",
    )
