"""Certificates of a trail whose streams have ended."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.support.rotation import Stored, connected, new_key
from tests.support.streams import begin, close_all, kill, list_closed, texts, verified
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.trail.streams import signing_keys
from vault.features.exposure import certificate
from vault.features.exposure.knowledge import Question

FIRST = new_key()


@pytest.fixture(autouse=True)
def _connected(mongo_uri: str) -> Iterator[None]:
    """Connect the documents."""
    with connected(mongo_uri):
        yield


def compact(keyring: Keyring) -> None:
    """Close all streams, and list them."""
    close_all(keyring)
    list_closed(keyring)


@pytest.mark.promise(3)
def test_a_certificate_covers_closed_streams(stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the heads of open streams only, it verifies, and finds an exposure that is missing or forged."""
    monkeypatch.setattr(certificate, "SETTLED_SECONDS", 0)
    keyring = Keyring(FIRST)
    read = Attempt(action=Action.FETCH, ip="192.0.2.1", secret_id="one", details={"version": 1})
    wrapped = replace(read, secret_id="two", details={"wrapped": True, "accessor": "w"})
    trail = begin(FIRST)
    details = {"version": 1, "via_broker": "gate", "host": "a.test"}
    used = replace(read, action=Action.USE, secret_id="three", details=details)
    trail._on_finish([(one, Status.SUCCESS) for one in (read, wrapped, used)])
    closed = kill(trail)
    compact(keyring)
    made = certificate.make(
        Question(address="192.0.2.1", stale=True), keyring, retention_days=0, progress=lambda _: None
    )
    assert closed not in {head["stream"] for head in made["heads"]}
    assert [one["secret_id"] for one in made["exposures"]] == ["one", "three"]
    assert [one["secret_id"] for one in made["uses"]] == ["three"]

    def check() -> tuple[list[str], dict[str, int]]:
        found = certificate.read(json.dumps(made), signing_keys.trusted(keyring))
        return texts(verified(FIRST, heads=found.heads, claims=[found])), found.counts

    assert check() == ([], {"proved": 3, "unproved": 0, "past_retention": 0, "stale": 0})
    # What is written and compacted later changes nothing.
    later = begin(FIRST)
    later.record(replace(read, secret_id="three"))
    later.disconnect()
    compact(keyring)
    assert check()[0] == []
    stored.audit_logs.delete_many({"stream": closed})
    found, counts = check()
    assert counts["unproved"] == 3
    assert "is missing with its whole stream: a summary lists it" in found
