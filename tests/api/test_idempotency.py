"""Creates with an `Idempotency-Key` over HTTP."""

import json
from typing import Any

import pytest
from bson import encode
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.lifecycle import ALICE, BOB, EVE, Caller, b64, in_future, in_past, trail, unswept
from tests.support.problems import fields_of
from tests.support.rotation import Stored, new_key, settings
from tests.support.trail import block_trail, restore_trail
from vault.app import CLOSE
from vault.core.principal import ANONYMOUS, Principal
from vault.crypto import MasterKey
from vault.secrets.store import SecretStore

LONG = "8e03978e-40d5-43dd-bc93-6894a57f9324"
VALUE = b"the value nobody may find"
BODY = {"secret": b64(VALUE), "labels": {"a": "1", "b": "2"}, "ttl_seconds": 3_600}
NAMED = {**BODY, "name": "billing/db-password"}


@pytest.fixture(autouse=True)
def _prepared(alice: Caller) -> None:
    # Indexes are created with the first request.
    alice.refused("fetch", secret_id="550e8400-e29b-41d4-a716-446655440000")


def create(caller: Caller, body: object = BODY, key: str = "key-1") -> TestResponse:
    return caller.post("create", body, **{"Idempotency-Key": key})


def created(caller: Caller, body: object = BODY, key: str = "key-1") -> str:
    reply = create(caller, body, key)
    assert reply.status_code == 200, reply.data
    return str(reply.json["secret_id"])


def record(stored: Stored) -> dict[str, Any]:
    found = stored.idempotency_keys.find_one()
    assert found is not None
    return found


def lapse(stored: Stored, **fields: Any) -> None:
    """Leave the record as a killed holder does, longer ago than a holder's time limit."""
    stored.idempotency_keys.update_one(
        {}, {"$set": {"stored": False, "held_until": in_past(seconds=1), **fields}}
    )


def creations(stored: Stored) -> list[dict[str, Any]]:
    return [entry for entry in trail(stored) if entry["action"] == "create"]


@pytest.mark.parametrize("body", [BODY, NAMED], ids=["plain", "named"])
def test_a_repeated_create_returns_the_same_id(alice: Caller, stored: Stored, body: dict[str, Any]) -> None:
    """A create repeated with its key creates nothing, returns the same ID, and is recorded as repeated."""
    secret_id = created(alice, body)
    assert [created(alice, body) for _ in range(3)] == [secret_id] * 3
    assert stored.secrets.count_documents({}) == 1
    first, *repeated = creations(stored)
    assert "repeated" not in first.get("details", {})
    for entry in repeated:
        assert (entry["status"], entry["secret_id"]) == ("success", secret_id)
        assert entry["details"]["repeated"] is True


def test_the_order_of_a_body_does_not_matter(alice: Caller) -> None:
    """The same body in another order, labels included, or with explicit defaults is the same request."""
    secret_id = created(alice)
    for body in (
        dict(reversed(BODY.items())),
        {**BODY, "labels": dict(reversed(BODY["labels"].items()))},  # type: ignore[attr-defined]
        {**BODY, "max_reads": None},
    ):
        assert created(alice, body) == secret_id


def test_another_body_is_422(alice: Caller, stored: Stored) -> None:
    """The key of one body is refused for another, nothing is created, and the first body still works."""
    for changed in [
        {"secret": "YQ=="},
        {"labels": {"a": "2", "b": "1"}},
        {"ttl_seconds": 3_601},
        {"max_reads": 1},
        {"name": "other"},
    ]:
        secret_id = created(alice)
        before = record(stored)
        reply = create(alice, {**BODY, **changed})
        assert reply.status_code == 422, changed
        assert (
            reply.get_json(force=True)["detail"]
            == "This Idempotency-Key was already used with a different body."
        ), changed
        assert creations(stored)[-1]["status"] == "bad_request", changed
        assert "secret_id" not in creations(stored)[-1], changed
        assert record(stored) == before, changed
        assert created(alice) == secret_id, changed
        assert stored.secrets.count_documents({}) == 1, changed


def test_each_principal_has_its_own_keys(alice: Caller) -> None:
    """A key belongs to one principal; other namespaces and anonymous callers cannot use it."""
    nobody_s_name = Principal(name=ANONYMOUS.name, scopes=ALICE.scopes)
    alike = [
        Principal(name=name, namespace=space, scopes=ALICE.scopes)
        for name, space in (("a", "bc"), ("ab", "c"))
    ]
    everybody = [ALICE, BOB, EVE, ANONYMOUS, nobody_s_name, *alike]
    made = {created(alice.become(principal), BODY, LONG) for principal in everybody}
    assert len(made) == len(everybody)
    assert {created(alice.become(principal), BODY, LONG) for principal in everybody} == made
    assert created(alice, BODY, f"{LONG}-2") not in made


@pytest.mark.promise("names")
def test_neither_key_nor_body_is_stored(alice: Caller, stored: Stored) -> None:
    """The record of a create contains neither key nor body, nor a hash that others could compute."""
    key = "a-key-nobody-may-find"
    created(alice, BODY, key)
    kept = encode(record(stored))
    for form in (VALUE, b64(VALUE).encode(), VALUE.hex().encode(), key.encode(), json.dumps(BODY).encode()):
        assert form not in kept


def test_a_key_expires_after_a_day(alice: Caller, stored: Stored) -> None:
    """A key expires after 24 hours, even if MongoDB has not yet removed it, and not earlier."""
    first = created(alice)
    stored.idempotency_keys.update_one({}, {"$set": {"created_at": in_past(hours=23, minutes=59)}})
    assert created(alice) == first
    # Postpones the sweep: the service itself must ignore an expired record.
    with unswept(stored):
        stored.idempotency_keys.update_one({}, {"$set": {"created_at": in_past(hours=24, seconds=1)}})
        second = created(alice, {"secret": "YQ=="})
        assert second != first
        assert created(alice, {"secret": "YQ=="}) == second
        assert record(stored)["created_at"] > in_past(minutes=1)
    assert stored.secrets.count_documents({}) == 2


def test_mongodb_removes_expired_keys(alice: Caller, stored: Stored) -> None:
    """MongoDB removes each record a day after it was created."""
    created(alice)
    [index] = [
        index
        for index in stored.idempotency_keys.index_information().values()
        if "expireAfterSeconds" in index
    ]
    assert (index["key"], index["expireAfterSeconds"]) == ([("created_at", 1)], 86_400)


def test_another_body_in_between_hides_nothing(alice: Caller, stored: Stored) -> None:
    """Another body with a killed holder's key is refused, and the right body still finds its secret."""
    left = created(alice, NAMED)
    lapse(stored)
    assert create(alice, {**NAMED, "secret": "YQ=="}).status_code == 422
    assert created(alice, NAMED) == left


def test_a_second_killed_holder_hides_nothing(alice: Caller, stored: Stored) -> None:
    """If the retry is killed too, a secret published by the first holder is still found."""
    left = created(alice, NAMED)
    lapse(stored)
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(SecretStore, "withdraw", _dies)
        assert create(alice, NAMED).status_code == 500
    lapse(stored)
    assert created(alice, NAMED) == left


def _dies(*_: object) -> None:
    raise RuntimeError("killed here")


def test_a_concurrent_create_waits_for_the_holder(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While another request creates with the key, a create waits, and after a timeout returns 503."""
    monkeypatch.setattr("vault.core.retries._TIMEOUT_SECONDS", 0.2)
    created(alice)
    lapse(stored, held_until=in_future(seconds=60))
    before = record(stored)
    reply = create(alice)
    assert reply.status_code == 503
    assert reply.headers["Retry-After"]
    assert creations(stored)[-1]["status"] == "error"
    assert record(stored) == before
    assert stored.secrets.count_documents({}) == 1


@pytest.mark.parametrize("body", [BODY, NAMED], ids=["plain", "named"])
def test_a_slow_holder_destroys_nothing(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    """A holder that exceeds its time limit is refused, and the other request's secret stays unchanged."""
    returned: list[str] = []
    step = "hold_names" if "name" in body else "record"
    store = getattr(SecretStore, step)

    def slowly(self: SecretStore, *arguments: Any) -> Any:
        monkeypatch.setattr(SecretStore, step, store)
        lapse(stored)
        returned.append(created(alice, body))
        return store(self, *arguments)

    monkeypatch.setattr(SecretStore, step, slowly)
    assert create(alice, body).status_code == (409 if "name" in body else 503)
    assert created(alice, body) == returned[0]
    assert alice.fetch(returned[0]) == b64(VALUE)
    # The slow holder leaves nothing: no caller received its ID.
    assert [found["_id"] for found in stored.secrets.find()] == returned


def test_a_late_secret_of_a_slow_holder_is_found(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a slow holder publishes after the retry failed, the third attempt returns that secret."""
    store = SecretStore.record
    statuses: list[int] = []

    def slowly(self: SecretStore, outcomes: Any, secrets: Any) -> None:
        monkeypatch.setattr(SecretStore, "record", store)
        store(self, outcomes, secrets)
        lapse(stored)
        with monkeypatch.context() as early:
            early.setattr(SecretStore, "withdraw", lambda *_: set())
            statuses.append(create(alice, NAMED).status_code)

    monkeypatch.setattr(SecretStore, "record", slowly)
    statuses.append(create(alice, NAMED).status_code)
    assert statuses == [409, 503]
    [found] = stored.secrets.find()
    assert created(alice, NAMED) == found["_id"]


def test_any_number_of_failed_retries_loses_nothing(alice: Caller, stored: Stored) -> None:
    """Any number of retries that cannot be recorded loses nothing that a killed holder published."""
    left = created(alice, NAMED)
    lapse(stored)
    block_trail(stored)
    for _ in range(51):
        assert create(alice, NAMED).status_code == 503
    restore_trail(stored)
    assert created(alice, NAMED) == left
    assert len(record(stored)["former"]) <= 50


def test_a_repeated_create_is_not_answered_without_its_entry(alice: Caller, stored: Stored) -> None:
    """While the trail cannot be written, a repeated create returns no ID and keeps the record."""
    secret_id = created(alice)
    before = record(stored)
    block_trail(stored)
    reply = create(alice)
    assert reply.status_code == 503
    assert secret_id.encode() not in reply.data
    restore_trail(stored)
    assert record(stored) == before
    assert created(alice) == secret_id


def test_a_refused_create_can_be_repeated(alice: Caller) -> None:
    """A create refused for a taken name works with the same key once the name is free."""
    taken = alice.create(name=NAMED["name"])
    assert create(alice, NAMED).status_code == 409
    alice("delete", secret_id=taken)
    secret_id = created(alice, NAMED)
    assert created(alice, NAMED) == secret_id


def test_after_a_storage_failure_the_key_is_free(alice: Caller, stored: Stored) -> None:
    """A create that MongoDB refused works with the same key once MongoDB accepts it."""
    stored.command("collMod", "secrets", validator={"never": {"$exists": True}})
    assert create(alice).status_code == 503
    stored.command("collMod", "secrets", validator={})
    assert created(alice) == created(alice)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_key_survives_a_rotation(
    app: Flask, mongo_uri: str, stored: Stored, key: MasterKey, dropped: bool, alice: Caller
) -> None:
    """With a new master key and the old one as a fallback, the same request returns the same ID.

    Once the old key is dropped, the body can no longer be compared: the request is refused, never repeated.
    """
    secret_id = created(alice)
    # With another key, no application serves next to it, and its trail would record the other's attempts.
    app.extensions[CLOSE]()
    if dropped:
        # Nothing needs the old key any more, including the trail.
        for name in ("secrets", "keys", "audit_logs", "audit_keys"):
            stored[name].delete_many({})
    keys = (new_key(),) if dropped else (new_key(), key)
    with running_app(settings(mongo_uri, *keys)) as other, pytest.MonkeyPatch.context() as patch:
        caller = Caller(other.test_client(), patch).become(ALICE)
        if dropped:
            assert create(caller).status_code == 422
        else:
            assert created(caller) == secret_id
            assert create(caller, {"secret": "YQ=="}).status_code == 422


def test_any_visible_ascii_text_is_a_valid_key(alice: Caller) -> None:
    """Up to 255 visible ASCII characters are a valid key."""
    for key in ["!", "k" * 255, 'a,b;c="d"']:
        assert created(alice, BODY, key) == created(alice, BODY, key), key


def test_any_other_header_is_422(alice: Caller, stored: Stored) -> None:
    """An empty or too long key, or one with spaces or other characters, is refused by the header's name."""
    for key in ["", "k" * 256, "a b", "\u00a0"]:
        reply = create(alice, BODY, key)
        assert reply.status_code == 422, key
        assert fields_of(reply.json) == ["Idempotency-Key"], key
        assert stored.secrets.count_documents({}) == 0, key
        assert stored.idempotency_keys.count_documents({}) == 0, key
        assert creations(stored)[-1]["status"] == "bad_request", key


def test_an_invalid_body_uses_up_no_key(alice: Caller, stored: Stored) -> None:
    """The key of an invalid body stays free for a valid one."""
    for secret, status in (("YQ", 400), (b64(bytes(65_537)), 413), (5, 422)):
        assert create(alice, {"secret": secret}).status_code == status
    assert stored.idempotency_keys.count_documents({}) == 0
    created(alice)


def test_an_anonymous_caller_s_key_can_be_long(anyone: Caller) -> None:
    """Without a credential, a key of at least 32 characters, such as a UUID without hyphens, works."""
    key = LONG.replace("-", "")
    anyone.become(ANONYMOUS)
    assert created(anyone, BODY, key) == created(anyone, BODY, key)


@pytest.mark.promise("names")
def test_an_anonymous_caller_s_key_cannot_be_short(anyone: Caller, stored: Stored) -> None:
    """Anonymous callers share one scope of keys, so a short key is refused, and recorded."""
    reply = create(anyone.become(ANONYMOUS), BODY, "k" * 31)
    assert reply.status_code == 422
    assert "at least 32 characters" in reply.get_json(force=True)["detail"]
    assert stored.secrets.count_documents({}) == stored.idempotency_keys.count_documents({}) == 0
    assert creations(stored)[-1]["status"] == "bad_request"


@pytest.mark.promise("names")
@pytest.mark.parametrize("seal", ["as it was", "of another key", "of the reservation", "of another type"])
def test_a_swapped_id_is_not_returned(alice: Caller, stored: Stored, seal: str) -> None:
    """If a record contains another secret's ID, the repeated create fails and returns no ID."""
    created(alice)
    other = created(alice, BODY, "key-2")
    first, second = stored.idempotency_keys.find().sort("created_at")
    seals = {
        "as it was": first["stored_seal"],
        "of another key": second["stored_seal"],
        "of the reservation": second["reserved_seals"][0],
        "of another type": {"$gt": ""},
    }
    change = {"secret_id": other, "stored_seal": seals[seal]}
    stored.idempotency_keys.update_one({"_id": first["_id"]}, {"$set": change})
    reply = create(alice)
    assert reply.status_code == 500
    assert other.encode() not in reply.data
    assert created(alice, BODY, "key-2") == other


@pytest.mark.parametrize("junk", [None, {"a": 1}])
@pytest.mark.parametrize(
    ("field", "status"), [("key_id", 422), ("body_mac", 422), ("secret_id", 500), ("stored_seal", 500)]
)
def test_a_record_with_other_types_is_refused(
    alice: Caller, stored: Stored, field: str, status: int, junk: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A record with fields of other types is refused as another body or as altered; it is no 500 defect."""
    created(alice)
    stored.idempotency_keys.update_one({}, {"$set": {field: junk}})
    reply = create(alice)
    # Without a hash, it is an incomplete one, and the secret is created again.
    is_incomplete = junk is None and status != 500
    assert reply.status_code == (200 if is_incomplete else status)
    assert "TypeError" not in str([vars(line) for line in caplog.records])


def test_an_earlier_release_can_read_a_record(alice: Caller, stored: Stored) -> None:
    """In a rolling update, every field that earlier releases read is as they wrote it."""
    secret_id = created(alice)
    found = record(stored)
    assert set(found) == {
        *("_id", "created_at", "key_id", "body_mac", "stored", "token", "secret_id", "former", "held_until"),
        *("stored_seal", "reserved_seals"),
    }
    assert (found["stored"], found["secret_id"], found["former"]) == (True, secret_id, [])


@pytest.mark.promise("names")
@pytest.mark.parametrize("former", ["plain", "named", "operator"])
def test_a_forged_former_holder_changes_nothing(alice: Caller, stored: Stored, former: str) -> None:
    """A secret that was not created with the key is neither returned for it nor removed."""
    plain, named = alice.create(b"other"), alice.create(b"other", name="other")
    created(alice)
    forged: dict[str, Any] = {"plain": plain, "named": named, "operator": {"$gt": ""}}
    lapse(stored, secret_id=forged[former])
    secret_id = created(alice)
    assert secret_id not in (plain, named)
    assert {found["_id"] for found in stored.secrets.find()} >= {plain, named, secret_id}


@pytest.mark.promise("names")
def test_a_forged_former_holder_does_not_take_over_a_name(alice: Caller, stored: Stored) -> None:
    """A create with a taken name is refused, whatever its record contains."""
    other = alice.create(b"other", name=NAMED["name"])
    created(alice)
    stored.idempotency_keys.delete_many({})
    assert create(alice, NAMED).status_code == 409
    stored.secrets.update_one({"_id": other}, {"$unset": {"name": ""}})
    created(alice, NAMED)
    stored.secrets.delete_one({"name": NAMED["name"]})
    stored.secrets.update_one({"_id": other}, {"$set": {"name": NAMED["name"]}})
    lapse(stored, secret_id=other)
    assert create(alice, NAMED).status_code == 409
    assert alice.fetch(other) == b64(b"other")


def test_other_calls_ignore_the_header(alice: Caller) -> None:
    """The header belongs to create alone; other calls ignore it."""
    body = {"secret_id": alice.create(), "secret": "YQ=="}
    assert alice.post("update", body, **{"Idempotency-Key": "not a key"}).status_code == 200
