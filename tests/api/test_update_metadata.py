"""Changes of labels and expiry over HTTP."""

from typing import Any

import pytest

from tests.support.lifecycle import (
    UNKNOWN_ID,
    Caller,
    b64,
    document,
    trail,
)
from tests.support.problems import fields_of
from tests.support.rotation import Stored


@pytest.fixture
def secret_id(alice: Caller) -> str:
    """Return the ID of a secret with two versions, a name and labels."""
    secret_id = alice.create(b"one", name="a/b", labels={"k": "v", "other": ""})
    alice.update(secret_id, b"two")
    return secret_id


def assert_readable(alice: Caller, secret_id: str) -> None:
    assert alice.fetch(secret_id) == alice.fetch(secret_id, version=2) == b64(b"two")
    assert alice.fetch(secret_id, version=1) == b64(b"one")


@pytest.mark.parametrize("by", ["secret_id", "name"])
def test_labels_are_replaced(alice: Caller, secret_id: str, by: str) -> None:
    """New labels replace all others, can be removed, and find the secret immediately."""
    which = {"secret_id": {"secret_id": secret_id}, "name": {"name": "a/b"}}[by]
    labels = {"env": "$prod", "x/y": "a=b"}
    assert alice("update-metadata", **which, labels=labels) == {"secret_id": secret_id}
    assert alice("describe", **which)["labels"] == labels
    assert [one["secret_id"] for one in alice("list", labels={"env": "$prod"})["secrets"]] == [secret_id]
    assert alice("list", labels={"k": "v"})["secrets"] == []
    alice("update-metadata", **which, labels={})
    assert alice("describe", **which)["labels"] == {}
    assert_readable(alice, secret_id)


def test_an_expiry_is_set_shortened_and_removed(alice: Caller, secret_id: str, stored: Stored) -> None:
    """Each new expiry is counted from its request, and all versions stay readable."""
    expiries = []
    for body in ({"ttl_seconds": 86_400}, {"ttl_seconds": 60}, {"ttl_seconds": 315_360_000}):
        assert alice("update-metadata", secret_id=secret_id, **body) == {"secret_id": secret_id}
        expiries.append(document(stored, secret_id)["expires_at"])
        assert_readable(alice, secret_id)
    assert expiries[1] < expiries[0] < expiries[2]
    alice("update-metadata", secret_id=secret_id, never_expires=True)
    assert alice("describe", secret_id=secret_id)["expires_at"] is None
    assert "purge_at" not in document(stored, secret_id)
    assert_readable(alice, secret_id)


def test_labels_and_expiry_change_together(alice: Caller, secret_id: str) -> None:
    """One request can change both, and what is omitted does not change."""
    alice("update-metadata", secret_id=secret_id, labels={"a": "b"}, ttl_seconds=60)
    described = alice("describe", secret_id=secret_id)
    assert described["labels"] == {"a": "b"}
    alice("update-metadata", secret_id=secret_id, labels=None, ttl_seconds=None, never_expires=None)
    again = alice("describe", secret_id=secret_id)
    assert {name: again[name] for name in ("labels", "expires_at")} == {
        name: described[name] for name in ("labels", "expires_at")
    }


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"secret_id": UNKNOWN_ID, "ttl_seconds": 60, "never_expires": True}, "never_expires"),
        ({"secret_id": UNKNOWN_ID, "never_expires": "yes"}, "never_expires"),
        ({"secret_id": UNKNOWN_ID, "labels": {"a=b": "x"}}, "labels"),
        ({"secret_id": UNKNOWN_ID, "max_reads": 1}, "max_reads"),
    ],
    ids=str,
)
def test_an_invalid_body_is_422(alice: Caller, body: dict[str, Any], field: str) -> None:
    """An invalid body is refused by the name of the field."""
    reply = alice.post("update-metadata", body)
    assert (reply.status_code, fields_of(reply.json)[0].partition(".")[0]) == (422, field)


def test_each_change_has_one_entry(alice: Caller, secret_id: str, stored: Stored) -> None:
    """A change leaves one entry with the secret, whether it succeeds or not."""
    stored.audit_logs.delete_many({})
    alice("update-metadata", secret_id=secret_id, labels={"a": "b"})
    alice.refused("update-metadata", secret_id=UNKNOWN_ID)
    alice.refused("update-metadata", secret_id=secret_id, ttl_seconds=0)
    entry = {"action": "update_metadata", "principal": "alice"}
    named = {"name": "a/b", "namespace": "default"}
    assert trail(stored) == [
        {**entry, "status": "success", "secret_id": secret_id, "details": named},
        {**entry, "status": "not_found", "secret_id": UNKNOWN_ID},
        {**entry, "status": "bad_request"},
    ]
