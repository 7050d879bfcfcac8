"""The command `swarm-driver`: its options, its start and its end."""

import json
import logging
import signal
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.clients.swarm.docker import ask, get_secret
from tests.support.commands import run_command, start_command
from vault.cli import commands
from vault.clients.dev.mongod import free_port
from vault.common.observability import logs

URL = "https://secrets.example.com"


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """Return a file with a token."""
    path = tmp_path / "token"
    path.write_text("smt_abc\n")
    return path


def run(*arguments: object, **environment: str) -> Result:
    """Run the command in this process, with options that end it immediately."""
    return CliRunner().invoke(commands, ["swarm-driver", *map(str, arguments)], env=environment)


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the logging of this process as it is."""
    monkeypatch.setattr(logs, "configure", lambda _: None)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "Set --url and --token-file"),
        (["--url", URL], "Set --url and --token-file"),
        (["--url", "ftp://a"], "must be http://… or https://…"),
        (["--url", "https://"], "must be http://… or https://…"),
        (["--url", "https://a:x"], "must be http://… or https://…"),
        (["--url", "https://a:0"], "must be http://… or https://…"),
        (["--url", "https://a b"], "must be http://… or https://…"),
        (["--url", "https://me:hush@a"], "must be http://… or https://…"),
        (["--url", "https://a?b"], "must be http://… or https://…"),
        (["--metrics-bind", "9465"], "must be ADDRESS:PORT"),
        (["--metrics-bind", "127.0.0.1:x"], "must be ADDRESS:PORT"),
        (["--metrics-bind", "127.0.0.1:70000"], "must be ADDRESS:PORT"),
        (["--cache-seconds", "-1"], "must be a number of seconds, or one with a unit"),
        (["--cache-seconds", "2d"], "must be at most 24h"),
        (["--log-level", "loud"], "must be one of"),
    ],
)
def test_an_invalid_option_is_a_usage_error(options: list[str], reason: str) -> None:
    """An option that cannot work is refused before anything else, without quoting a credential."""
    done = run(*options)
    assert done.exit_code == 2
    assert reason in done.output
    assert "hush" not in done.output


def test_unusable_files_are_errors(token: Path, tmp_path: Path) -> None:
    """The driver does not start without a token, with an invalid policy, or a CA without certificates."""
    empty = tmp_path / "empty"
    empty.touch()
    for options, reason in [
        (("--token-file", empty), "the token file has no token"),
        (("--token-file", tmp_path / "none"), "the token file cannot be read"),
        (("--token-file", token, "--policy", empty), 'must have a table "services"'),
        (("--token-file", token, "--ca-cert", empty), "--ca-cert does not name a file with certificates"),
    ]:
        done = run("--url", URL, *options)
        assert done.exit_code == 1
        assert reason in done.stderr


def test_an_address_in_use_is_an_error(token: Path, tmp_path: Path) -> None:
    """The driver does not start without its socket and the address of its metrics."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = run("--url", URL, "--token-file", token, "--metrics-bind", f"127.0.0.1:{port}")
        assert "cannot listen" in done.stderr
    done = run("--url", URL, "--token-file", token, "--socket", tmp_path / "none" / ("a" * 200))
    assert "cannot listen" in done.stderr


def test_an_unencrypted_address_is_logged(
    token: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A service elsewhere without TLS is allowed, as networks can encrypt, and the log warns."""
    path = tmp_path / "file"
    path.touch()
    for url, warns in [("http://secret-manager:8000", True), ("http://127.0.0.1:8000", False), (URL, False)]:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert "is not a socket" in run("--url", url, "--token-file", token, "--socket", path).stderr
        assert ("values travel unencrypted" in caplog.text) is warns


@pytest.mark.process
def test_a_driver_starts_without_its_service(token: Path, tmp_path: Path) -> None:
    """The driver is healthy and answers while there is no service; a stop ends it with 0."""
    path, port = tmp_path / "driver.sock", free_port()
    policy = tmp_path / "policy.json"
    policy.write_text('{"services": {"shop_*": ["a"]}}')
    environment = {
        "SECRET_MANAGER_URL": f"http://127.0.0.1:{free_port()}",
        "SECRET_MANAGER_TOKEN_FILE": str(token),
        "SECRET_MANAGER_DRIVER_SOCKET": str(path),
        "SECRET_MANAGER_DRIVER_POLICY": str(policy),
        "SECRET_MANAGER_DRIVER_CACHE_SECONDS": "60",
        "SECRET_MANAGER_DRIVER_METRICS_BIND": f"127.0.0.1:{port}",
    }
    unhealthy = run_command("swarm-driver", "--check", environment=environment, folder=tmp_path)
    assert unhealthy.returncode == 5
    assert f"no reply on {path}" in unhealthy.stderr
    driver = start_command("swarm-driver", environment=environment, folder=tmp_path)
    # Its socket exists before it listens.
    assert driver.stdout
    lines = [driver.stdout.readline()]
    healthy = run_command("swarm-driver", "--check", environment=environment, folder=tmp_path)
    assert (healthy.returncode, healthy.stdout, healthy.stderr) == (0, "A driver answers.\n", "")
    assert ask(path, "/Plugin.Activate").body == {"Implements": ["secretprovider"]}
    assert "cannot be reached" in get_secret(path, {"name": "a"}).error
    assert "policy" in get_secret(path, {"name": "b"}).error
    driver.send_signal(signal.SIGTERM)
    out, err = driver.communicate(timeout=60)
    assert (driver.returncode, err) == (0, "")
    lines += out.splitlines()
    assert [json.loads(line)["message"] for line in lines] == ["serving", "not delivered", "not delivered"]
    assert not path.exists()
