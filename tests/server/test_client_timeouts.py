"""Client timeouts that depend on the clock; tests/test_hostile_clients.py has the clients."""

from types import SimpleNamespace

import pytest
from werkzeug.exceptions import RequestTimeout

from vault.server import client_timeouts


def test_a_body_without_pauses_has_a_timeout_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that sends without a pause, and so triggers no read timeout, still times out."""
    now = [0.0]
    monkeypatch.setattr(client_timeouts, "monotonic", lambda: now[0])
    now[0] = 1.0
    body = client_timeouts._Body(SimpleNamespace(read=lambda _size: b"more"))
    assert body.read(4) == b"more"
    now[0] += client_timeouts.CLIENT_SECONDS
    with pytest.raises(RequestTimeout):
        body.read(4)
