"""Commands of people who have a token, in this process, against an application in this process."""

import json
from typing import Any

import click.testing
import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient

from tests.toolkit.client.in_process import connect
from vault.cli import commands


class Person:
    """Someone with a token for the service; each command is one of `secret-manager`."""

    def __init__(self, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, token: str) -> None:
        self.environment = {"VAULT_TOKEN": token, "VAULT_URL": "http://localhost:8000"}
        self._monkeypatch = monkeypatch
        #: The paths of all calls.
        self.calls = connect(client, monkeypatch)

    def sit_at_terminal(self, *streams: str) -> None:
        """Make *streams* a terminal: `<stdin>` and `<stdout>`."""
        kind = click.testing._NamedTextIOWrapper
        self._monkeypatch.setattr(kind, "isatty", lambda stream: stream.name in streams, raising=False)

    def try_to(self, *arguments: object, send: bytes | str = b"") -> Result:
        """Run a command that reads *send*, with any result except a defect."""
        result = CliRunner().invoke(commands, list(map(str, arguments)), input=send, env=self.environment)
        assert "this is a defect" not in result.stderr, result.stderr
        assert isinstance(result.exception, SystemExit | None), result.exception
        return result

    def does(self, *arguments: object, send: bytes | str = b"") -> str:
        """Return the output of a command that succeeds."""
        result = self.try_to(*arguments, send=send)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    def sees(self, *arguments: object) -> list[dict[str, Any]]:
        """Return the objects that a command prints with `--json`."""
        return [json.loads(line) for line in self.does(*arguments, "--json").splitlines()]

    def fails_to(self, *arguments: object, code: int, send: bytes | str = b"") -> str:
        """Return the line that a command prints when it fails with exit *code*."""
        result = self.try_to(*arguments, send=send)
        assert result.exit_code == code, (result.exit_code, result.stdout, result.stderr)
        assert result.stdout == ""
        line = result.stderr.splitlines()[-1]
        assert line.startswith("error: "), result.stderr
        return line
