"""Batches of creates with an `Idempotency-Key` over HTTP."""

from typing import Any

import pytest
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.support.batches import by_id, fetch_all, statuses
from tests.support.lifecycle import ALICE, Caller, b64, in_future, in_past, put, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.core import retries
from vault.crypto import MasterKey
from vault.secrets.store import SecretStore

PLAIN, NAMED, OTHER = (
    {"secret": b64(b"plain"), "labels": {"a": "1", "b": "2"}},
    {"secret": b64(b"named"), "name": "app/named"},
    {"secret": b64(b"other"), "name": "app/other"},
)
INVALID = {"secret": "YQ"}
BATCH = [PLAIN, NAMED, INVALID, OTHER, PLAIN]


@pytest.fixture(autouse=True)
def _prepared(alice: Caller, stored: Stored) -> None:
    # Indexes are created with the first request.
    alice("list")
    stored.audit_logs.delete_many({})


def create(caller: Caller, secrets: object = BATCH, key: str = "key-1") -> TestResponse:
    return caller.post("create-batch", {"secrets": secrets}, **{"Idempotency-Key": key})


def created(caller: Caller, secrets: object = BATCH, key: str = "key-1") -> list[dict[str, Any]]:
    reply = create(caller, secrets, key)
    assert reply.status_code == 200, reply.data
    return list(reply.json["secrets"])


def same(one: list[dict[str, Any]], other: list[dict[str, Any]]) -> bool:
    """Return whether two replies are the same, except for the IDs of their requests."""
    for outcome in (*one, *other):
        outcome.get("problem", {}).pop("request_id", None)
    return one == other


def record(stored: Stored) -> dict[str, Any]:
    found = stored.idempotency_keys.find_one()
    assert found is not None
    return found


def lapse(stored: Stored) -> None:
    """Leave the record as a killed holder does, longer ago than a holder's time limit."""
    stored.idempotency_keys.update_one(
        {},
        {
            "$set": {"stored": False, "held_until": in_past(seconds=1)},
            "$unset": {"stored_seal": "", "outcomes": ""},
        },
    )


def test_a_repeated_batch_returns_the_same_ids_and_problems(alice: Caller, stored: Stored) -> None:
    """A repeated batch creates nothing, returns the same outcomes, and is recorded as repeated."""
    taken = alice.create(name="app/other")
    stored.audit_logs.delete_many({})
    outcomes = created(alice)
    assert statuses(outcomes) == [200, 200, 400, 409, 200]
    first = trail(stored)
    stored.audit_logs.delete_many({})
    # Neither a free name nor a changed secret changes the outcomes.
    alice("delete", secret_id=taken)
    alice.update(outcomes[0]["secret_id"], b"newer")
    stored.audit_logs.delete_many({})
    for _ in range(2):
        assert same(created(alice), outcomes)
    assert stored.secrets.count_documents({}) == 3
    repeated = trail(stored)
    assert [entry["status"] for entry in repeated] == [entry["status"] for entry in first] * 2
    assert [entry.get("secret_id") for entry in repeated[:2]] == [
        outcomes[0]["secret_id"],
        outcomes[1]["secret_id"],
    ]
    assert all(entry["details"]["repeated"] for entry in repeated)


def test_the_ids_do_not_reveal_the_base_id(alice: Caller, stored: Stored) -> None:
    """The base ID of a batch, from which its IDs derive, is none of them and is in no reply or entry."""
    outcomes = created(alice)
    base_id = record(stored)["secret_id"]
    assert base_id not in str(outcomes)
    assert base_id not in str(list(stored.audit_logs.find()))
    assert stored.secrets.count_documents({"_id": base_id}) == 0


def test_a_changed_setting_changes_no_outcome(
    alice: Caller, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeated batch returns the same IDs and the same kinds of problems under another size limit."""
    large = [{"secret": b64(bytes(2_000))}, {"secret": b64(bytes(70_000))}]
    outcomes = created(alice, large)
    assert statuses(outcomes) == [200, 413]
    for limit in ("1000", "100000"):
        with running_app({**environment, "MAX_SECRET_BYTES": limit}) as app:
            caller = Caller(app.test_client(), monkeypatch).become(ALICE)
            repeated = created(caller, large)
            assert repeated[0] == outcomes[0]
            assert repeated[1]["problem"]["status"] == 413


@pytest.mark.parametrize(
    "changed",
    [
        [*BATCH, PLAIN],
        BATCH[::-1],
        [{**PLAIN, "secret": "YQ=="}, *BATCH[1:]],
        [*BATCH[:2], {"secret": "YR"}, *BATCH[3:]],
        [*BATCH[:2], {**INVALID, "max_reads": 1}, *BATCH[3:]],
    ],
    ids=range(5),
)
def test_another_batch_is_422(alice: Caller, stored: Stored, changed: object) -> None:
    """The key of one batch is refused for another, which creates nothing."""
    outcomes = created(alice)
    count = stored.secrets.count_documents({})
    assert create(alice, changed).status_code == 422
    assert trail(stored)[-1] == {"action": "create", "status": "bad_request", "principal": "alice"}
    assert stored.secrets.count_documents({}) == count
    assert same(created(alice), outcomes)


def test_a_busy_name_is_no_outcome_to_repeat(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key, a name that another create holds refuses the whole batch; a repeat creates all of it."""
    monkeypatch.setattr(retries, "_TIMEOUT_SECONDS", 0.1)
    put(stored, key, name="app/named", pending=True, purge_at=in_future(minutes=1))
    assert create(alice, [PLAIN, NAMED]).status_code == 503
    assert stored.secrets.count_documents({}) == 1
    stored.secrets.delete_many({})
    assert statuses(created(alice, [PLAIN, NAMED])) == [200, 200]


def test_a_batch_and_a_single_create_do_not_share_a_key(alice: Caller) -> None:
    """The key of a batch of one secret is refused for a create of that secret, and the other way round."""
    created(alice, [PLAIN], "key-1")
    assert alice.post("create", PLAIN, **{"Idempotency-Key": "key-1"}).status_code == 422
    assert alice.post("create", PLAIN, **{"Idempotency-Key": "key-2"}).status_code == 200
    assert create(alice, [PLAIN], "key-2").status_code == 422


@pytest.mark.parametrize(
    "forged",
    [
        {"outcomes": []},
        {"secret_id": "550e8400-e29b-41d4-a716-446655440000"},
        "swapped",
        "another",
        "without a seal",
        "of an item less",
    ],
    ids=str,
)
def test_a_forged_record_returns_nothing(alice: Caller, stored: Stored, forged: Any) -> None:
    """If the outcomes in a record were changed, the repeated batch fails and returns no ID."""
    created(alice)
    outcomes = record(stored)["outcomes"]
    other = alice.create(b"of another")
    change: dict[str, Any] = forged
    if forged == "swapped":
        change = {"outcomes": outcomes[::-1]}
    elif forged == "another":
        change = {"outcomes": [other, *outcomes[1:]]}
    elif forged == "without a seal":
        change = {"outcomes": [other, *outcomes[1:]], "stored_seal": None}
    elif forged == "of an item less":
        change = {"outcomes": outcomes[1:]}
    stored.idempotency_keys.update_one({}, {"$set": change})
    reply = create(alice)
    assert reply.status_code == 500
    assert other.encode() not in reply.data


def test_a_batch_without_its_entries_can_be_repeated(alice: Caller, stored: Stored) -> None:
    """A batch that could not be recorded leaves its key free, and stores nothing."""
    block_trail(stored)
    for _ in range(2):
        assert create(alice).status_code == 503
        assert stored.secrets.count_documents({}) == 0
    restore_trail(stored)
    outcomes = created(alice)
    assert same(created(alice), outcomes)
    assert statuses(outcomes) == [200, 200, 400, 200, 200]


# --- Killed and slow holders


def test_leftovers_of_a_killed_holder_are_replaced(alice: Caller, stored: Stored) -> None:
    """Nothing that a killed holder stored without publishing it remains, and the retry creates all."""
    left = [one["secret_id"] for one in created(alice) if "secret_id" in one]
    pending = {"$set": {"pending": True, "purge_at": in_future(minutes=1)}}
    stored.secrets.update_many({"name": {"$ne": None}}, pending)
    lapse(stored)
    outcomes = created(alice)
    assert statuses(outcomes) == [200, 200, 400, 200, 200]
    ids = {one["secret_id"] for one in outcomes if "secret_id" in one}
    assert not ids.intersection(left)
    assert {found["_id"] for found in stored.secrets.find()} == ids
    assert same(created(alice), outcomes)


def test_published_secrets_of_a_killed_holder_are_kept(alice: Caller, stored: Stored) -> None:
    """Secrets that a killed holder published under names stay, even if changed; the rest is created again."""
    first = created(alice)
    alice.update(first[1]["secret_id"], b"changed since")
    pending = {"$set": {"pending": True, "purge_at": in_future(minutes=1)}}
    stored.secrets.update_one({"_id": first[3]["secret_id"]}, pending)
    lapse(stored)
    stored.audit_logs.delete_many({})
    outcomes = created(alice)
    kept = [same([one], [other]) for one, other in zip(outcomes, first, strict=True)]
    assert kept == [False, True, True, False, False]
    assert [entry.get("details", {}).get("repeated") for entry in trail(stored)] == [
        None,
        True,
        None,
        None,
        None,
    ]
    ids = [one["secret_id"] for one in outcomes if "secret_id" in one]
    assert {found["_id"] for found in stored.secrets.find()} == set(ids)
    assert [one["secret"] for one in fetch_all(alice, *by_id(ids))] == [
        b64(value) for value in (b"plain", b"changed since", b"other", b"plain")
    ]
    assert same(created(alice), outcomes)


def test_an_overtaken_holder_leaves_published_secrets_to_the_other(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a holder is overtaken after it published, the other returns its named secrets."""
    record, returned = SecretStore.record, list[Any]()

    def slowly(self: SecretStore, outcomes: Any, secrets: Any) -> None:
        monkeypatch.setattr(SecretStore, "record", record)
        record(self, outcomes, secrets)
        lapse(stored)
        returned.extend(created(alice))

    monkeypatch.setattr(SecretStore, "record", slowly)
    assert create(alice).status_code == 503
    assert same(created(alice), returned)
    ids = [one["secret_id"] for one in returned if "secret_id" in one]
    assert statuses(fetch_all(alice, *by_id(ids))) == [200] * 4
    assert {found["_id"] for found in stored.secrets.find()} == set(ids)
