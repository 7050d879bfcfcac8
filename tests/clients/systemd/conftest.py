"""Shared fixtures: a server for units on a socket, and systemd's end of its connections."""

import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prometheus_client import values

from tests.clients.delivery.test_driver import Service
from vault.clients.delivery.cache import EncryptedCache
from vault.clients.delivery.client import TokenFile
from vault.clients.delivery.deliveries import Deliveries
from vault.clients.delivery.metrics import Metrics
from vault.clients.systemd.activation import Passed
from vault.clients.systemd.credentials import Credentials
from vault.clients.systemd.policy import UnitPolicy
from vault.clients.systemd.server import serving
from vault.common.observability.logs import JsonFormatter

POLICY = """
[units."shop.service"]
db-password = "a"
pin = {name = "a", version = 3}

[units."shop*"]
db-password = "b"
other = {name = "b", encoding = "base64"}
"""


class World:
    """A server with the policy above, of a service with the secrets `a` and `b`."""

    def __init__(self, folder: Path, log: pytest.LogCaptureFixture) -> None:
        self.service = Service()
        self.path = folder / "credential.sock"
        self.policy = folder / "policy.toml"
        self.policy.write_text(POLICY)
        self.wait_seconds = 0.0
        self.owner = os.getuid()
        self._token = folder / "token"
        self._token.write_text("smt_abc")
        self._log = log

    @contextmanager
    def serving(self, *kept: socket.socket) -> Iterator[Credentials]:
        """Serve on the socket while the block runs."""
        token = TokenFile(self._token)
        deliveries = Deliveries(self.service, token, cache=EncryptedCache(60), metrics=Metrics())
        credentials = Credentials(
            deliveries, UnitPolicy(self.policy), wait_seconds=self.wait_seconds, owner=self.owner
        )
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(self.path))
            listener.listen()
            with serving(Passed(listener, kept), credentials):
                yield credentials

    def load(self, unit: str, credential: str, *, address: str | None = None) -> bytes:
        """Return what systemd reads for the *credential* of *unit*, from its own or another *address*."""
        with socket.socket(socket.AF_UNIX) as connection:
            if address is None:
                address = f"\0{uuid4().hex[:16]}/unit/{unit}/{credential}"
            if address:
                connection.bind(address)
            connection.connect(str(self.path))
            connection.shutdown(socket.SHUT_WR)
            with connection.makefile("rb") as stream:
                return stream.read()

    def logged(self) -> dict[str, Any]:
        """Return the last line of the log, without its time and place."""
        line: dict[str, Any] = json.loads(JsonFormatter().format(self._log.records[-1]))
        return {name: line[name] for name in line if name not in ("time", "level", "logger", "pid")}


@pytest.fixture
def world(tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a server that is not started."""
    # Measure as in the command's process: elsewhere in these tests, values are in files that all share.
    monkeypatch.setattr(values, "ValueClass", values.MutexValue)
    monkeypatch.setattr("vault.clients.systemd.credentials._CALL_SECONDS", 60)
    monkeypatch.setattr("vault.clients.systemd.credentials._PAUSE_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    return World(tmp_path, caplog)
