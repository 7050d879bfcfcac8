"""Changes of labels and expiry, below HTTP: what they store, and what runs at the same time."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from threading import BoundedSemaphore
from typing import Any

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.lifecycle import ALICE, Caller, in_future, in_past, only, put, unswept
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.core.attempt import Action, Attempt
from vault.core.attributes import Description
from vault.core.errors import (
    AuditUnavailableError,
    DecryptionError,
    KeyMissingError,
    OverloadedError,
    SecretBusyError,
    SecretNotFoundError,
    VersionConflictError,
)
from vault.core.timestamps import moment, to_milliseconds
from vault.crypto import Keyring, MasterKey
from vault.documents.stored_secret import StoredSecret
from vault.keys import rewrap
from vault.secrets import metadata, read_limits
from vault.secrets.lease import SecretLease
from vault.secrets.metadata import Expiry
from vault.secrets.requests import Reference

HOUR = Expiry(ttl_seconds=3_600)
NEVER = Expiry(ttl_seconds=None)
Change = Callable[..., StoredSecret]


@pytest.fixture
def change(app: Flask) -> Change:
    """Return a function that changes the secret `a/b`."""

    def change(**changes: Any) -> StoredSecret:
        return services(app).metadata.change(
            Reference(name="a/b"),
            attempt=Attempt(action=Action.UPDATE_METADATA, principal=ALICE),
            **changes,
        )

    return change


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


def labelled(labels: Mapping[str, str]) -> Callable[[Description], Description]:
    return lambda _present: Description.of_pairs(labels)


@pytest.mark.usefixtures("versions")
def test_labels_change_no_ciphertext(change: Change, stored: Stored) -> None:
    """New labels replace all others; nothing else changes except the number of such changes."""
    before = only(stored)
    found = change(
        described=lambda present: Description.of_pairs({**present.pairs, "new": "$label", "$x": ""})
    )
    assert found.description.pairs == {"k": "v"}
    after = only(stored)
    assert after == before | {"labels": ["$x=", "k=v", "new=$label"], "metadata_version": 1}
    change(described=labelled({}))
    assert only(stored) == {n: v for n, v in before.items() if n != "labels"} | {"metadata_version": 2}


@pytest.mark.promise(1)
@pytest.mark.usefixtures("versions")
def test_a_new_expiry_is_bound_to_every_version(change: Change, stored: Stored, key: MasterKey) -> None:
    """A new expiry re-encrypts each version, and removing it does as well; MongoDB purges accordingly."""
    before = only(stored)
    began = to_milliseconds(datetime.now(UTC))
    change(expiry=HOUR)
    after = only(stored)
    assert began <= after["expires_at"] - timedelta(hours=1) <= datetime.now(UTC)
    assert after["purge_at"] == after["expires_at"]
    assert after["labels"] == before["labels"]
    assert plaintexts(stored, key) == {1: b"1", 2: b"2", 3: b"3"}
    kept = [{name: one[name] for name in ("version", "created_at")} for one in before["older"]]
    assert [{name: one[name] for name in ("version", "created_at")} for one in after["older"]] == kept
    stored.secrets.update_one({}, {"$unset": {"expires_at": ""}})
    for version in StoredSecret(only(stored)).versions:
        with pytest.raises(DecryptionError):
            StoredSecret(only(stored)).decrypt_version(version, Keyring(key))
    stored.secrets.replace_one({}, after)
    change(expiry=NEVER)
    assert set(only(stored)) == {*before, "metadata_version"}
    assert plaintexts(stored, key) == {1: b"1", 2: b"2", 3: b"3"}


def test_a_new_expiry_keeps_all_other_fields(
    change: Change, stored: Stored, key: MasterKey, alice: Caller
) -> None:
    """Read limit, reads, states and namespace stay, and the remaining reads can be made."""
    put(stored, key, name="a/b", max_reads=3, reads=1)
    before = only(stored)
    change(expiry=HOUR)
    replaced = {"envelope", "expires_at", "purge_at", "metadata_version", "key_id"}
    after = only(stored)
    assert {n: v for n, v in after.items() if n not in replaced} == {
        n: v for n, v in before.items() if n not in replaced
    }
    assert [alice.post("fetch", {"name": "a/b"}).status_code for _ in range(3)] == [200, 200, 404]


def test_the_last_read_keeps_its_purge_time(
    change: Change, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read limit that is reached during the change still has the secret removed within a minute."""
    secret_id = put(stored, key, name="a/b", max_reads=1)
    [read] = read_limits.reserve_reads([secret_id])
    assert read
    apply = SecretLease.apply

    def overtaken(lease: SecretLease, change: Mapping[str, Any]) -> None:
        read_limits.commit_reads([read])
        apply(lease, change)

    monkeypatch.setattr(SecretLease, "apply", overtaken)
    with unswept(stored):
        change(expiry=NEVER)
        assert only(stored)["purge_at"] <= in_future(minutes=1, seconds=1)
        monkeypatch.undo()
        with pytest.raises(SecretNotFoundError):
            change(expiry=HOUR)


@pytest.mark.promise(1)
@pytest.mark.usefixtures("versions")
def test_a_change_makes_no_changed_limit_genuine(app: Flask, stored: Stored) -> None:
    """A secret whose limits were changed in the database does not verify, and stays as it is."""
    genuine = only(stored)
    for limit in ({"expires_at": in_future(days=1)}, {"max_reads": 9}, {"name": "a/b/c"}):
        stored.secrets.replace_one({}, genuine | limit)
        before = only(stored)
        for changes in ({"expiry": NEVER}, {"described": labelled({})}):
            with pytest.raises(DecryptionError):
                services(app).metadata.change(
                    Reference(secret_id=before["_id"]),
                    attempt=Attempt(action=Action.UPDATE_METADATA, principal=ALICE),
                    **changes,
                )
        assert only(stored) == before


@pytest.mark.usefixtures("versions")
def test_an_older_version_that_does_not_verify_refuses_a_new_expiry(change: Change, stored: Stored) -> None:
    """No version is left behind: if one does not verify, the expiry stays, and labels can be changed."""
    stored.secrets.update_one({}, {"$set": {"older.0.version": 9}})
    before = only(stored)
    with pytest.raises(DecryptionError):
        change(expiry=HOUR)
    assert only(stored) == before
    change(described=labelled({}))


@pytest.mark.usefixtures("versions")
def test_a_missing_key_of_an_older_version_refuses_a_new_expiry(
    change: Change,
    app: Flask,
    stored: Stored,
    key: MasterKey,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without the key of each version, the expiry stays."""
    secret = StoredSecret(only(stored))
    made = rewrap.rewrap_version(secret, secret.newest, Keyring(keyring.primary, [key]))
    assert made
    rewrap.write_rewrapped([made])
    monkeypatch.setattr(services(app).metadata, "_keyring", keyring)
    before = only(stored)
    with pytest.raises(KeyMissingError):
        change(expiry=HOUR)
    assert only(stored) == before


@pytest.mark.usefixtures("versions")
def test_a_new_expiry_uses_the_primary_key(
    change: Change,
    app: Flask,
    stored: Stored,
    key: MasterKey,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every version is afterwards under the primary key of the process."""
    monkeypatch.setattr(services(app).metadata, "_keyring", Keyring(keyring.primary, [key]))
    change(expiry=HOUR)
    assert plaintexts(stored, keyring.primary) == {1: b"1", 2: b"2", 3: b"3"}


@pytest.mark.parametrize("is_before", [True, False], ids=["before the change", "after the change"])
@pytest.mark.usefixtures("versions")
def test_a_concurrent_rewrap_loses_no_version(
    change: Change,
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
    apply = SecretLease.apply
    written: list[int] = []

    def meanwhile(lease: SecretLease, change: Mapping[str, Any]) -> None:
        if not is_before:
            apply(lease, change)
        written.append(rewrap.write_rewrapped([one for one in made if one]))
        if is_before:
            apply(lease, change)

    monkeypatch.setattr(SecretLease, "apply", meanwhile)
    change(expiry=HOUR)
    assert written == [3 if is_before else 0]
    assert plaintexts(stored, key) == {1: b"1", 2: b"2", 3: b"3"}
    assert StoredSecret(only(stored)).expires_at


@pytest.mark.usefixtures("versions")
def test_elements_of_another_type_are_dropped_with_a_new_expiry(
    change: Change, stored: Stored, key: MasterKey
) -> None:
    """Elements that an attacker added to the older versions do not stop a change."""
    stored.secrets.update_one({}, {"$push": {"older": {"$each": [7, "text", [{}]]}}})
    change(expiry=HOUR)
    assert plaintexts(stored, key) == {1: b"1", 2: b"2", 3: b"3"}


@pytest.mark.usefixtures("versions")
def test_a_number_of_changes_of_any_type_breaks_nothing(change: Change, stored: Stored) -> None:
    """A change succeeds with anything in place of the number of changes, and counts again from 1."""
    for strange in ("text", -5, 2**63 - 1, 1.5, True, [], {}):
        stored.secrets.update_one({}, {"$set": {"metadata_version": strange}})
        change(described=labelled({}))
        assert only(stored)["metadata_version"] == 1


@pytest.mark.usefixtures("versions")
def test_a_change_that_lost_its_lease_changes_nothing(
    change: Change, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose lease has ended is refused, before the versions are read and after."""
    before = only(stored)

    def ending(method: str) -> None:
        original = getattr(SecretLease, method)

        def ended(lease: SecretLease, *arguments: Any) -> Any:
            stored.secrets.update_one({}, {"$unset": {"lease": ""}})
            return original(lease, *arguments)

        monkeypatch.setattr(SecretLease, method, ended)

    for method in ("apply", "whole"):
        ending(method)
        with pytest.raises(SecretBusyError):
            change(expiry=HOUR)
    assert only(stored) == before


@pytest.mark.usefixtures("versions")
def test_an_error_of_the_caller_changes_nothing(change: Change, stored: Stored) -> None:
    """If the new labels are refused on sight of the present ones, the secret is free and unchanged."""
    before = only(stored)

    def refuse(_: Description) -> Description:
        raise VersionConflictError

    with pytest.raises(VersionConflictError):
        change(described=refuse)
    assert only(stored) == before


@pytest.mark.promise(3)
@pytest.mark.usefixtures("versions")
def test_nothing_changes_without_its_entry(change: Change, stored: Stored) -> None:
    """While the trail cannot be written, labels and expiry stay."""
    before = only(stored)
    block_trail(stored)
    for changes in ({"expiry": HOUR}, {"described": labelled({})}):
        with pytest.raises(AuditUnavailableError):
            change(**changes)
    assert only(stored) == before


@pytest.mark.usefixtures("versions")
def test_the_entry_has_both_expiries(change: Change, stored: Stored) -> None:
    """The entry of a new expiry has it and the one before, null for never; that of new labels has neither."""
    change(expiry=HOUR)
    expires_at = moment(only(stored)["expires_at"])
    change(expiry=NEVER)
    change(described=labelled({"a": "b"}))
    named = {"name": "a/b", "namespace": "default"}
    entries = stored.audit_logs.find({"action": "update_metadata"}).sort("_id")
    assert [entry["details"] for entry in entries] == [
        {**named, "expires_at": expires_at, "previous_expires_at": None},
        {**named, "expires_at": None, "previous_expires_at": expires_at},
        named,
    ]


def test_a_secret_that_is_gone_stays_gone(change: Change, stored: Stored, key: MasterKey) -> None:
    """A new expiry revives no expired, used-up, pending or deleted secret."""
    gone: list[dict[str, Any]] = [
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"pending": True},
        {"deleted_at": in_past(hours=1), "purge_at": in_future(days=1)},
    ]
    for fields in gone:
        with unswept(stored):
            put(stored, key, name="a/b", **fields)
            before = only(stored)
            with pytest.raises(SecretNotFoundError):
                change(expiry=NEVER)
            assert only(stored) == before
        stored.secrets.delete_many({})


@pytest.mark.usefixtures("versions")
def test_only_a_few_secrets_get_a_new_expiry_at_a_time(
    app: Flask, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A further change of an expiry is refused after a while; one of labels is not."""
    monkeypatch.setattr(metadata, "_WAIT_SECONDS", 0.01)
    resealing = BoundedSemaphore(1)
    resealing.acquire()
    monkeypatch.setattr(services(app).metadata, "_resealing", resealing)
    with pytest.raises(OverloadedError):
        change(expiry=HOUR)
    change(described=labelled({"a": "b"}))
    resealing.release()
    change(expiry=HOUR)
    assert resealing.acquire(blocking=False)
