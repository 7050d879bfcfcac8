"""MongoDB fails during an operation: the answer is 503, and the stored state matches the answer."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from tests.conftest import running_app
from tests.support.lifecycle import ALICE, CALLS, Caller, b64, document, in_future, in_past, put, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import AuditEntry, Secret
from vault.core.documents.stored_secret import StoredSecret
from vault.core.secrets import read_limits
from vault.core.secrets.lease import SecretLease
from vault.core.secrets.read_limits import HeldRead
from vault.core.secrets.store import SecretStore

NAMED = {"secret": b64(b"value"), "name": "a/b"}


def gone(*_: object, **__: object) -> None:
    raise AutoReconnect("gone")


def unavailable(*_: object) -> None:
    raise StorageUnavailableError("gone")


def fail(patch: pytest.MonkeyPatch, collection: str, *methods: str) -> None:
    """Make *methods* of a MongoDB collection fail."""

    def failing(method: str) -> Callable[..., Any]:
        original = getattr(Collection, method)

        def call(self: Collection[Any], *args: Any, **options: Any) -> Any:
            if self.name != collection:
                return original(self, *args, **options)
            return gone()

        return call

    for method in methods:
        patch.setattr(Collection, method, failing(method))


@pytest.mark.usefixtures("without_transactions")
def test_a_secret_recorded_too_late_is_503(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that MongoDB removed while its entry was written is not reported as created."""
    publish = SecretStore.publish

    def late(self: SecretStore, secrets: Any) -> None:
        stored.secrets.delete_many({})
        publish(self, secrets)

    monkeypatch.setattr(SecretStore, "publish", late)
    assert alice.refused("create", **NAMED) == 503


@pytest.mark.parametrize("options", [{}, {"name": "a/b"}], ids=["plain", "named"])
def test_a_secret_that_cannot_be_withdrawn_is_503(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, options: dict[str, str]
) -> None:
    """If the trail and MongoDB fail together, the trail's answer is given, and the secret is not found."""
    alice("list")
    block_trail(stored)
    fail(monkeypatch, "secrets", "bulk_write")
    reply = alice.post("create", {"secret": "YQ==", **options})
    assert reply.status_code == 503
    assert b"audit trail" in reply.data
    restore_trail(stored)
    if options:
        assert alice.refused("fetch", **options) == 404


@pytest.mark.parametrize(
    ("action", "recovery_days", "end_fails"),
    [
        ("update", "0", False),
        ("update", "0", True),
        ("delete", "0", False),
        ("delete", "1", False),
        ("restore", "1", False),
    ],
)
def test_a_change_that_mongodb_did_not_make_is_503(
    environment: dict[str, str],
    stored: Stored,
    key: MasterKey,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    end_fails: bool,
    recovery_days: str,
) -> None:
    """A change that fails after its entry is reported as failed, has one entry, and can be retried."""
    fields = {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)} if action == "restore" else {}
    secret_id = put(stored, key, **fields)
    before = document(stored, secret_id)
    with running_app({**environment, "DELETE_RECOVERY_DAYS": recovery_days}) as app:
        caller = Caller(app.test_client(), monkeypatch)
        with monkeypatch.context() as broken:
            broken.setattr(AuditEntry, "has_transactions", lambda: False)
            broken.setattr(Secret, "apply_all", gone)
            if end_fails:
                broken.setattr(SecretLease, "end", gone)
            assert caller.refused(action, secret_id=secret_id, **CALLS[action]) == 503
        after = document(stored, secret_id)
        assert ("lease" in after) == end_fails
        assert {name: value for name, value in after.items() if name != "lease"} == before
        assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [(action, "success")]
        stored.secrets.update_one({"_id": secret_id}, {"$unset": {"lease": ""}})
        caller(action, secret_id=secret_id, **CALLS[action])


@pytest.mark.usefixtures("without_transactions")
@pytest.mark.parametrize("action", ["update", "delete", "restore"])
def test_a_secret_removed_meanwhile_is_404(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """A secret removed between look-up and change is 404 and not created again."""
    secret_id = put(stored, key)
    take = SecretLease.take

    def late(which: str) -> SecretLease | None:
        stored.secrets.delete_one({"_id": which})
        return take(which)

    monkeypatch.setattr(SecretLease, "take", late)
    assert alice.refused(action, secret_id=secret_id, **CALLS[action]) == 404
    assert stored.secrets.count_documents({}) == 0
    assert [(entry["action"], entry["status"]) for entry in trail(stored)] == [(action, "not_found")]


def test_a_read_that_cannot_be_counted_is_503(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An uncounted read of a limited secret is recorded, not released, and not lost."""
    secret_id = alice.create(max_reads=1)
    with monkeypatch.context() as broken:
        broken.setattr(read_limits, "commit_reads", unavailable)
        assert alice.refused("fetch", secret_id=secret_id) == 503
    assert [entry["status"] for entry in trail(stored)] == ["success", "success"]
    assert alice.fetch(secret_id) == b64(b"value")


def test_a_read_reserved_without_success_is_free_again(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the trail and MongoDB fail together, a read stays reserved for a while and is not lost."""
    secret_id = alice.create(max_reads=2)
    block_trail(stored)
    monkeypatch.setattr(read_limits, "release_reads", unavailable)
    assert alice.refused("fetch", secret_id=secret_id) == 503
    restore_trail(stored)
    assert alice.fetch(secret_id) == b64(b"value")
    assert alice.refused("fetch", secret_id=secret_id) == 404
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"held_reads.0.until": in_past(seconds=1)}})
    assert alice.fetch(secret_id) == b64(b"value")
    assert alice.refused("fetch", secret_id=secret_id) == 404


def test_a_read_reserved_too_long_is_503(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read whose reservation has expired, so that another may have it, is not released."""
    secret_id = alice.create(max_reads=1)
    count = read_limits.commit_reads

    def late(reads: Sequence[HeldRead]) -> bool:
        stored.secrets.update_many({}, {"$unset": {"held_reads": ""}})
        return count(reads)

    with monkeypatch.context() as slow:
        slow.setattr(read_limits, "commit_reads", late)
        assert alice.refused("fetch", secret_id=secret_id) == 503
    assert alice.fetch(secret_id) == b64(b"value")


@pytest.mark.parametrize("step", ["complete", "abandon"])
def test_an_interrupted_idempotent_create_can_be_repeated(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """If any step with an idempotency key fails, the answer is 503, and a retry creates one secret."""
    body, header = {"secret": "YQ=="}, {"Idempotency-Key": "key"}
    alice("list")
    with monkeypatch.context() as broken:
        fail(broken, "idempotency_keys", "update_one", "delete_one")
        if step == "abandon":
            block_trail(stored)
        assert alice.post("create", body, **header).status_code == 503
    restore_trail(stored)
    stored.idempotency_keys.update_one({}, {"$set": {"held_until": in_past(seconds=1)}})
    replies = [alice.post("create", body, **header) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [200, 200]
    assert replies[0].json == replies[1].json
    assert [found["_id"] for found in stored.secrets.find()] == [replies[0].json["secret_id"]]


def test_a_take_over_that_fails_leaves_the_key_to_the_next_request(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a killed holder's secret cannot be removed, the reply is 503, and the next create removes it."""
    body, header = {"secret": "YQ=="}, {"Idempotency-Key": "key"}
    alice.post("create", body, **header)
    stored.idempotency_keys.update_one({}, {"$set": {"stored": False, "held_until": in_past(seconds=1)}})
    with monkeypatch.context() as broken:
        fail(broken, "secrets", "bulk_write")
        assert alice.post("create", body, **header).status_code == 503
    stored.idempotency_keys.update_one({}, {"$set": {"held_until": in_past(seconds=1)}})
    reply = alice.post("create", body, **header)
    assert reply.status_code == 200
    assert [found["_id"] for found in stored.secrets.find()] == [reply.json["secret_id"]]


def test_a_slow_holder_that_cannot_withdraw_is_503(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that lost its reservation returns 503, with or without MongoDB."""
    store = SecretStore.create

    def slowly(self: SecretStore, outcomes: Any, secrets: Any) -> bool:
        is_stored = store(self, outcomes, secrets)
        stored.idempotency_keys.update_one({}, {"$set": {"token": "of another request"}})
        return is_stored

    monkeypatch.setattr(SecretStore, "create", slowly)
    fail(monkeypatch, "secrets", "bulk_write")
    assert alice.refused("create", headers={"Idempotency-Key": "key"}, secret="YQ==") == 503


def test_without_an_audit_trail_everything_works(
    environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With auditing off every call returns the same answer, and the last fetch is unknown."""
    with running_app({**environment, "AUDIT_ENABLED": "false", "DELETE_RECOVERY_DAYS": "1"}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        secret_id = caller.create(name="a/b", max_reads=2)
        caller.fetch(secret_id)
        caller.update(secret_id, b"two")
        assert caller("describe", name="a/b")["last_fetched_at"] is None
        caller("delete", name="a/b")
        caller("restore", name="a/b")
        assert len(caller("list")["secrets"]) == 1
    assert stored.audit_logs.count_documents({}) == 0


def test_the_largest_secret_with_all_its_versions_gets_a_new_expiry(
    environment: dict[str, str], stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret with as many and as large versions as settings allow is stored, and re-encrypted at once."""
    size, count = 1_048_000, 15
    with running_app({**environment, "MAX_SECRET_BYTES": str(size), "MAX_VERSIONS": str(count)}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        secret_id = caller.create(bytes(size), name="a/b", labels={"k": "v"})
        caller.update(secret_id, *[bytes(size)] * (count - 1))
        caller("update-metadata", secret_id=secret_id, ttl_seconds=60)
        assert (
            caller.fetch(secret_id, version=1) == caller.fetch(secret_id, version=count) == b64(bytes(size))
        )
    found = StoredSecret(document(stored, secret_id))
    assert len(found.versions) == count
    assert all(found.decrypt_version(version, Keyring(key)) for version in found.versions)
