"""Every call leaves its entry, whatever its result; without the entry, nothing is returned or changed."""

from collections.abc import Callable
from time import sleep
from typing import Any

import pytest

from tests.support.lifecycle import (
    CALLS,
    EVE,
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
from tests.support.trail import block_trail, restore_trail
from vault.core.crypto import MasterKey
from vault.core.documents import AuditEntry
from vault.core.documents.secret import SecretVersion
from vault.core.secrets.lease import SecretLease

#: The calls that change a secret, with their fields.
CHANGES: dict[str, tuple[str, dict[str, Any]]] = {
    **{action: (action, CALLS[action]) for action in ("update", "delete", "restore")},
    "purge": ("purge", {}),
    "purge of a version": ("purge", {"version": 1}),
    "labels": ("update-metadata", {"labels": {"a": "b"}}),
    "expiry": ("update-metadata", {"ttl_seconds": 60}),
}
EVERY = {"fetch": ("fetch", {}), "describe": ("describe", {}), **CHANGES}
#: The details of an entry that every call of a kind has.
ASKED = {"purge of a version": {"version": 1}}


@pytest.fixture
def there(alice: Caller, stored: Stored, key: MasterKey) -> Callable[[str], str]:
    """Return a function that creates a secret without an entry, for the call under test."""
    alice("list")
    stored.audit_logs.delete_many({})

    def make(call: str, **fields: Any) -> str:
        if call in ("restore", "purge"):
            fields |= {"deleted_at": in_past(hours=1), "purge_at": in_future(hours=1)}
        if call == "purge of a version":
            older = SecretVersion(version=1, envelope=b"older", key_id=key.id, created_at=in_past(days=2))
            fields |= {"version": 2, "older": [older]}
        return put(stored, key, **fields)

    return make


def entry(action: str, status: str, secret_id: str | None = None, **details: Any) -> dict[str, Any]:
    recorded = {"action": action.replace("-", "_"), "status": status, "principal": "alice"}
    recorded |= {"secret_id": secret_id} if secret_id else {}
    return recorded | ({"details": details} if details else {})


def named(name: str) -> dict[str, Any]:
    return {"name": name, "namespace": "default"}


@pytest.mark.parametrize("by", ["id", "name"])
@pytest.mark.parametrize("call", [call for call in EVERY if call != "expiry"])
def test_a_success_is_one_entry(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str, by: str
) -> None:
    """Each successful call leaves one entry with the ID and the name, whichever was given."""
    secret_id = there(call, name="a/b")
    which = {"name": "a/b"} if by == "name" else {"secret_id": secret_id}
    action, fields = EVERY[call]
    alice(action, **which, **fields)
    details = {"version": 2} if call == "update" else ASKED.get(call, {})
    assert trail(stored) == [entry(action, "success", secret_id, **named("a/b"), **details)]


@pytest.mark.usefixtures("there")
def test_the_entry_of_a_create_has_its_limits(alice: Caller, stored: Stored) -> None:
    """The entry of a create has the secret's name and limits, and neither value nor labels."""
    secret_id = alice.create(name="a", max_reads=2, ttl_seconds=60, labels={"k": "v"})
    expires_at = document(stored, secret_id)["expires_at"].isoformat(timespec="milliseconds")
    limits = {**named("a"), "max_reads": 2, "expires_at": expires_at.replace("+00:00", "Z")}
    assert trail(stored) == [entry("create", "success", secret_id, **limits)]


def test_the_entry_of_a_fetch_has_its_version(
    alice: Caller, stored: Stored, there: Callable[..., str]
) -> None:
    """The entry of a fetch names the released version, if the secret has several."""
    secret_id = there("fetch")
    alice.fetch(secret_id)
    alice.update(secret_id, b"two")
    alice.fetch(secret_id)
    alice.fetch(secret_id, version=1)
    assert trail(stored) == [
        entry("fetch", "success", secret_id),
        entry("update", "success", secret_id, version=2),
        entry("fetch", "success", secret_id, version=2),
        entry("fetch", "success", secret_id, version=1),
    ]


def test_a_list_is_one_entry(alice: Caller, stored: Stored, there: Callable[..., str]) -> None:
    """Each list leaves one entry."""
    there("fetch")
    alice("list", name_prefix="a")
    assert trail(stored) == [entry("list", "success")]


@pytest.mark.parametrize("by", ["secret_id", "name"])
@pytest.mark.parametrize("call", EVERY)
def test_a_404_is_one_entry(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str, by: str
) -> None:
    """A request for a missing secret is recorded with the requested ID or name."""
    there("fetch")
    action, fields = EVERY[call]
    which = UNKNOWN_ID if by == "secret_id" else "not/there"
    assert alice.refused(action, **{by: which}, **fields) == 404
    about = (UNKNOWN_ID, {}) if by == "secret_id" else (None, named("not/there"))
    assert trail(stored) == [entry(action, "not_found", about[0], **about[1], **ASKED.get(call, {}))]


@pytest.mark.parametrize("call", EVERY)
def test_a_value_that_does_not_verify_is_one_entry(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str
) -> None:
    """A tampered secret is recorded as an error where its value is needed, and can still be deleted."""
    secret_id = there(call)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"version": 7}})
    action, fields = EVERY[call]
    reply = alice.post(action, {"secret_id": secret_id, **fields})
    reads = call not in ("delete", "restore", "purge", "purge of a version")
    assert reply.status_code == (500 if reads else 200)
    [recorded] = trail(stored)
    expected = entry(action, "error" if reads else "success")
    assert recorded.items() >= expected.items()


@pytest.mark.parametrize(
    ("body", "status"),
    [({"expected_version": 5}, 409), ({"secret": b64(bytes(65_537))}, 413), ({"secret": "YQ"}, 400)],
    ids=["409", "413", "400"],
)
def test_a_refused_update_is_one_entry(
    alice: Caller, stored: Stored, there: Callable[..., str], body: dict[str, Any], status: int
) -> None:
    """A refused update is recorded as refused, and no other entry claims a new version."""
    secret_id = there("update")
    assert alice.refused("update", **{"secret_id": secret_id, "secret": "YQ==", **body}) == status
    [recorded] = trail(stored)
    assert (recorded["action"], recorded["status"]) == ("update", "bad_request")
    assert "details" not in recorded
    assert recorded.get("secret_id") == (None if status == 400 else secret_id)


@pytest.mark.parametrize("call", CHANGES)
def test_a_busy_secret_is_one_entry(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that times out waiting for another change returns 503 and is recorded as an error."""
    monkeypatch.setattr("vault.common.retries._TIMEOUT_SECONDS", 0.1)
    secret_id = there(call)
    assert SecretLease.take(secret_id)
    before = document(stored, secret_id)
    action, fields = CHANGES[call]
    reply = alice.post(action, {"secret_id": secret_id, **fields})
    assert reply.status_code == 503
    assert reply.headers["Retry-After"]
    assert trail(stored) == [entry(action, "error", secret_id, **ASKED.get(call, {}))]
    assert document(stored, secret_id) == before


@pytest.mark.promise(3)
@pytest.mark.parametrize("call", EVERY)
def test_without_its_entry_nothing_is_released_or_changed(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str
) -> None:
    """While the trail cannot be written, each call is 503, and the secret is unchanged and has no lease."""
    action, fields = EVERY[call]
    secret_id = there(call, value=b"a value of others", name="a/b", max_reads=3, labels=["a=b"])
    before = document(stored, secret_id)
    block_trail(stored)
    reply = alice.post(action, {"name": "a/b", **fields})
    assert reply.status_code == 503
    for text in (b64(b"a value of others"), "2", "labels", "version"):
        assert f'"{text}"'.encode() not in reply.data
    after = document(stored, secret_id)
    assert after.pop("reads", 0) == 0
    assert after == before
    restore_trail(stored)
    alice(action, name="a/b", **fields)


@pytest.mark.promise(3)
def test_a_list_is_not_answered_without_its_entry(
    alice: Caller, stored: Stored, there: Callable[..., str]
) -> None:
    """While the trail cannot be written, no list is returned."""
    secret_id = there("fetch", name="a/b")
    block_trail(stored)
    reply = alice.post("list", {})
    assert reply.status_code == 503
    assert secret_id.encode() not in reply.data
    assert b"a/b" not in reply.data


def test_an_unreleased_read_is_not_counted(alice: Caller, stored: Stored, there: Callable[..., str]) -> None:
    """A read whose entry cannot be written does not count and causes no early purge."""
    secret_id = there("fetch", max_reads=2, expires_at=in_future(hours=1), purge_at=in_future(hours=1))
    before = document(stored, secret_id)
    for reads in (0, 1):
        block_trail(stored)
        for _ in range(3):
            assert alice.refused("fetch", secret_id=secret_id) == 503
        assert document(stored, secret_id) == before | ({"reads": reads} if reads else {})
        restore_trail(stored)
        assert alice.fetch(secret_id) == b64(b"value")
    assert alice.refused("fetch", secret_id=secret_id) == 404


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "options", [{}, {"name": "a/b"}, {"name": "a/b", "max_reads": 1, "ttl_seconds": 60}], ids=str
)
@pytest.mark.usefixtures("there")
def test_a_create_without_its_entry_leaves_nothing(
    alice: Caller, stored: Stored, options: dict[str, Any]
) -> None:
    """A secret whose create cannot be recorded does not exist, and its name is free immediately."""
    block_trail(stored)
    assert alice.refused("create", secret="YQ==", **options) == 503
    assert stored.secrets.count_documents({}) == 0
    restore_trail(stored)
    secret_id = alice.create(**options)
    assert alice.fetch(secret_id) == b64(b"value")


@pytest.mark.promise(3)
@pytest.mark.parametrize("options", [{}, {"name": "a/b"}], ids=["plain", "named"])
@pytest.mark.usefixtures("there")
def test_no_secret_is_readable_before_its_entry_is_durable(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """While the entry of a create is being written, its secret is unreadable, so a crash leaves none."""
    store = AuditEntry.store
    readable: list[int] = []

    def slowly(*entries_and_effect: Any) -> None:
        # Enough time for a write that is in progress at the same moment.
        sleep(0.3)
        readable.append(stored.secrets.count_documents({"pending": None}))
        store(*entries_and_effect)

    with monkeypatch.context() as slow:
        slow.setattr(AuditEntry, "store", slowly)
        secret_id = alice.create(**options)
    assert readable == [0]
    assert alice.fetch(secret_id) == b64(b"value")


@pytest.mark.parametrize("call", CHANGES)
def test_a_refusal_ends_the_lease(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str
) -> None:
    """After any refused change, unforeseen values included, the next change need not wait."""
    action, body = CHANGES[call]
    for fields in (
        {"expires_at": in_past(hours=1)},
        {"expires_at": "never"},
        {"pending": True},
        {"version": 5},
        {"max_reads": 5, "reads": "many"},
        {"deleted_at": "yes", "purge_at": "never"},
    ):
        secret_id = there(call, max_reads=5)
        stored.secrets.update_one({"_id": secret_id}, {"$set": fields})
        alice.post(action, {"secret_id": secret_id, **body})
        found = stored.secrets.find_one({"_id": secret_id})
        assert found is None or "lease" not in found
    foreign = there(call, namespace=EVE.namespace)
    assert alice.refused(action, secret_id=foreign, **body) == 404
    assert "lease" not in document(stored, foreign)


@pytest.mark.usefixtures("without_transactions")
@pytest.mark.parametrize("call", CHANGES)
def test_a_change_that_lost_its_lease_is_not_applied(
    alice: Caller, stored: Stored, there: Callable[..., str], call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose lease ended is refused, and changes by others in the meantime stay."""
    secret_id = there(call)
    take = SecretLease.take

    def overtaken(which: str) -> SecretLease | None:
        lease = take(which)
        assert lease
        stored.secrets.update_one({"_id": which}, {"$set": {"lease.until": in_past(seconds=1)}})
        other = take(which)
        assert other
        stored.secrets.update_one(
            {"_id": which}, {"$set": {"labels": ["changed=meanwhile"]}, "$unset": {"lease": True}}
        )
        return lease

    monkeypatch.setattr(SecretLease, "take", overtaken)
    before = document(stored, secret_id)
    action, fields = CHANGES[call]
    assert alice.refused(action, secret_id=secret_id, **fields) == 503
    assert document(stored, secret_id) == {**before, "labels": ["changed=meanwhile"]}
