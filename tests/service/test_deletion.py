"""Deleted secrets: restored in time, purged before it, and protected from callers who may not purge."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.access import make_token
from tests.support.lifecycle import (
    ALICE,
    CALLS,
    UNKNOWN_ID,
    Caller,
    b64,
    document,
    in_future,
    in_past,
    put,
    trail,
)
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import keys_in_use
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys import rewrap
from vault.core.principal import ANONYMOUS, ROLES, Principal, Scope
from vault.core.secrets import read_limits
from vault.core.secrets.lease import Seen
from vault.core.secrets.read_limits import HeldRead


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "DELETE_RECOVERY_DAYS": "7"}


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_a_deleted_secret_comes_back_as_it_was(alice: Caller, stored: Stored) -> None:
    """A restore brings back every version, the remaining reads, expiry, name and labels."""
    secret_id = alice.create(b"one", name="a/b", labels={"k": "v"}, max_reads=5, ttl_seconds=3_600)
    alice.update(secret_id, b"two")
    alice.fetch(secret_id)
    before = document(stored, secret_id)
    alice("delete", secret_id=secret_id)
    for action, more in CALLS.items():
        if action != "restore":
            assert alice.refused(action, secret_id=secret_id, **more) == 404
    assert alice.refused("create", secret="YQ==", name="a/b") == 409
    assert alice("restore", secret_id=secret_id) == {"secret_id": secret_id}
    assert document(stored, secret_id) == before
    assert alice.fetch(secret_id, version=1) == b64(b"one")
    assert alice("fetch", name="a/b") == {"secret": b64(b"two")}
    assert alice("describe", secret_id=secret_id)["reads_left"] == 2
    assert alice.refused("restore", secret_id=secret_id) == 404


def test_a_secret_can_be_restored_until_its_purge_time(alice: Caller, stored: Stored) -> None:
    """The reply has the time from which MongoDB may remove it: the setting's days from now."""
    secret_id = alice.create()
    until = moment(alice("delete", secret_id=secret_id)["restorable_until"])
    assert in_future(days=6, hours=23) < until <= in_future(days=7)
    assert document(stored, secret_id)["purge_at"] == until


def test_a_deleted_secret_is_not_kept_beyond_its_expiry(alice: Caller, stored: Stored) -> None:
    """A deleted secret is removed no later than its expiry."""
    secret_id = alice.create(ttl_seconds=3_600)
    expires_at = document(stored, secret_id)["expires_at"]
    assert moment(alice("delete", secret_id=secret_id)["restorable_until"]) == expires_at
    assert document(stored, secret_id)["purge_at"] == expires_at


def test_mongodb_removes_unrestorable_secrets(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """MongoDB removes unrestorable secrets with all versions, and keeps readable ones."""
    there = alice.create(ttl_seconds=3_600)
    gone: list[dict[str, Any]] = [
        {"deleted_at": in_past(days=7)},
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"name": "a/b", "pending": True},
    ]
    for fields in gone:
        put(stored, key, purge_at=in_past(seconds=1), **fields)
    wait_until(lambda: stored.secrets.count_documents({}) == 1)
    assert document(stored, there)


def test_a_last_read_during_a_delete_does_not_prevent_the_purge(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is deleted during its last read is gone, and is removed within a minute."""
    secret_id = alice.create(max_reads=1)
    apply = Seen.apply

    def late(seen: Seen, *change: Any) -> None:
        alice.fetch(secret_id)
        apply(seen, *change)

    with monkeypatch.context() as slow:
        slow.setattr(Seen, "apply", late)
        alice("delete", secret_id=secret_id)
    found = document(stored, secret_id)
    assert found["reads"] == 1
    assert found["purge_at"] <= in_future(minutes=1, seconds=1)
    assert alice.refused("restore", secret_id=secret_id) == 404
    assert document(stored, secret_id) == found


def test_a_read_of_a_concurrently_deleted_secret_is_404(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limited secret deleted between look-up and counting is not read."""
    secret_id = alice.create(max_reads=5)
    hold = read_limits.reserve_reads

    def late(which: list[str]) -> list[HeldRead | None]:
        alice("delete", secret_id=which[0])
        return hold(which)

    monkeypatch.setattr(read_limits, "reserve_reads", late)
    assert alice.refused("fetch", secret_id=secret_id) == 404
    assert "reads" not in document(stored, secret_id)


def three_versions(alice: Caller, **options: Any) -> str:
    secret_id = alice.create(b"one", **options)
    alice.update(secret_id, b"two", b"three")
    return secret_id


def envelopes(stored: Stored, secret_id: str) -> dict[int, bytes]:
    """Return the envelope of each stored version, by its number."""
    found = document(stored, secret_id)
    return {stored["version"]: stored["envelope"] for stored in (found, *found.get("older", []))}


@pytest.mark.promise("purges")
@pytest.mark.parametrize("by", ["secret_id", "name"])
def test_a_deleted_secret_is_purged_immediately(alice: Caller, stored: Stored, by: str) -> None:
    """A purge removes the whole document of a deleted secret, and its name is free again."""
    secret_id = three_versions(alice, name="a/b")
    alice("delete", secret_id=secret_id)
    which = {"secret_id": secret_id, "name": "a/b"}[by]
    assert alice("purge", **{by: which}) == {"secret_id": secret_id, "version": None}
    assert stored.secrets.count_documents({}) == 0
    assert alice.refused("restore", secret_id=secret_id) == 404
    assert alice.refused("purge", **{by: which}) == 404
    assert alice.create(name="a/b") != secret_id


@pytest.mark.parametrize(
    ("version", "detail"),
    [
        ({}, "The secret is not deleted. Delete it first, or set `version`."),
        ({"version": 3}, "The newest version cannot be purged. Update or delete the secret first."),
    ],
    ids=["secret", "newest version"],
)
def test_a_readable_secret_keeps_its_value(
    alice: Caller, stored: Stored, version: dict[str, int], detail: str
) -> None:
    """A purge of a readable secret, or of its newest version, is refused with 409 and changes nothing."""
    secret_id = three_versions(alice)
    before = document(stored, secret_id)
    reply = alice.post("purge", {"secret_id": secret_id, **version})
    assert (reply.status_code, reply.json["detail"]) == (409, detail)
    assert document(stored, secret_id) == before
    refused = {"action": "purge", "status": "bad_request", "principal": "alice", "secret_id": secret_id}
    assert trail(stored)[-1] == refused | ({"details": version} if version else {})


@pytest.mark.promise("purges")
def test_a_purged_version_is_removed_from_the_database(alice: Caller, stored: Stored) -> None:
    """No document contains the version's ciphertext any more, and the other versions are unchanged."""
    secret_id = three_versions(alice)
    before = envelopes(stored, secret_id)
    assert alice("purge", secret_id=secret_id, version=2) == {"secret_id": secret_id, "version": 2}
    found = document(stored, secret_id)
    assert envelopes(stored, secret_id) == {1: before[1], 3: before[3]}
    assert before[2] not in str(found).encode()
    assert found["purged"] == [2]
    assert "lease" not in found
    assert alice.refused("fetch", secret_id=secret_id, version=2) == 404
    assert alice.fetch(secret_id, version=1) == b64(b"one")
    assert alice.fetch(secret_id) == b64(b"three")


def test_only_stored_versions_of_a_readable_secret_are_purged(alice: Caller, stored: Stored) -> None:
    """A purge of an unknown version, or of one of a deleted secret, is 404."""
    secret_id = three_versions(alice)
    alice("purge", secret_id=secret_id, version=1)
    for unknown in (1, 4):
        assert alice.refused("purge", secret_id=secret_id, version=unknown) == 404
    alice("delete", secret_id=secret_id)
    before = document(stored, secret_id)
    assert alice.refused("purge", secret_id=secret_id, version=2) == 404
    assert document(stored, secret_id) == before


@pytest.mark.promise("purges")
def test_an_older_admin_token_does_not_purge(alice: Caller) -> None:
    """A token created before the scope existed lists its scopes and does not gain this one."""
    older = frozenset(Scope) - {Scope.SECRET_PURGE}
    alice.become(Principal(name="older", scopes=older))
    assert alice.refused("purge", secret_id=UNKNOWN_ID) == 403
    assert Scope.SECRET_PURGE not in ANONYMOUS.scopes


@pytest.mark.promise("purges")
def test_an_update_and_a_restore_bring_no_purged_version_back(alice: Caller, stored: Stored) -> None:
    """Later versions keep their numbers, and a purged version stays purged after delete and restore."""
    secret_id = three_versions(alice)
    alice("purge", secret_id=secret_id, version=2)
    alice("delete", secret_id=secret_id)
    alice("restore", secret_id=secret_id)
    assert alice("update", secret_id=secret_id, secret=b64(b"four"))["version"] == 4
    assert set(envelopes(stored, secret_id)) == {1, 3, 4}
    assert alice("describe", secret_id=secret_id)["purged_versions"] == [2]


@pytest.mark.promise("purges")
def test_a_concurrent_rewrap_does_not_bring_a_version_back(
    alice: Caller, stored: Stored, keyring: Keyring, key: MasterKey
) -> None:
    """A rewrap that read a version before its purge writes nothing in its place."""
    secret_id = three_versions(alice)
    secret = StoredSecret(document(stored, secret_id))
    both = Keyring(keyring.primary, [key])
    changes = [rewrap.rewrap_version(secret, version, both) for version in secret.versions]
    alice("purge", secret_id=secret_id, version=2)
    assert rewrap.write_rewrapped([change for change in changes if change]) == 2
    assert set(envelopes(stored, secret_id)) == {1, 3}


def test_a_purged_version_needs_no_master_key(
    alice: Caller, stored: Stored, key: MasterKey, keyring: Keyring
) -> None:
    """Key counts cover only the remaining versions."""
    secret_id = three_versions(alice)
    for version in (1, 2):
        alice("purge", secret_id=secret_id, version=version)
    assert keys_in_use.stored_versions(key.id) == 1
    assert keyring.primary.id not in keys_in_use.stored_key_ids()
    assert stored.secrets.count_documents({"older.key_id": key.id}) == 0


WRITER = replace(ALICE, name="writer", scopes=ROLES["writer"])
RECOVERY = 7 * 86_400
DENIED_BY_SCOPE = {"reason": "needs secret:purge"}


@pytest.mark.promise("purges")
@pytest.mark.parametrize(
    ("ttl_seconds", "new_ttl_seconds", "status"),
    [
        (None, 1, 403),
        (None, RECOVERY, 200),
        (RECOVERY + 3_600, RECOVERY - 1, 403),
        (3_600, 1, 403),
        (3_600, 3_601, 200),
    ],
)
def test_an_earlier_expiry_requires_a_purge(
    alice: Caller, stored: Stored, ttl_seconds: int | None, new_ttl_seconds: int, status: int
) -> None:
    """Without `secret:purge`, no change makes a secret expire before a deletion would remove it."""
    secret_id = alice.create(ttl_seconds=ttl_seconds)
    before = document(stored, secret_id)
    body = {"secret_id": secret_id, "ttl_seconds": new_ttl_seconds, "labels": {"k": "v"}}
    reply = alice.become(WRITER).post("update-metadata", body)
    assert reply.status_code == status
    if status == 403:
        problem = reply.get_json(force=True)
        assert (problem["code"], "secret:purge" in problem["detail"]) == ("scope_missing", True)
        assert document(stored, secret_id) == before
        entry = trail(stored)[-1]
        assert (entry["action"], entry["status"]) == ("update_metadata", "denied")
        assert entry["details"].items() >= DENIED_BY_SCOPE.items()
        assert alice.become(ALICE).post("update-metadata", body).status_code == 200


@pytest.mark.promise("purges")
def test_two_steps_bring_no_expiry_closer(alice: Caller, stored: Stored) -> None:
    """After an expiry was brought to the recovery period, no second change brings it closer."""
    secret_id = alice.create()
    alice.become(WRITER)("update-metadata", secret_id=secret_id, ttl_seconds=RECOVERY)
    for seconds in (1, RECOVERY - 60):
        assert alice.refused("update-metadata", secret_id=secret_id, ttl_seconds=seconds) == 403
    alice("update-metadata", secret_id=secret_id, never_expires=True)
    assert "expires_at" not in document(stored, secret_id)


def test_anonymous_callers_bring_no_expiry_closer(alice: Caller) -> None:
    """A caller without a credential, who has an ID, is refused with 401, which names the scope."""
    secret_id = alice.create()
    alice.become(ANONYMOUS)
    reply = alice.post("update-metadata", {"secret_id": secret_id, "ttl_seconds": 1})
    problem = reply.get_json(force=True)
    assert (reply.status_code, problem["code"]) == (401, "credential_required")
    assert "secret:purge" in problem["detail"]
    assert alice("update-metadata", secret_id=secret_id, ttl_seconds=RECOVERY) == {"secret_id": secret_id}


def test_planted_versions_fill_no_entry(alice: Caller, stored: Stored) -> None:
    """However many versions a writer of the database has planted, an update's entry stays small."""
    secret_id = alice.create()
    planted = [{"version": number} for number in range(-3_000, 1)]
    stored.secrets.update_one({}, {"$set": {"version": 1, "older": planted}})
    alice.update(secret_id, b"two")
    assert "dropped" not in trail(stored)[-1]["details"]


def test_without_a_recovery_period_nothing_more_is_required(environment: dict[str, str]) -> None:
    """With `DELETE_RECOVERY_DAYS=0`, `secret:update` shortens expiries as ever."""
    with running_app({**environment, "DELETE_RECOVERY_DAYS": "0"}) as app:
        token = make_token(app, "writer", role="writer")
        client, headers = app.test_client(), {"Authorization": f"Bearer {token}"}
        for operation, body in (("create", {"secret": "YQ=="}), ("update-metadata", {"ttl_seconds": 1})):
            reply = client.post(f"/vault/secret/{operation}", json={"name": "a/b", **body}, headers=headers)
            assert reply.status_code == 200
