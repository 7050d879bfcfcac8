"""Changes of labels and expiry: what they store, and what runs at the same time."""

from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import Caller, in_future, only, put, unswept
from tests.support.rotation import Stored
from vault.common.errors import DecryptionError
from vault.common.timestamps import moment, to_milliseconds
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys import rewrap
from vault.core.secrets import metadata, read_limits
from vault.core.secrets.lease import Seen

KEPT = {1: b"1", 2: b"2", 3: b"3"}


def change(alice: Caller, status: int = 200, **changes: Any) -> None:
    """Change the secret `a/b`."""
    reply = alice.post("update-metadata", {"name": "a/b", **changes})
    assert reply.status_code == status, reply.data


@pytest.fixture
def versions(alice: Caller) -> str:
    """Return the ID of a secret with three versions."""
    secret_id = alice.create(b"1", name="a/b", labels={"k": "v"})
    alice.update(secret_id, b"2", b"3")
    return secret_id


def plaintexts(stored: Stored, *keys: MasterKey) -> dict[int, bytes]:
    """Return the value of each stored version."""
    secret = StoredSecret(only(stored))
    keyring = Keyring(keys[0], keys[1:])
    return {version.version: secret.decrypt_version(version, keyring) for version in secret.versions}


def test_labels_change_no_ciphertext(alice: Caller, versions: str, stored: Stored) -> None:
    """New labels replace all others, and find the secret; nothing else changes but the number of changes."""
    before = only(stored)
    labels = {"new": "$label", "$x": "", "x/y": "a=b"}
    assert alice("update-metadata", secret_id=versions, labels=labels) == {"secret_id": versions}
    assert only(stored) == before | {"labels": ["$x=", "new=$label", "x/y=a=b"], "metadata_version": 1}
    assert alice("describe", name="a/b")["labels"] == labels
    assert [one["secret_id"] for one in alice("list", labels={"new": "$label"})["secrets"]] == [versions]
    assert alice("list", labels={"k": "v"})["secrets"] == []
    change(alice, labels={})
    assert only(stored) == {n: v for n, v in before.items() if n != "labels"} | {"metadata_version": 2}
    change(alice, labels={"a": "b"}, ttl_seconds=60)
    both = {name: only(stored)[name] for name in ("labels", "expires_at")}
    change(alice, labels=None, ttl_seconds=None, never_expires=None)
    assert {name: only(stored)[name] for name in both} == both


@pytest.mark.promise(1)
@pytest.mark.usefixtures("versions")
def test_a_new_expiry_is_bound_to_every_version(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """A new expiry re-encrypts each version, and removing it does as well; MongoDB purges accordingly."""
    before = only(stored)
    for seconds in (86_400, 60, 315_360_000):
        began = to_milliseconds(datetime.now(UTC))
        change(alice, ttl_seconds=seconds)
        after = only(stored)
        assert began <= after["expires_at"] - timedelta(seconds=seconds) <= datetime.now(UTC)
        assert after["purge_at"] == after["expires_at"]
        assert after["labels"] == before["labels"]
        assert plaintexts(stored, key) == KEPT
    kept = [{name: one[name] for name in ("version", "created_at")} for one in before["older"]]
    assert [{name: one[name] for name in ("version", "created_at")} for one in after["older"]] == kept
    stored.secrets.update_one({}, {"$unset": {"expires_at": ""}})
    for version in StoredSecret(only(stored)).versions:
        with pytest.raises(DecryptionError):
            StoredSecret(only(stored)).decrypt_version(version, Keyring(key))
    stored.secrets.replace_one({}, after)
    change(alice, never_expires=True)
    assert set(only(stored)) == {*before, "metadata_version"}
    assert plaintexts(stored, key) == KEPT


def test_a_new_expiry_keeps_all_other_fields(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """Read limit, reads, states and namespace stay, and the remaining reads can be made."""
    put(stored, key, name="a/b", max_reads=3, reads=1)
    before = only(stored)
    change(alice, ttl_seconds=3_600)
    replaced = {"envelope", "expires_at", "purge_at", "metadata_version", "key_id"}
    after = only(stored)
    assert {n: v for n, v in after.items() if n not in replaced} == {
        n: v for n, v in before.items() if n not in replaced
    }
    assert [alice.post("fetch", {"name": "a/b"}).status_code for _ in range(3)] == [200, 200, 404]


def test_the_last_read_keeps_its_purge_time(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read limit that is reached during the change still has the secret removed within a minute."""
    secret_id = put(stored, key, name="a/b", max_reads=1)
    [read] = read_limits.reserve_reads([secret_id])
    assert read
    apply = Seen.apply

    def overtaken(seen: Seen, *change: Any) -> None:
        read_limits.commit_reads([read])
        apply(seen, *change)

    with unswept(stored):
        with monkeypatch.context() as patch:
            patch.setattr(Seen, "apply", overtaken)
            change(alice, never_expires=True)
        assert only(stored)["purge_at"] <= in_future(minutes=1, seconds=1)
        change(alice, 404, ttl_seconds=3_600)


@pytest.mark.promise(1)
@pytest.mark.usefixtures("versions")
def test_a_change_makes_no_changed_limit_genuine(alice: Caller, stored: Stored) -> None:
    """A secret whose limits were changed in the database does not verify, and stays as it is."""
    genuine = only(stored)
    for limit in ({"expires_at": in_future(days=1)}, {"max_reads": 9}, {"name": "a/b/c"}):
        stored.secrets.replace_one({}, genuine | limit)
        before = only(stored)
        for changes in ({"never_expires": True}, {"labels": {}}):
            assert alice.refused("update-metadata", secret_id=before["_id"], **changes) == 500
        assert only(stored) == before


@pytest.mark.usefixtures("versions")
def test_an_older_version_that_does_not_verify_refuses_a_new_expiry(alice: Caller, stored: Stored) -> None:
    """No version is left behind: if one does not verify, the expiry stays, and labels can be changed."""
    stored.secrets.update_one({}, {"$set": {"older.0.version": 9}})
    before = only(stored)
    change(alice, 500, ttl_seconds=3_600)
    assert only(stored) == before
    change(alice, labels={})


@pytest.mark.usefixtures("versions")
def test_a_new_expiry_needs_every_key_and_uses_the_primary_one(
    alice: Caller,
    app: Flask,
    stored: Stored,
    key: MasterKey,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the key of a version, the expiry stays; with it, all are under the primary key afterwards."""
    secret, both = StoredSecret(only(stored)), Keyring(keyring.primary, [key])
    made = rewrap.rewrap_version(secret, secret.newest, both)
    assert made
    rewrap.write_rewrapped([made])
    monkeypatch.setattr(services(app).metadata, "_keyring", keyring)
    before = only(stored)
    change(alice, 503, ttl_seconds=3_600)
    assert only(stored) == before
    monkeypatch.setattr(services(app).metadata, "_keyring", both)
    change(alice, ttl_seconds=3_600)
    assert plaintexts(stored, keyring.primary) == KEPT


@pytest.mark.parametrize("is_before", [True, False], ids=["before the change", "after the change"])
@pytest.mark.usefixtures("versions")
def test_a_concurrent_rewrap_loses_no_version(
    alice: Caller,
    stored: Stored,
    key: MasterKey,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
    is_before: bool,
) -> None:
    """A rewrap that read the secret before the change writes before it or not at all; all values stay."""
    secret = StoredSecret(only(stored))
    both = Keyring(keyring.primary, [key])
    made = [rewrap.rewrap_version(secret, version, both) for version in secret.versions]
    apply = Seen.apply
    written: list[int] = []

    def meanwhile(seen: Seen, *change: Any) -> None:
        if not is_before:
            apply(seen, *change)
        written.append(rewrap.write_rewrapped([one for one in made if one]))
        if is_before:
            apply(seen, *change)

    monkeypatch.setattr(Seen, "apply", meanwhile)
    change(alice, ttl_seconds=3_600)
    assert written == [3 if is_before else 0]
    assert plaintexts(stored, key) == KEPT
    assert StoredSecret(only(stored)).expires_at


@pytest.mark.usefixtures("versions")
def test_fields_of_another_type_stop_no_change(alice: Caller, stored: Stored, key: MasterKey) -> None:
    """Elements added to the older versions are dropped; the number of changes is counted again from 1."""
    stored.secrets.update_one({}, {"$push": {"older": {"$each": [7, "text", [{}]]}}})
    change(alice, ttl_seconds=3_600)
    assert plaintexts(stored, key) == KEPT
    for strange in ("text", -5, 2**63 - 1, 1.5, True, [], {}):
        stored.secrets.update_one({}, {"$set": {"metadata_version": strange}})
        change(alice, labels={})
        assert only(stored)["metadata_version"] == 1


@pytest.mark.usefixtures("versions")
def test_the_entry_has_both_expiries(alice: Caller, stored: Stored) -> None:
    """The entry of a new expiry has it and the one before, null for never; that of new labels has neither."""
    change(alice, ttl_seconds=3_600)
    expires_at = moment(only(stored)["expires_at"])
    change(alice, never_expires=True)
    change(alice, labels={"a": "b"})
    named = {"name": "a/b", "namespace": "default"}
    entries = stored.audit_logs.find({"action": "update_metadata"}).sort("_id")
    assert [entry["details"] for entry in entries] == [
        {**named, "expires_at": expires_at, "previous_expires_at": None},
        {**named, "expires_at": None, "previous_expires_at": expires_at},
        named,
    ]


@pytest.mark.usefixtures("versions")
def test_only_a_few_secrets_get_a_new_expiry_at_a_time(
    alice: Caller, app: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further change of an expiry is refused after a while; one of labels is not."""
    monkeypatch.setattr(metadata, "_WAIT_SECONDS", 0.01)
    resealing = BoundedSemaphore(1)
    resealing.acquire()
    monkeypatch.setattr(services(app).metadata, "_resealing", resealing)
    change(alice, 503, ttl_seconds=3_600)
    change(alice, labels={"a": "b"})
    resealing.release()
    change(alice, ttl_seconds=3_600)
    assert resealing.acquire(blocking=False)
