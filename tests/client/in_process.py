"""The client of the service, connected with the service in this process."""

from collections.abc import Mapping

import pytest
from flask.testing import FlaskClient

from vault.client.service import Service


def connect(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Connect every `Service` with *client* in place of its address, and return the list of paths to be."""
    paths: list[str] = []

    def post(_: Service, path: str, body: bytes, headers: Mapping[str, str]) -> tuple[int, bytes]:
        paths.append(path)
        reply = client.post(path, data=body, headers=dict(headers))
        return reply.status_code, reply.data

    monkeypatch.setattr(Service, "_post", post)
    return paths
