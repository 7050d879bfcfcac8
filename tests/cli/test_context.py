"""Common parts of the operators' commands."""

from pathlib import Path

import pytest

from tests.commands import run_command
from tests.rotation import new_key, settings


@pytest.mark.parametrize(
    "command", [("tokens", "create", "--name", "a", "--role", "reader"), ("audit", "verify")]
)
def test_a_command_names_the_settings_of_a_dotenv_file(
    environment: dict[str, str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    """A command names the `.env` it read and the settings in it on standard error, without values."""
    (tmp_path / ".env").write_text("FAILED_AUTH_LIMIT=77/minute\nLOG_LEVEL=debug\nBIND=127.0.0.1:1\n")
    done = run_command(
        *command,
        environment={**environment, "BIND": "127.0.0.1:2"},
        folder=tmp_path,
    )
    assert done.stderr.splitlines()[0] == f"Settings from {tmp_path / '.env'}: FAILED_AUTH_LIMIT, LOG_LEVEL"
    assert "77/minute" not in done.stderr
    assert ".env" not in done.stdout


def test_missing_settings_say_where_they_belong(tmp_path: Path) -> None:
    """Without the service's settings, an operator's command says that it needs them, and where to read on."""
    done = run_command("tokens", "list", environment={}, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid settings: MASTER_KEY: is required")
    assert "Hint: this command needs the settings of the service" in done.stderr


def test_an_unavailable_mongodb_is_named_without_its_credentials(tmp_path: Path) -> None:
    """The address at which a command looked for MongoDB is in the error, without user and password."""
    away = settings("mongodb://me:pass@127.0.0.1:1/vault", new_key())
    done = run_command("tokens", "list", environment=away, folder=tmp_path)
    assert done.returncode == 5
    assert "check that MongoDB runs at mongodb://127.0.0.1:1/vault, and that MONGO_URI" in done.stderr


def test_a_world_writable_dotenv_file_stops_a_command(environment: dict[str, str], tmp_path: Path) -> None:
    """A command refuses a `.env` that any user of the machine could have written."""
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\n")
    (tmp_path / ".env").chmod(0o666)
    done = run_command("tokens", "list", environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid settings: .env: is writable by everyone.")
