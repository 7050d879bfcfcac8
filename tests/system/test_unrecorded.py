"""The search for effects without an entry finds each of them."""

from typing import Any

import pytest

from tests.support.rotation import Stored
from tests.support.unrecorded import WRAPPED, unrecorded

# Their documents lack the fields of unique indexes.
pytestmark = pytest.mark.new_database

SECRET = {"_id": "a", "version": 3, "older": [{"version": 2}], "deleted_at": 1, "reads": 1}
STATES = {
    "_id": "g",
    "version": 0,
    "states": [{"version": 1, "deleted_at": 1}, {"version": 2, "deleted_at": 1}],
    "purged": [3, 4],
    "metadata_version": 2,
}
TOKEN = {"_id": "b", "name": "ci", "revoked_at": 1}
ENTRIES: list[dict[str, Any]] = [
    {"action": "create", "secret_id": "a"},
    {"action": "update", "secret_id": "a", "details": {"version": 2}},
    {"action": "update", "secret_id": "a", "details": {"version": 3}},
    {"action": "delete", "secret_id": "a"},
    {"action": "fetch", "secret_id": "a"},
    {"action": "create", "secret_id": "g"},
    {"action": "delete", "secret_id": "g", "details": {"versions": [1, 2]}},
    {"action": "purge", "secret_id": "g"},
    {"action": "update_metadata", "secret_id": "g"},
    {"action": "role_create", "details": {"role_name": "deploy"}},
    {"action": "token_create", "details": {"token": "ci"}},
    {"action": "token_revoke", "details": {"token": "ci"}},
]


@pytest.fixture(autouse=True)
def _effects(stored: Stored) -> None:
    stored.secrets.insert_many([dict(SECRET), dict(STATES)])
    stored.tokens.insert_one(dict(TOKEN))
    stored.roles.insert_one({"_id": "e", "name": "deploy"})


def record(stored: Stored, *entries: dict[str, Any], status: str = "success") -> None:
    stored.audit_logs.insert_many([{**entry, "status": status} for entry in entries])


def test_a_recorded_effect_is_not_reported(stored: Stored) -> None:
    """Effects with an entry, and pending documents without one, are not reported."""
    record(stored, *ENTRIES)
    stored.secrets.insert_one({"_id": "c", "version": 1, "pending": True})
    stored.tokens.insert_one({"_id": "d", "name": "next", "pending": True})
    stored.roles.insert_one({"_id": "f", "name": "next", "pending": True})
    assert unrecorded(stored) == {}


def test_a_wrapped_reply_needs_the_entry_of_its_request(stored: Stored) -> None:
    """A wrapped reply is recorded by the entry of the request that it answers, whatever that was."""
    record(stored, *ENTRIES)
    stored.secrets.insert_one({"_id": "w", "version": 1, "namespace": WRAPPED, "max_reads": 1, "reads": 1})
    assert unrecorded(stored) == {"wrap": 1}
    record(stored, {"action": "fetch", "secret_id": "z", "details": {"wrapped": True, "accessor": "w"}})
    assert unrecorded(stored) == {}


@pytest.mark.parametrize("lacking", ENTRIES, ids=lambda entry: entry["action"])
def test_an_effect_without_its_entry_is_found(stored: Stored, lacking: dict[str, Any]) -> None:
    """Each missing entry is reported by its action; an entry of a refusal does not replace it."""
    record(stored, *(entry for entry in ENTRIES if entry is not lacking))
    record(stored, lacking, status="error")
    assert unrecorded(stored) == {lacking["action"]: 1}
