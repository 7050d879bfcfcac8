"""Creates with an `Idempotency-Key` over HTTP, alone and in batches."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from bson import encode
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.batches import by_id, fetch_all, statuses
from tests.support.lifecycle import ALICE, BOB, EVE, Caller, b64, in_future, in_past, put, trail, unswept
from tests.support.problems import fields_of
from tests.support.rotation import Stored, new_key, settings
from tests.support.trail import block_trail, restore_trail
from vault.app import CLOSE
from vault.core.crypto import MasterKey
from vault.core.principal import ANONYMOUS, Principal
from vault.core.secrets.store import SecretStore

LONG = "8e03978e-40d5-43dd-bc93-6894a57f9324"
VALUE = b"the value nobody may find"
BODY: dict[str, Any] = {"secret": b64(VALUE), "labels": {"a": "1", "b": "2"}, "ttl_seconds": 3_600}
NAMED = {**BODY, "name": "billing/db-password"}
INVALID = {"secret": "YQ"}
ITEMS = [BODY, NAMED, INVALID, {**BODY, "name": "other"}, BODY]
BATCH = {"secrets": ITEMS}
EACH = pytest.mark.parametrize("body", [BODY, NAMED, BATCH], ids=["plain", "named", "batch"])


@pytest.fixture(autouse=True)
def _prepared(alice: Caller, stored: Stored) -> None:
    # Indexes are created with the first request.
    alice("list")
    stored.audit_logs.delete_many({})


def create(caller: Caller, body: Any = BODY, key: str = "key-1") -> TestResponse:
    action = "create-batch" if "secrets" in body else "create"
    return caller.post(action, body, **{"Idempotency-Key": key})


def created(caller: Caller, body: Any = BODY, key: str = "key-1") -> dict[str, Any]:
    """Return the reply to a create or a batch, without the IDs of requests."""
    reply = create(caller, body, key)
    assert reply.status_code == 200, reply.data
    found: dict[str, Any] = reply.json
    for outcome in found.get("secrets", ()):
        outcome.get("problem", {}).pop("request_id", None)
    return found


def ids(reply: dict[str, Any]) -> list[str]:
    """Return the IDs of the secrets in a reply."""
    return [outcome["secret_id"] for outcome in reply.get("secrets", [reply]) if "secret_id" in outcome]


def stored_ids(stored: Stored) -> set[str]:
    return {found["_id"] for found in stored.secrets.find()}


def record(stored: Stored) -> dict[str, Any]:
    found = stored.idempotency_keys.find_one()
    assert found is not None
    return found


def lapse(stored: Stored, **fields: Any) -> None:
    """Leave the record as a killed holder does, longer ago than a holder's time limit."""
    change = {"stored": False, "held_until": in_past(seconds=1), **fields}
    unset = {"stored_seal": "", "outcomes": ""}
    stored.idempotency_keys.update_one({}, {"$set": change, "$unset": unset})


def creations(stored: Stored) -> list[dict[str, Any]]:
    return [entry for entry in trail(stored) if entry["action"] == "create"]


@EACH
def test_a_repeated_create_returns_the_same(alice: Caller, stored: Stored, body: dict[str, Any]) -> None:
    """A create or a batch repeated with its key creates nothing, returns the same, and is so recorded."""
    first = created(alice, body)
    entries = creations(stored)
    assert all("repeated" not in entry.get("details", {}) for entry in entries)
    stored.audit_logs.delete_many({})
    for _ in range(2):
        assert created(alice, body) == first
    assert stored_ids(stored) == set(ids(first))
    repeated = creations(stored)
    assert [entry["status"] for entry in repeated] == [entry["status"] for entry in entries] * 2
    assert [entry["secret_id"] for entry in repeated if entry["status"] == "success"] == ids(first) * 2
    assert all(entry["details"]["repeated"] is True for entry in repeated)


def test_what_happens_since_changes_no_outcome(
    alice: Caller, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A free name, a changed secret and another size limit change no outcome of a repeated batch."""
    taken = alice.create(name="taken")
    large = [{"secret": b64(bytes(2_000))}, {"secret": b64(bytes(70_000))}]
    batch = {"secrets": [*large, {**BODY, "name": "taken"}]}
    first = created(alice, batch)
    assert statuses(first["secrets"]) == [200, 413, 409]
    alice("delete", secret_id=taken)
    alice.update(ids(first)[0], b"newer")
    assert created(alice, batch) == first
    for limit in ("1000", "100000"):
        with running_app({**environment, "MAX_SECRET_BYTES": limit}) as app:
            repeated = created(Caller(app.test_client(), monkeypatch).become(ALICE), batch)
            assert (ids(repeated), statuses(repeated["secrets"])) == (ids(first), [200, 413, 409])


def test_the_ids_do_not_reveal_the_base_id(alice: Caller, stored: Stored) -> None:
    """The base ID of a batch, from which its IDs derive, is none of them and is in no reply or entry."""
    outcomes = created(alice, BATCH)
    base_id = record(stored)["secret_id"]
    assert base_id not in f"{outcomes}{list(stored.audit_logs.find())}{stored_ids(stored)}"


def test_the_order_of_a_body_does_not_matter(alice: Caller) -> None:
    """The same body in another order, labels included, or with explicit defaults is the same request."""
    first = created(alice)
    for body in (
        dict(reversed(BODY.items())),
        {**BODY, "labels": dict(reversed(BODY["labels"].items()))},
        {**BODY, "max_reads": None},
    ):
        assert created(alice, body) == first


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        *((BODY, BODY | change) for change in ({"secret": "YQ=="}, {"labels": {"a": "2", "b": "1"}})),
        *((BODY, BODY | change) for change in ({"ttl_seconds": 3_601}, {"max_reads": 1}, {"name": "other"})),
        *((BATCH, {"secrets": items}) for items in ([*ITEMS, BODY], ITEMS[::-1], ITEMS[1:])),
        (BATCH, {"secrets": [*ITEMS[:2], {"secret": "YR"}, *ITEMS[3:]]}),
        (BATCH, {"secrets": [*ITEMS[:2], {**INVALID, "max_reads": 1}, *ITEMS[3:]]}),
        # Nor do a batch of one secret and a create of that secret share a key.
        *((BODY, {"secrets": [BODY]}), ({"secrets": [BODY]}, BODY)),
    ],
    ids=range(12),
)
def test_another_body_is_422(
    alice: Caller, stored: Stored, body: dict[str, Any], changed: dict[str, Any]
) -> None:
    """The key of one body is refused for another, nothing is created, and the first body still works."""
    first = created(alice, body)
    before = record(stored)
    reply = create(alice, changed)
    text = "This Idempotency-Key was already used with a different body."
    assert (reply.status_code, reply.get_json(force=True)["detail"]) == (422, text)
    refused = creations(stored)[-1]
    assert (refused["status"], "secret_id" in refused) == ("bad_request", False)
    assert record(stored) == before
    assert created(alice, body) == first
    assert stored_ids(stored) == set(ids(first))


def test_each_principal_has_its_own_keys(alice: Caller) -> None:
    """A key belongs to one principal; other namespaces and anonymous callers cannot use it."""
    nobody_s_name = Principal(name=ANONYMOUS.name, scopes=ALICE.scopes)
    alike = [
        Principal(name=name, namespace=space, scopes=ALICE.scopes)
        for name, space in (("a", "bc"), ("ab", "c"))
    ]
    everybody = [ALICE, BOB, EVE, ANONYMOUS, nobody_s_name, *alike]
    made = [created(alice.become(principal), BODY, LONG) for principal in everybody]
    assert len(set().union(*map(ids, made))) == len(everybody)
    assert [created(alice.become(principal), BODY, LONG) for principal in everybody] == made
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
    """A key expires after 24 hours, when MongoDB removes it, even if it has not yet, and not earlier."""
    first = created(alice)
    indexes = stored.idempotency_keys.index_information().values()
    [index] = [index for index in indexes if "expireAfterSeconds" in index]
    assert (index["key"], index["expireAfterSeconds"]) == ([("created_at", 1)], 86_400)
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
    monkeypatch.setattr("vault.common.retries._TIMEOUT_SECONDS", 0.2)
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
    returned: list[dict[str, Any]] = []
    store = SecretStore.create

    def slowly(self: SecretStore, *arguments: Any) -> bool:
        monkeypatch.setattr(SecretStore, "create", store)
        lapse(stored)
        returned.append(created(alice, body))
        return store(self, *arguments)

    monkeypatch.setattr(SecretStore, "create", slowly)
    assert create(alice, body).status_code == (409 if "name" in body else 503)
    assert created(alice, body) == returned[0]
    [secret_id] = ids(returned[0])
    assert alice.fetch(secret_id) == b64(VALUE)
    # The slow holder leaves nothing: no caller received its ID.
    assert stored_ids(stored) == {secret_id}


def test_a_late_secret_of_a_slow_holder_is_found(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a slow holder publishes after the retry failed, the third attempt returns that secret."""
    store = SecretStore.create
    statuses: list[int] = []

    def slowly(self: SecretStore, outcomes: Any, secrets: Any) -> bool:
        monkeypatch.setattr(SecretStore, "create", store)
        is_stored = store(self, outcomes, secrets)
        lapse(stored)
        with monkeypatch.context() as early:
            early.setattr(SecretStore, "withdraw", lambda *_: set())
            statuses.append(create(alice, NAMED).status_code)
        return is_stored

    monkeypatch.setattr(SecretStore, "create", slowly)
    statuses.append(create(alice, NAMED).status_code)
    assert statuses == [409, 503]
    assert set(ids(created(alice, NAMED))) == stored_ids(stored)


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


@EACH
def test_without_its_entries_nothing_is_created_or_answered(
    alice: Caller, stored: Stored, body: dict[str, Any]
) -> None:
    """While the trail cannot be written, a create or a batch stores and returns nothing; its key stays."""
    block_trail(stored)
    for _ in range(2):
        assert create(alice, body).status_code == 503
        assert stored.secrets.count_documents({}) == 0
    restore_trail(stored)
    first = created(alice, body)
    before = record(stored)
    block_trail(stored)
    reply = create(alice, body)
    assert (reply.status_code, ids(first)[0] in reply.text) == (503, False)
    restore_trail(stored)
    assert record(stored) == before
    assert created(alice, body) == first


def test_a_refused_create_can_be_repeated(alice: Caller) -> None:
    """A create refused for a taken name works with the same key once the name is free."""
    taken = alice.create(name=NAMED["name"])
    assert create(alice, NAMED).status_code == 409
    alice("delete", secret_id=taken)
    assert created(alice, NAMED) == created(alice, NAMED)


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
    first = created(alice)
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
            assert created(caller) == first
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


@pytest.mark.promise("names")
def test_an_anonymous_caller_s_key_cannot_be_short(anyone: Caller, stored: Stored) -> None:
    """Anonymous callers share one scope of keys: one below 32 characters is refused, and recorded."""
    reply = create(anyone.become(ANONYMOUS), BODY, "k" * 31)
    assert reply.status_code == 422
    assert "at least 32 characters" in reply.get_json(force=True)["detail"]
    assert stored.secrets.count_documents({}) == stored.idempotency_keys.count_documents({}) == 0
    assert creations(stored)[-1]["status"] == "bad_request"
    assert created(anyone, BODY, "k" * 32) == created(anyone, BODY, "k" * 32)


Forge = Callable[[dict[str, Any], dict[str, Any]], dict[str, Any]]

#: Changes of a record, with another record's contents.
FORGED: dict[str, tuple[dict[str, Any], Forge]] = {
    "another ID": (BODY, lambda _, other: {"secret_id": other["secret_id"]}),
    "its seal": (BODY, lambda _, other: {name: other[name] for name in ("secret_id", "stored_seal")}),
    "its reservation": (
        *(BODY,),
        lambda _, other: {"secret_id": other["secret_id"], "stored_seal": other["reserved_seals"][0]},
    ),
    "no text": (BODY, lambda _, other: {"secret_id": other["secret_id"], "stored_seal": {"$gt": ""}}),
    "another base ID": (BATCH, lambda _, other: {"secret_id": other["secret_id"]}),
    "nothing": (BATCH, lambda *_: {"outcomes": []}),
    "swapped": (BATCH, lambda own, _: {"outcomes": own["outcomes"][::-1]}),
    "an item less": (BATCH, lambda own, _: {"outcomes": own["outcomes"][1:]}),
    "another item": (
        *(BATCH,),
        lambda own, other: {"outcomes": [other["outcomes"][0], *own["outcomes"][1:]]},
    ),
    "no seal": (BATCH, lambda _, other: {"outcomes": other["outcomes"], "stored_seal": None}),
}


@pytest.mark.promise("names")
@pytest.mark.parametrize(("body", "forge"), FORGED.values(), ids=FORGED)
def test_a_forged_record_returns_nothing(
    alice: Caller, stored: Stored, body: dict[str, Any], forge: Forge
) -> None:
    """If a record was changed, even to that of another key, the repeated request fails and returns no ID."""
    created(alice, body)
    other = created(alice, body, "key-2")
    first, second = stored.idempotency_keys.find().sort("created_at")
    stored.idempotency_keys.update_one({"_id": first["_id"]}, {"$set": forge(first, second)})
    reply = create(alice, body)
    assert reply.status_code == 500
    assert not any(secret_id in reply.text for secret_id in ids(other))
    assert created(alice, body, "key-2") == other


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
    [secret_id] = ids(created(alice))
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
    [secret_id] = ids(created(alice))
    assert secret_id not in (plain, named)
    assert stored_ids(stored) >= {plain, named, secret_id}


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


def test_a_busy_name_is_no_outcome_to_repeat(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key, a name that another create holds refuses the whole batch; a repeat creates all of it."""
    monkeypatch.setattr("vault.common.retries._TIMEOUT_SECONDS", 0.1)
    put(stored, key, name=NAMED["name"], pending=True, purge_at=in_future(minutes=1))
    batch = {"secrets": [BODY, NAMED]}
    assert create(alice, batch).status_code == 503
    assert stored.secrets.count_documents({}) == 1
    stored.secrets.delete_many({})
    assert statuses(created(alice, batch)["secrets"]) == [200, 200]


def test_leftovers_of_a_killed_holder_are_replaced(alice: Caller, stored: Stored) -> None:
    """Nothing that a killed holder stored without publishing it remains, and the retry creates all."""
    left = ids(created(alice, BATCH))
    pending = {"$set": {"pending": True, "purge_at": in_future(minutes=1)}}
    stored.secrets.update_many({"name": {"$ne": None}}, pending)
    lapse(stored)
    again = created(alice, BATCH)
    assert statuses(again["secrets"]) == [200, 200, 400, 200, 200]
    assert not set(ids(again)).intersection(left)
    assert stored_ids(stored) == set(ids(again))
    assert created(alice, BATCH) == again


def test_published_secrets_of_a_killed_holder_are_kept(alice: Caller, stored: Stored) -> None:
    """Secrets that a killed holder published under names stay, even if changed; the rest is created again."""
    first = created(alice, BATCH)["secrets"]
    alice.update(first[1]["secret_id"], b"changed since")
    pending = {"$set": {"pending": True, "purge_at": in_future(minutes=1)}}
    stored.secrets.update_one({"_id": first[3]["secret_id"]}, pending)
    lapse(stored)
    stored.audit_logs.delete_many({})
    again = created(alice, BATCH)
    kept = [one == other for one, other in zip(again["secrets"], first, strict=True)]
    assert kept == [False, True, True, False, False]
    repeated = [entry.get("details", {}).get("repeated") for entry in trail(stored)]
    assert repeated == [None, True, None, None, None]
    assert stored_ids(stored) == set(ids(again))
    values = [one["secret"] for one in fetch_all(alice, *by_id(ids(again)))]
    assert values == [b64(value) for value in (VALUE, b"changed since", VALUE, VALUE)]
    assert created(alice, BATCH) == again


def test_an_overtaken_holder_leaves_published_secrets_to_the_other(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a holder is overtaken after it published, the other returns its named secrets."""
    store, returned = SecretStore.create, list[dict[str, Any]]()

    def slowly(self: SecretStore, outcomes: Any, secrets: Any) -> bool:
        monkeypatch.setattr(SecretStore, "create", store)
        is_stored = store(self, outcomes, secrets)
        lapse(stored)
        returned.append(created(alice, BATCH))
        return is_stored

    monkeypatch.setattr(SecretStore, "create", slowly)
    assert create(alice, BATCH).status_code == 503
    assert [created(alice, BATCH)] == returned
    found = ids(returned[0])
    assert statuses(fetch_all(alice, *by_id(found))) == [200] * 4
    assert stored_ids(stored) == set(found)
