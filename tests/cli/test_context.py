"""Common parts of the operators' commands."""

from pathlib import Path

import pytest

from tests.commands import run_command


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


def test_a_world_writable_dotenv_file_stops_a_command(environment: dict[str, str], tmp_path: Path) -> None:
    """A command refuses a `.env` that any user of the machine could have written."""
    (tmp_path / ".env").write_text("LOG_LEVEL=debug\n")
    (tmp_path / ".env").chmod(0o666)
    done = run_command("tokens", "list", environment=environment, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: invalid settings: .env: is writable by everyone.")
