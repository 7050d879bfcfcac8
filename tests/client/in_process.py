"""The client of the service, connected with the service in this process."""

from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from vault.client.service import Reply, Service


def connect(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connect every `Service` with *client* in place of its address, and return the list of paths to be."""
    paths: list[str] = []

    def post(_: Service, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        paths.append(path)
        reply = client.post(path, data=body, headers=dict(headers))
        return Reply(reply.status_code, reply.data, reply.headers.get("Retry-After", ""))

    monkeypatch.setattr(Service, "_post", post)
    return paths
