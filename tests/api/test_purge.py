"""Purges over HTTP: a version destroyed, or a deleted secret removed, before its time."""

from typing import Any

import pytest

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.lifecycle import (
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
from vault.core.principal import ANONYMOUS, ROLES, Principal, Scope
from vault.crypto import Keyring, MasterKey
from vault.documents import keys_in_use
from vault.documents.stored_secret import StoredSecret
from vault.keys import rewrap


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "DELETE_RECOVERY_DAYS": "7"}


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


def test_only_a_deleted_secret_is_purged_as_a_whole(alice: Caller, stored: Stored) -> None:
    """A purge of a readable secret is refused with 409 and changes nothing."""
    secret_id = three_versions(alice)
    before = document(stored, secret_id)
    reply = alice.post("purge", {"secret_id": secret_id})
    assert (reply.status_code, reply.json["detail"]) == (
        409,
        "The secret is not deleted. Delete it first, or set `version`.",
    )
    assert document(stored, secret_id) == before
    assert trail(stored)[-1] == {
        "action": "purge",
        "status": "bad_request",
        "principal": "alice",
        "secret_id": secret_id,
    }


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


def test_the_newest_version_is_not_purged(alice: Caller, stored: Stored) -> None:
    """A purge of the newest version is refused with 409, because a secret always has a value."""
    secret_id = three_versions(alice)
    before = document(stored, secret_id)
    reply = alice.post("purge", {"secret_id": secret_id, "version": 3})
    assert (reply.status_code, reply.json["detail"]) == (
        409,
        "The newest version cannot be purged. Update or delete the secret first.",
    )
    assert document(stored, secret_id) == before


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
@pytest.mark.parametrize("asking", ["true", "false"])
def test_a_purge_needs_its_scope(
    environment: dict[str, str], stored: Stored, key: MasterKey, asking: str
) -> None:
    """A purge is 401 without a credential, for any `AUTH_ENABLED`, and 403 with a writer's token."""
    gone = {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
    secret_id = put(stored, key, **gone)
    with running_app({**environment, "AUTH_ENABLED": asking}) as app:
        client = app.test_client()
        tokens = {role: bearer(make_token(app, role, role=role)) for role in ROLES}

        def purge(headers: dict[str, str]) -> int:
            return client.post(
                "/vault/secret/purge", json={"secret_id": secret_id}, headers=headers
            ).status_code

        assert purge({}) == 401
        assert [purge(tokens[role]) for role in ("reader", "writer", "auditor")] == [403, 403, 403]
        assert stored.secrets.count_documents({}) == 1
        assert purge(tokens["admin"]) == 200
    assert stored.secrets.count_documents({}) == 0


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
