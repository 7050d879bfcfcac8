"""The receivers in docs/examples/webhooks verify signatures, and recognize repeated events."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.documents import ROOT
from vault.clients.dev.mongod import free_port
from vault.common.networks import network
from vault.features.webhooks import endpoint as module
from vault.features.webhooks.endpoint import Endpoint, UndeliveredError, shown_secret

FOLDER = ROOT / "docs/examples/webhooks"
SECRET = bytes(range(32))
RECEIVERS = {"python": ("python3", "receiver.py"), "javascript": ("node", "receiver.js")}


@contextmanager
def running(language: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Run the receiver in *language*; yield its URL, and the file with its output."""
    program, name = RECEIVERS[language]
    port, output = free_port(), folder / "output"
    environment = {**os.environ, "WEBHOOK_SECRET": shown_secret(SECRET), "PORT": str(port)}
    with output.open("w") as file:
        process = subprocess.Popen(
            [program, FOLDER / name], cwd=folder, env=environment, stdout=file, stderr=file
        )
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
                except OSError:
                    continue
            yield f"http://127.0.0.1:{port}/", output
        finally:
            process.kill()
            process.wait(30)


@pytest.mark.process
@pytest.mark.parametrize("language", RECEIVERS)
def test_the_receivers_work(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A signed event is accepted and handled once, however often it arrives; others are refused."""
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 60)
    with running(language, tmp_path) as (url, output):
        networks = (network("127.0.0.0/8"),)
        endpoint = Endpoint(url, SECRET, networks)
        for _ in range(2):
            endpoint.send("evt_1", b'{"type": "secret.updated"}')
        with pytest.raises(UndeliveredError, match="status 401"):
            Endpoint(url, b"another", networks).send("evt_2", b'{"type": "secret.deleted"}')
        lines = [line for line in output.read_text().splitlines() if line.startswith("secret.")]
    assert lines == ["secret.updated"]
