"""The client of the service, connected with the service in this process."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from vault.toolkit.client.http import HTTPClient, Reply


def no_login(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let commands have the profile in *folder*, and no variable of this process."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    for name in ("VAULT_URL", "VAULT_TOKEN", "VAULT_ROLE", "VAULT_CACERT"):
        monkeypatch.delenv(name, raising=False)


def connect(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connect every `Service` with *client* in place of its address, and return the list of paths to be."""
    paths: list[str] = []

    def request(
        _: HTTPClient,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        **_options: object,
    ) -> Reply:
        paths.append(target)
        reply = client.open(target, method=method, data=body, headers=dict(headers))
        names = ("Retry-After", "x-amzn-RequestId", "X-Receipt")
        return Reply(reply.status_code, reply.data, *(reply.headers.get(name, "") for name in names))

    monkeypatch.setattr(HTTPClient, "request", request)
    return paths
