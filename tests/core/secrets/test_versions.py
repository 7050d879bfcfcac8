"""Single versions, write rules and removals: who sees what was deleted or purged, and what is kept."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.access import services
from tests.support.lifecycle import ALICE, EVE, Caller, b64, in_future, in_past, only, put, trail, unswept
from tests.support.rotation import Stored
from vault.common.attributes import Description
from vault.common.errors import DecryptionError, KeyMissingError, NameTakenError, SecretNotFoundError
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import keys_in_use
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.write_rules import WriteRules
from vault.core.keys import rewrap
from vault.core.principal import Principal
from vault.core.secrets.items import Fetch
from vault.core.secrets.metadata import Expiry
from vault.core.secrets.requests import NewSecret, Reference

NAME = "a/b"


class World:
    """The operations on one named secret, as a principal."""

    def __init__(self, app: Flask, principal: Principal = ALICE, name: str = NAME) -> None:
        self.services = services(app)
        self.principal = principal
        self.reference = Reference(name=name)

    def attempt(self, action: Action) -> Attempt:
        """Return an attempt of the principal."""
        return Attempt(action=action, principal=self.principal)

    def write(self, value: bytes, **options: Any) -> int:
        """Write *value*, or with an empty one create the secret without a value; return the version."""
        new_secret = NewSecret(plaintext=value, name=self.reference.name, **options)
        attempt = self.attempt(Action.CREATE)
        with suppress(NameTakenError):
            return self.services.secrets.create_named(new_secret, attempt=attempt).version
        return self.services.changes.update(
            self.reference, value, expected_version=None, attempt=self.attempt(Action.UPDATE)
        ).version

    def delete(self, *versions: int) -> None:
        """Delete *versions*, or without any the newest."""
        self.services.versions.delete(self.reference, versions or None, attempt=self.attempt(Action.DELETE))

    def restore(self, *versions: int) -> None:
        """Restore *versions*."""
        self.services.versions.restore(self.reference, versions, attempt=self.attempt(Action.RESTORE))

    def purge(self, *versions: int) -> None:
        """Purge *versions*."""
        self.services.versions.purge(self.reference, versions, attempt=self.attempt(Action.PURGE))

    def fetch(self, version: int | None = None) -> bytes | None:
        """Return the value of a version; None if there is none to read."""
        try:
            return self.services.secrets.fetch(
                self.reference, version=version, attempt=self.attempt(Action.FETCH)
            )
        except SecretNotFoundError:
            return None

    def read(self, version: int | None = None) -> Fetch:
        """Return the fetch of a version that cannot be read."""
        item = Fetch(attempt=self.attempt(Action.FETCH), reference=self.reference, version=version)
        with pytest.raises(SecretNotFoundError):
            self.services.secrets.read(item, lambda found: found.plaintext)
        assert item.plaintext == b""
        return item

    def describe(self) -> dict[str, Any]:
        """Return the description of the secret."""
        return self.services.queries.describe(self.reference, attempt=self.attempt(Action.DESCRIBE))


@pytest.fixture
def world(app: Flask) -> World:
    return World(app)


@pytest.fixture
def three(world: World) -> World:
    """Return the operations on a secret with three versions."""
    for value in (b"one", b"two", b"three"):
        world.write(value)
    return world


def values(world: World) -> list[bytes | None]:
    """Return the values of the first three versions."""
    return [world.fetch(version) for version in (1, 2, 3)]


# --- Delete and restore


@pytest.mark.promise("purges")
def test_a_deleted_version_is_not_read_until_it_is_restored(three: World, stored: Stored) -> None:
    """A deleted version keeps its ciphertext, cannot be fetched, and is back after a restore."""
    before = only(stored)
    three.delete(2)
    assert values(three) == [b"one", None, b"three"]
    assert {name: only(stored)[name] for name in ("envelope", "older")} == {
        name: before[name] for name in ("envelope", "older")
    }
    three.restore(2)
    assert values(three) == [b"one", b"two", b"three"]
    assert only(stored) == before


# --- Purges


@pytest.mark.promise("purges")
@pytest.mark.parametrize("version", [1, 3])
def test_a_purged_version_is_gone(three: World, stored: Stored, key: MasterKey, version: int) -> None:
    """A purge destroys the version's ciphertext for every version, keeps its time, and no restore helps."""
    before = StoredSecret(only(stored))
    gone = {info.version: info for info in before.infos}[version]
    ciphertext = {one.version: one.envelope for one in before.versions}[version]
    three.purge(version)
    three.restore(version)
    expected: list[bytes | None] = [b"one", b"two", b"three"]
    expected[version - 1] = None
    assert values(three) == expected
    after = StoredSecret(only(stored))
    assert ciphertext not in [one.envelope for one in after.versions]
    assert {info.version: info for info in after.infos}[version] == replace(gone, is_purged=True)
    if version == 3:
        assert after.decrypt(Keyring(key)) == b""


def test_the_value_of_a_purged_newest_version_is_not_kept(three: World, stored: Stored) -> None:
    """A write after a purge of the newest version keeps nothing in its place."""
    three.purge(3)
    three.write(b"four")
    assert [one["version"] for one in only(stored)["older"]] == [1, 2]
    assert (three.fetch(), three.fetch(3)) == (b"four", None)


def test_the_rest_of_old_versions_is_forgotten(
    app: Flask, world: World, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States of versions that `MAX_VERSIONS` drops are not kept, so the document stays small."""
    monkeypatch.setattr(services(app).changes.retention, "max_versions", 3)
    for number in range(1, 5):
        world.write(str(number).encode())
    world.purge(2)
    world.delete(3, 4)
    world.write(b"5")
    assert [state["version"] for state in only(stored)["states"]] == [3, 4]
    assert "purged" not in only(stored)
    world.write(b"6")
    world.write(b"7")
    assert "states" not in only(stored)


@pytest.mark.promise(1)
def test_the_newest_version_is_purged_only_with_its_limits_intact(three: World, stored: Stored) -> None:
    """A purge refuses a newest version that does not verify: its new envelope would make it genuine."""
    stored.secrets.update_one({}, {"$set": {"expires_at": in_future(days=1)}})
    before = only(stored)
    with pytest.raises(DecryptionError):
        three.purge(3)
    assert only(stored) == before


def test_a_newest_version_under_a_missing_key_is_not_purged(
    three: World, stored: Stored, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the version's key, nothing replaces it."""
    monkeypatch.setattr(three.services.versions, "_keyring", keyring)
    before = only(stored)
    with pytest.raises(KeyMissingError):
        three.purge(3)
    assert only(stored) == before


# --- What others see


def test_a_fetch_of_a_missing_version_verifies_the_secret(three: World, stored: Stored) -> None:
    """A secret whose limits were changed in the database is not shown, whatever version is asked for."""
    stored.secrets.update_one({}, {"$set": {"expires_at": in_future(days=1)}})
    item = Fetch(attempt=three.attempt(Action.FETCH), reference=three.reference, version=9)
    with pytest.raises(DecryptionError):
        three.services.secrets.read(item, lambda found: found.plaintext)
    assert item.secret is None


@pytest.mark.promise("purges")
def test_a_deleted_version_costs_no_read(world: World, stored: Stored) -> None:
    """A refused fetch of a deleted version does not count towards the read limit."""
    world.write(b"one", max_reads=1)
    world.delete()
    assert world.fetch() is None
    world.restore(1)
    assert only(stored).get("reads") is None
    assert world.fetch() == b"one"


def test_a_batch_has_no_deleted_or_purged_version(three: World, alice: Caller) -> None:
    """In a batch, a deleted or purged version is 404 like a missing one."""
    three.delete(2)
    three.purge(3)
    found = alice("fetch-batch", secrets=[{"name": NAME, "version": number} for number in (1, 2, 3, 9)])
    statuses = [item.get("problem", {}).get("status", 200) for item in found["secrets"]]
    assert statuses == [200, 404, 404, 404]


def test_a_prefix_leaves_out_secrets_without_a_value(app: Flask, alice: Caller, stored: Stored) -> None:
    """A batch by prefix has only secrets whose newest version can be read; the others have no entry."""
    worlds = {
        name: World(app, name=f"p/{name}") for name in ("deleted", "live", "none", "purged", "restored")
    }
    for name, world in worlds.items():
        world.write(b"" if name == "none" else b"value")
    for name in ("deleted", "restored"):
        worlds[name].delete()
    worlds["restored"].restore(1)
    worlds["purged"].purge(1)
    stored.audit_logs.delete_many({})
    found = alice("fetch-batch", name_prefix="p/")["secrets"]
    assert [(item["name"], item.get("secret")) for item in found] == [
        ("p/live", b64(b"value")),
        ("p/restored", b64(b"value")),
    ]
    assert [entry["action"] for entry in trail(stored)] == ["list", "fetch", "fetch"]
    listed = alice("list", name_prefix="p/")["secrets"]
    assert [secret["name"] for secret in listed] == sorted(f"p/{name}" for name in worlds)


def test_a_prefix_of_many_deleted_secrets_is_fetched(app: Flask, alice: Caller) -> None:
    """Secrets without a value do not count towards the maximum of a batch by prefix."""
    for number in range(3):
        world = World(app, name=f"p/{number}")
        world.write(b"value")
        world.delete()
    World(app, name="p/live").write(b"value")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vault.core.secrets.store.MAX_ITEMS", 2)
        assert [item["name"] for item in alice("fetch-batch", name_prefix="p/")["secrets"]] == ["p/live"]


# --- A secret without a value


def test_a_secret_without_a_value_has_version_0(world: World, alice: Caller, stored: Stored) -> None:
    """A secret can be created before its first value: it is described, not fetched, and begins at 1."""
    assert world.write(b"", description=Description({"labels": {"a": "b"}})) == 0
    assert alice.refused("fetch", name=NAME) == 404
    described = alice("describe", name=NAME)
    assert (described["version"], described["versions"], described["labels"]) == (0, [], {"a": "b"})
    for change in (world.delete, partial(world.restore, 0), partial(world.purge, 0, 1)):
        change()
    assert alice("update", name=NAME, secret=b64(b"one"))["version"] == 1
    assert world.fetch() == world.fetch(1) == b"one"
    assert "older" not in only(stored) or only(stored)["older"] == []
    assert [kept["version"] for kept in alice("describe", name=NAME)["versions"]] == [1]


# --- Keys, backups, rewraps


def states_of(world: World) -> tuple[dict[str, Any], list[bytes | None]]:
    described = world.describe()
    del described["last_fetched_at"]
    return described, values(world)


@pytest.mark.own_app
def test_secrets_without_a_value_are_rewrapped(
    app: Flask, stored: Stored, key: MasterKey, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rewrap re-encrypts empty values and keeps all states."""
    empty, purged = World(app, name="empty"), World(app)
    empty.write(b"")
    for value in (b"one", b"two", b"three"):
        purged.write(value)
    purged.purge(3)
    purged.delete(1)
    before = [states_of(world) for world in (empty, purged)]
    both = Keyring(keyring.primary, [key])
    for name in ("secrets", "queries", "versions", "changes", "guard"):
        monkeypatch.setattr(getattr(services(app), name), "_keyring", both)
    for found in map(StoredSecret, stored.secrets.find()):
        changes = [rewrap.rewrap_version(found, version, both) for version in found.versions]
        assert rewrap.write_rewrapped([change for change in changes if change]) == len(found.versions)
    assert keys_in_use.stored_key_ids() - {keyring.primary.id} == set()
    assert [states_of(world) for world in (empty, purged)] == before
    assert (empty.write(b"one"), purged.write(b"four")) == (1, 4)


@pytest.mark.promise("purges")
def test_a_concurrent_rewrap_does_not_bring_a_purged_newest_version_back(
    three: World, stored: Stored, keyring: Keyring, key: MasterKey
) -> None:
    """A rewrap that read the newest version before its purge writes nothing in its place."""
    secret = StoredSecret(only(stored))
    change = rewrap.rewrap_version(secret, secret.newest, Keyring(keyring.primary, [key]))
    three.purge(3)
    before = only(stored)
    assert change is not None
    assert rewrap.write_rewrapped([change]) == 0
    assert only(stored) == before


# --- Attackers with access to MongoDB


def test_states_of_another_type_hide_the_secret(three: World, stored: Stored) -> None:
    """States that the service did not write hide the secret, and its versions cannot be changed."""
    for strange in ("text", None, [5], [{}]):
        stored.secrets.update_one({}, {"$set": {"states": strange}})
        before = only(stored)
        assert values(three) == [None] * 3
        for change in (three.delete, partial(three.restore, 1), partial(three.purge, 1), three.describe):
            with pytest.raises(SecretNotFoundError):
                change()
        found = only(stored)
        assert {name: found[name] for name in before} == before


def test_fields_of_another_type_break_no_change(three: World, stored: Stored) -> None:
    """With unexpected types in the database, changes of versions succeed, and record the true outcome."""
    before = only(stored)
    for fields in (
        {"purged": 7},
        {"purged": ["x", None, True, 2**40]},
        {"older": 7},
        {"older": [7, [{}], {}]},
    ):
        stored.secrets.replace_one({}, before | fields)
        three.delete(1, 3)
        three.restore(3)
        assert three.fetch() == b"three"
        three.purge(1, 3)
        assert three.fetch() is three.fetch(1) is None
    assert {entry["status"] for entry in trail(stored) if entry["action"] != "fetch"} == {"success"}


@pytest.mark.promise("purges")
def test_a_purged_version_stays_empty_without_its_state(three: World, stored: Stored) -> None:
    """An attacker who removes the states can restore deleted versions, and no purged one."""
    three.purge(2, 3)
    three.delete(1)
    stored.secrets.update_one({}, {"$unset": {"states": "", "purged": ""}})
    assert values(three) == [b"one", None, None]
    assert three.fetch() is None
    assert three.write(b"four") == 4
    assert three.fetch(3) is None


# --- Reach, records and failures


def test_a_change_of_versions_has_one_entry(three: World, stored: Stored) -> None:
    """The entry of a change names those of the versions that there are, in order."""
    stored.audit_logs.delete_many({})
    three.delete()
    three.delete(2, 1, 9)
    three.restore(3, 2)
    three.purge(1, 3)
    secret_id = only(stored)["_id"]
    named = {"name": NAME, "namespace": "default"}
    entry = {"status": "success", "principal": "alice", "secret_id": secret_id}
    assert trail(stored) == [
        {"action": action, **entry, "details": {**named, "versions": versions}}
        for action, versions in (("delete", [3]), ("delete", [1, 2]), ("restore", [2, 3]), ("purge", [1, 3]))
    ]


# --- A model


@dataclass
class Modelled:
    """A version in the model."""

    value: bytes
    is_deleted: bool = False
    is_purged: bool = False

    @property
    def seen(self) -> bytes | None:
        """The value that a fetch returns."""
        return None if self.is_deleted or self.is_purged else self.value


@dataclass
class Model:
    """The expected versions of a secret, of which 4 are kept."""

    kept: int = 4
    versions: dict[int, Modelled] = field(default_factory=dict)

    def write(self, value: bytes) -> None:
        """Add a version, and drop the oldest."""
        newest = max(self.versions, default=0) + 1
        self.versions[newest] = Modelled(value)
        self.versions.pop(newest - self.kept, None)

    def change(self, action: str, versions: list[int]) -> None:
        """Delete, restore or purge *versions*; a delete of none is one of the newest."""
        for number in versions or [max(self.versions)] * (action == "delete"):
            if found := self.versions.get(number):
                found.is_purged |= action == "purge"
                if not found.is_purged:
                    found.is_deleted = action == "delete"


STEPS = st.lists(
    st.one_of(
        st.just(("write", [])),
        st.just(("metadata", [])),
        st.just(("expiry", [])),
        st.tuples(st.sampled_from(["delete", "restore", "purge"]), st.lists(st.integers(1, 8), max_size=3)),
    ),
    max_size=14,
)


@pytest.mark.long
@given(steps=STEPS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_versions_behave_as_in_the_model(
    app: Flask,
    stored: Stored,
    key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
    steps: list[tuple[str, list[int]]],
) -> None:
    """After any steps, each version reads as in a dict of versions, and all that is stored verifies."""
    stored.secrets.delete_many({})
    monkeypatch.setattr(services(app).changes.retention, "max_versions", 4)
    world, model = World(app), Model()
    for number, (action, versions) in enumerate([("write", list[int]()), *steps]):
        if action == "write":
            model.write(str(number).encode())
            assert world.write(str(number).encode()) == max(model.versions)
        elif action in ("metadata", "expiry"):
            change_metadata(world, number, is_expiry=action == "expiry")
        else:
            model.change(action, versions)
            getattr(world, action)(*versions)
        assert {info: world.fetch(info) for info in model.versions} == {
            info: version.seen for info, version in model.versions.items()
        }
        assert world.fetch() == model.versions[max(model.versions)].seen
    found = StoredSecret(only(stored))
    assert {info.version: (info.deleted_at is not None, info.is_purged) for info in found.infos} == {
        number: (version.is_deleted, version.is_purged) for number, version in model.versions.items()
    }
    assert all(found.decrypt_version(version, Keyring(key)) is not None for version in found.versions)
    assert all(isinstance(info.created_at, datetime) for info in found.infos)


def change_metadata(world: World, number: int, *, is_expiry: bool) -> None:
    expiry = Expiry(ttl_seconds=[None, 3_600][number % 2]) if is_expiry else None
    world.services.metadata.change(
        world.reference,
        described=lambda present: Description.of_pairs({**present.pairs, "step": str(number)}),
        expiry=expiry,
        attempt=world.attempt(Action.UPDATE_METADATA),
    )


NAMED = Reference(name="a/b")


@pytest.fixture
def remove(app: Flask) -> Callable[..., str]:
    """Return a function that removes the secret `a/b`."""

    def remove(principal: Principal = ALICE) -> str:
        attempt = Attempt(action=Action.PURGE, principal=principal)
        return services(app).changes.remove(NAMED, attempt=attempt)

    return remove


def ruled(app: Flask, **rules: Any) -> None:
    """Give the secret `a/b` these write rules."""
    services(app).metadata.change(
        NAMED,
        ruled=lambda _: WriteRules(**rules),
        attempt=Attempt(action=Action.UPDATE_METADATA, principal=ALICE),
    )


def test_a_secret_can_keep_fewer_versions(
    app: Flask, alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret keeps as many versions as its rule says, and never more than the service."""
    monkeypatch.setattr(services(app).changes.retention, "max_versions", 3)
    secret_id = alice.create(b"1", name="a/b")
    for own, kept in ((0, 3), (9, 3), (2, 2)):
        ruled(app, max_versions=own)
        alice.update(secret_id, b"2", b"3", b"4")
        assert len(only(stored)["older"]) + 1 == kept


def test_a_secret_can_delete_its_versions_later(app: Flask, alice: Caller, stored: Stored) -> None:
    """A version that is written under the rule is readable, and deleted in time; earlier ones stay."""
    secret_id = alice.create(b"one", name="a/b")
    ruled(app, delete_after_seconds=60)
    alice.update(secret_id, b"two")
    versions = alice("describe", name="a/b")["versions"]
    assert [version["deleted_at"] is None for version in versions] == [False, True]
    [state] = only(stored)["states"]
    assert state["deleted_at"] - only(stored)["updated_at"] == timedelta(seconds=60)
    assert alice.fetch(secret_id) == "dHdv"
    stored.secrets.update_one({}, {"$set": {"states.0.deleted_at": in_past(seconds=1)}})
    assert alice.refused("fetch", secret_id=secret_id) == 404
    assert alice.fetch(secret_id, version=1) == "b25l"


def test_rules_of_another_type_break_no_update(alice: Caller, stored: Stored) -> None:
    """With unexpected types in the database, an update succeeds as without rules."""
    secret_id = alice.create(b"one", name="a/b")
    for rules in (5, {"delete_after_seconds": 2**62, "max_versions": "x"}):
        stored.secrets.update_one({}, {"$set": {"rules": rules}})
        alice.update(secret_id, b"two")
        assert alice.fetch(secret_id) == "dHdv"


def test_a_removed_secret_leaves_nothing(remove: Callable[..., str], alice: Caller, stored: Stored) -> None:
    """A removal destroys a readable secret, on record, and its name begins again at 1."""
    secret_id = alice.create(b"one", name="a/b")
    alice.update(secret_id, b"two")
    assert remove() == secret_id
    assert stored.secrets.count_documents({}) == 0
    assert (trail(stored)[-1]["action"], trail(stored)[-1]["secret_id"]) == ("purge", secret_id)
    alice.create(b"new", name="a/b")
    assert only(stored)["version"] == 1


def test_a_secret_that_no_one_may_know_of_is_not_removed(
    remove: Callable[..., str], stored: Stored, key: MasterKey
) -> None:
    """A removal of a secret that is gone, pending or out of reach is the error of a missing one."""
    gone: list[dict[str, Any]] = [
        {"expires_at": in_past(seconds=1)},
        {"max_reads": 1, "reads": 1},
        {"pending": True},
        {"deleted_at": in_past(hours=2), "purge_at": in_past(hours=1)},
        {"deleted_at": in_past(hours=1), "purge_at": in_future(days=1)},
    ]
    for fields in gone:
        with unswept(stored):
            put(stored, key, name="a/b", **fields)
            for principal in (ALICE, EVE):
                with pytest.raises(SecretNotFoundError):
                    remove(principal)
            assert stored.secrets.count_documents({}) == 1
        stored.secrets.delete_many({})
