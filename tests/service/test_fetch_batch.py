"""Batches of fetches over HTTP."""

from base64 import b64decode
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import bson
import pytest
from bson import Binary
from flask import Flask
from pymongo.collection import Collection
from pymongo.errors import AutoReconnect

from tests.conftest import running_app
from tests.support.batches import (
    Commands,
    by_id,
    create_all,
    fetch_all,
    problem_of,
    statuses,
    values,
)
from tests.support.lifecycle import (
    ALICE,
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
from tests.support.metrics import Growth
from tests.support.problems import messages_of
from tests.support.rotation import Stored, new_key
from tests.support.trail import block_trail, restore_trail
from tests.support.waiting import wait_until
from vault.core.crypto import MasterKey
from vault.core.principal import ANONYMOUS, Principal, Scope
from vault.core.secrets import read_limits, store
from vault.core.secrets.read_limits import HeldRead
from vault.toolkit.operations.blueprint import MAX_REPLY_BYTES, REPLY_MEMORY, SLOTS
from vault.toolkit.operations.slots import MAX_CONCURRENT_REQUESTS


def entries(stored: Stored) -> list[dict[str, Any]]:
    """Return all entries in full, except what differs between any two."""
    differs = ("_id", "ts", "request_id", "stream", "seq", "hash", "previous", "previous_ts")
    hidden = dict.fromkeys((*differs, "signer", "signature"), 0)
    return list(stored.audit_logs.find({}, hidden).sort("_id"))


# --- Outcomes


def test_secrets_come_in_the_order_of_the_request(ready: Caller) -> None:
    """Each secret has ID, name, version and value, in the order asked; an unnamed one has the name null."""
    first, second = ready.create(b"first"), ready.create(b"second", name="b/2")
    ready.update(second, b"newer")
    assert fetch_all(
        ready,
        {"name": "b/2"},
        {"secret_id": first.upper()},
        {"secret_id": second, "version": 1},
        {"name": "b/2", "version": 2},
        {"name": "b/2", "version": 1},
        {"secret_id": first},
    ) == [
        {"secret_id": second, "name": "b/2", "version": 2, "secret": b64(b"newer")},
        {"secret_id": first, "name": None, "version": 1, "secret": b64(b"first")},
        {"secret_id": second, "name": "b/2", "version": 1, "secret": b64(b"second")},
        {"secret_id": second, "name": "b/2", "version": 2, "secret": b64(b"newer")},
        {"secret_id": second, "name": "b/2", "version": 1, "secret": b64(b"second")},
        {"secret_id": first, "name": None, "version": 1, "secret": b64(b"first")},
    ]


def unfetchable(caller: Caller, stored: Stored, key: MasterKey) -> dict[str, dict[str, Any]]:
    """Return a reference to a secret for each reason why a fetch fails."""
    elsewhere = caller.become(EVE).create(name="elsewhere")
    caller.become(ALICE)
    altered = put(stored, key)
    stored.secrets.update_one({"_id": altered}, {"$set": {"envelope": Binary(bytes(60))}})
    another_type = put(stored, key)
    stored.secrets.update_one({"_id": another_type}, {"$set": {"envelope": "text", "older": "text"}})
    unlimited = put(stored, key, max_reads=1)
    stored.secrets.update_one({"_id": unlimited}, {"$unset": {"max_reads": ""}})
    references: dict[str, dict[str, Any]] = {
        "unknown": {"secret_id": UNKNOWN_ID},
        "unknown name": {"name": "not/there"},
        "elsewhere": {"secret_id": elsewhere},
        "a name elsewhere": {"name": "elsewhere"},
        "expired": {"secret_id": put(stored, key, expires_at=in_past(seconds=1))},
        "deleted": {"secret_id": put(stored, key, deleted_at=in_past(days=1), purge_at=in_future(days=1))},
        "used up": {"secret_id": put(stored, key, max_reads=2, reads=2)},
        "pending": {"secret_id": put(stored, key, name="pending", pending=True)},
        "a missing version": {"secret_id": put(stored, key), "version": 7},
        "altered": {"secret_id": altered},
        "another type": {"secret_id": another_type},
        "a version of another type": {"secret_id": another_type, "version": 1},
        "without its limit": {"secret_id": unlimited},
        "another key": {"secret_id": put(stored, new_key())},
    }
    return references


@pytest.mark.promise(5)
def test_an_item_fails_as_it_would_alone(ready: Caller, stored: Stored, key: MasterKey) -> None:
    """For each reason, an item has the problem and the entry of a fetch, and all others are returned."""
    references = unfetchable(ready, stored, key)
    good = ready.create(max_reads=7, name="limited/7")
    stored.audit_logs.delete_many({})
    wanted = [*references.values(), {"secret_id": good}, {"name": "limited/7"}]
    alone = [ready.post("fetch", reference) for reference in wanted]
    recorded = entries(stored)
    stored.audit_logs.delete_many({})
    together = fetch_all(ready, *wanted)
    assert statuses(together) == [reply.status_code for reply in alone]
    for reply, outcome in zip(alone, together, strict=True):
        if reply.status_code == 200:
            assert outcome["secret"] == reply.json["secret"]
        else:
            assert outcome == {"problem": problem_of(reply, outcome)}
    assert entries(stored) == recorded
    assert document(stored, good)["reads"] == 4


def test_anonymous_callers_fetch_by_id_alone(anyone: Caller, stored: Stored) -> None:
    """Without a credential, an item by name is refused as a fetch by name is, and recorded as denied."""
    secret_id = anyone.become(ALICE).create(name="a/b")
    anyone.become(ANONYMOUS)
    stored.audit_logs.delete_many({})
    alone = anyone.post("fetch", {"name": "a/b"})
    assert alone.status_code == 401
    outcomes = fetch_all(anyone, {"secret_id": secret_id}, {"name": "a/b"})
    assert outcomes[0]["secret"] == b64(b"value")
    assert outcomes[1] == {"problem": problem_of(alone, outcomes[1])}
    denied, fetched, item = entries(stored)
    assert item == denied
    assert fetched["status"] == "success"


def test_items_are_counted_as_requests_are(ready: Caller) -> None:
    """Metrics count each item by its status, and each refused item by its reason."""
    secret_id = ready.create()
    fetched, missing, refused = (
        Growth("batch_items_total", operation="fetch_secrets", status="200"),
        Growth("batch_items_total", operation="fetch_secrets", status="404"),
        Growth("refusals_total", reason="secret_not_found"),
    )
    fetch_all(ready, *by_id([secret_id, UNKNOWN_ID, secret_id, UNKNOWN_ID, secret_id]))
    assert (fetched.now, missing.now, refused.now) == (3, 2, 2)


def test_an_item_that_does_not_verify_is_logged(
    ready: Caller, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """A stored value that was altered is in the log as an error, as for a single fetch."""
    secret_id = ready.create()
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"version": 2}})
    assert statuses(fetch_all(ready, {"secret_id": secret_id})) == [500]
    [line] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert line.message == "an item of a batch failed"


# --- Refusals of the whole


EITHER = "Either `secrets` or `name_prefix` is required."
NOT_BOTH = "Set either `secrets` or `name_prefix`, not both."
NOT_BOTH_IDS = "Set either `secret_id` or `name`, not both."
BAD_NAME = "Must not have a part that is empty, . or .., or that begins or ends with a space."
SOME = by_id([UNKNOWN_ID])


NEW = {"secret": "YQ=="}


@pytest.mark.parametrize(
    ("action", "body", "fields"),
    [
        ("fetch", {}, {"secrets": [EITHER]}),
        ("fetch", {"secrets": SOME * 101}, {"secrets": ["Longer than maximum length 100."]}),
        ("fetch", {"secrets": SOME, "name_prefix": "a"}, {"name_prefix": [NOT_BOTH]}),
        ("fetch", {"secrets": [*SOME, 5]}, {"secrets.1": ["Must be an object."]}),
        ("fetch", {"secrets": [*SOME * 3, {"name": "/"}]}, {"secrets.3.name": [BAD_NAME]}),
        ("fetch", {"secrets": [{**SOME[0], "name": "a"}]}, {"secrets.0.name": [NOT_BOTH_IDS]}),
        ("fetch", {"name_prefix": "a*"}, {"name_prefix"}),
        ("fetch", {"name_prefix": "a", "version": 1}, {"version": ["Unknown field."]}),
        ("create", {}, {"secrets"}),
        ("create", {"secrets": [NEW] * 101}, {"secrets": ["Longer than maximum length 100."]}),
        ("create", {"secrets": [NEW, {"secret": 5}]}, {"secrets.1.secret"}),
        ("create", {"secrets": [*[NEW] * 3, {**NEW, "name": "/"}]}, {"secrets.3.name": [BAD_NAME]}),
        ("create", {"secrets": [{**NEW, **SOME[0]}]}, {"secrets.0.secret_id"}),
        ("create", {"secrets": [{"secret": "YQ"}, {**NEW, "max_reads": 0}]}, {"secrets.1.max_reads"}),
    ],
    ids=lambda value: str(value)[:30] if isinstance(value, dict) else "",
)
def test_a_wrong_shape_is_422_for_the_whole(
    ready: Caller, stored: Stored, action: str, body: dict[str, Any], fields: dict[str, Any] | set[str]
) -> None:
    """A body of another shape is refused as a whole, with the path to the field, and has one entry."""
    reply = ready.post(f"{action}-batch", body)
    assert reply.status_code == 422
    errors = messages_of(reply.get_json(force=True))
    assert errors == fields if isinstance(fields, dict) else errors.keys() == fields
    assert trail(stored) == [{"action": action, "status": "bad_request", "principal": "alice"}]
    assert stored.secrets.count_documents({}) == 0


# --- Round trips and entries


def test_a_hundred_fetches_are_one_read_and_one_commit(
    ready: Caller, stored: Stored, commands: Commands
) -> None:
    """A batch of 100 leaves 100 entries in one commit, and takes one read and one write of MongoDB."""
    ids = [outcome["secret_id"] for outcome in create_all(ready, *values(100))]
    ready.update(ids[0], b"newer")
    stored.audit_logs.delete_many({})
    with commands.during() as seen:
        outcomes = fetch_all(ready, {"secret_id": ids[0], "version": 1}, *by_id(ids[1:]))
    assert [b64decode(outcome["secret"]) for outcome in outcomes] == [b"value %d" % n for n in range(100)]
    assert seen == [("find", "secrets"), ("insert", "audit_logs")]
    assert [entry["secret_id"] for entry in trail(stored)] == ids
    assert stored.audit_logs.count_documents({"signature": {"$exists": True}}) == 1


def test_limited_reads_take_two_more_round_trips(ready: Caller, stored: Stored, commands: Commands) -> None:
    """The reads of a hundred limited secrets are reserved by one command and counted by another."""
    once = [{**secret, "max_reads": 1} for secret in values(100)]
    ids = [outcome["secret_id"] for outcome in create_all(ready, *once)]
    with commands.during() as seen:
        assert set(statuses(fetch_all(ready, *by_id(ids)))) == {200}
    reserved, counted = ("update", "secrets"), ("update", "secrets")
    assert seen == [("find", "secrets"), reserved, ("insert", "audit_logs"), counted]
    assert stored.secrets.count_documents({"reads": 1, "held_reads": None}) == 100


def test_nothing_is_read_if_every_item_is_refused(commands: Commands, anyone: Caller) -> None:
    """A batch of refused names does not ask MongoDB for secrets."""
    anyone("fetch-batch", secrets=[{"name": "a"}])
    with commands.during() as seen:
        assert statuses(fetch_all(anyone, {"name": "a"}, {"name": "b"})) == [401, 401]
    assert seen == [("insert", "audit_logs")]


# --- Read limits


def test_a_secret_asked_for_twice_needs_two_reads(ready: Caller) -> None:
    """A one-time secret that a batch asks for twice is released once."""
    secret_id = ready.create(max_reads=1, name="once")
    outcomes = fetch_all(ready, {"secret_id": secret_id}, {"name": "once"}, {"secret_id": secret_id})
    assert statuses(outcomes) == [200, 404, 404]


@pytest.mark.promise(5)
def test_two_batches_release_a_one_time_secret_once(ready: Caller, stored: Stored, app: Flask) -> None:
    """Of concurrent batches over the same one-time secrets, each secret is in exactly one reply."""
    once = [{**secret, "max_reads": 1} for secret in values(100)]
    ids = [outcome["secret_id"] for outcome in create_all(ready, *once)]
    stored.audit_logs.delete_many({})

    def fetch(order: int) -> list[dict[str, Any]]:
        with pytest.MonkeyPatch.context() as patch:
            return fetch_all(Caller(app.test_client(), patch).become(ALICE), *by_id(ids[::order]))

    with ThreadPoolExecutor(4) as pool:
        replies = list(pool.map(fetch, [1, -1, 1, -1]))
    released = [outcome["secret_id"] for reply in replies for outcome in reply if "secret_id" in outcome]
    assert sorted(released) == sorted(ids)
    recorded = [entry["secret_id"] for entry in trail(stored) if entry["status"] == "success"]
    assert sorted(recorded) == sorted(ids)
    assert stored.audit_logs.count_documents({"status": "not_found"}) == 300


@pytest.mark.promise(5)
def test_without_its_entries_a_batch_releases_nothing(ready: Caller, stored: Stored) -> None:
    """While the trail is unavailable, the whole batch is 503, and no read counts."""
    plain, once = ready.create(), ready.create(max_reads=1)
    before = document(stored, once)
    block_trail(stored)
    reply = ready.post("fetch-batch", {"secrets": by_id([plain, once, UNKNOWN_ID])})
    assert reply.status_code == 503
    assert b64(b"value").encode() not in reply.data
    assert document(stored, once) == before
    restore_trail(stored)
    assert statuses(fetch_all(ready, *by_id([plain, once]))) == [200, 200]


def test_reads_that_expired_are_not_released(
    ready: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If one of the reserved reads expired before it was counted, no limited secret is released."""
    plain, first, second = ready.create(), ready.create(max_reads=2), ready.create(max_reads=2)
    commit = read_limits.commit_reads

    def late(reads: list[HeldRead]) -> list[bool]:
        stored.secrets.update_one({"_id": first}, {"$unset": {"held_reads": ""}})
        return commit(reads)

    monkeypatch.setattr(read_limits, "commit_reads", late)
    outcomes = fetch_all(ready, *by_id([first, UNKNOWN_ID, plain, second]))
    assert statuses(outcomes) == [503, 404, 200, 503]
    assert outcomes[0]["problem"]["detail"].startswith("The secret is being modified")
    assert (document(stored, first).get("reads"), document(stored, second)["reads"]) == (None, 1)


def failing(
    monkeypatch: pytest.MonkeyPatch, collection: str, method: str, *, calls: int
) -> Callable[[], int]:
    """Make a method of a collection fail from a number of *calls* on; return a function that counts them."""
    original, count = getattr(Collection, method), 0

    def call(self: Collection[Any], *args: Any, **options: Any) -> Any:
        nonlocal count
        if self.name == collection:
            count += 1
            if count >= calls:
                raise AutoReconnect("gone")
        return original(self, *args, **options)

    monkeypatch.setattr(Collection, method, call)
    return lambda: count


@pytest.mark.parametrize(
    ("method", "calls", "recorded"),
    [("find", 1, ["error"]), ("bulk_write", 1, ["error"]), ("bulk_write", 2, ["success", "success"])],
    ids=["find", "reserve", "count"],
)
def test_without_mongodb_the_whole_batch_is_503(
    ready: Caller,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    calls: int,
    recorded: list[str],
) -> None:
    """If MongoDB fails at any step, the batch is 503: with one entry, or with those of its items."""
    ids = [ready.create(), ready.create(max_reads=1)]
    stored.audit_logs.delete_many({})
    with monkeypatch.context() as broken:
        failing(broken, "secrets", method, calls=calls)
        assert ready.refused("fetch-batch", secrets=by_id(ids)) == 503
    assert [entry["status"] for entry in trail(stored)] == recorded
    stored.secrets.update_many({}, {"$unset": {"held_reads": ""}})
    assert statuses(fetch_all(ready, *by_id(ids))) == [200, 200]


# --- By prefix


def test_a_prefix_returns_all_readable_secrets(
    ready: Caller, stored: Stored, key: MasterKey, commands: Commands
) -> None:
    """A prefix returns the readable secrets with it in order of name, and records the list and each fetch."""
    second, first = ready.create(b"2", name="app/b"), ready.create(b"1", name="app/a", max_reads=1)
    for name in ("ap", "apple", "b/app/c"):
        ready.create(name=name)
    put(stored, key, name="app/expired", expires_at=in_past(seconds=1))
    put(stored, key, name="app/used", max_reads=1, reads=1)
    ready.become(EVE).create(name="app/other")
    ready.become(ALICE).update(second, b"newer")
    stored.audit_logs.delete_many({})
    with commands.during() as seen:
        found = ready("fetch-batch", name_prefix="app/")["secrets"]
    assert found == [
        {"secret_id": first, "name": "app/a", "version": 1, "secret": b64(b"1")},
        {"secret_id": second, "name": "app/b", "version": 2, "secret": b64(b"newer")},
    ]
    recorded, default = {"status": "success", "principal": "alice"}, {"namespace": "default"}
    assert trail(stored) == [
        {"action": "list", **recorded, "details": {"name": "app/", **default, "fetched": 2}},
        {"action": "fetch", **recorded, "secret_id": first, "details": {"name": "app/a", **default}},
        {
            "action": "fetch",
            **recorded,
            "secret_id": second,
            "details": {"name": "app/b", "version": 2, **default},
        },
    ]
    assert [one for one in seen if one != ("update", "secrets")] == [
        ("find", "secrets"),
        ("insert", "audit_logs"),
    ]
    assert [secret["name"] for secret in ready("fetch-batch", name_prefix="app/")["secrets"]] == ["app/b"]


def test_a_prefix_writes_a_bounded_part_of_the_trail(ready: Caller, stored: Stored) -> None:
    """With the longest headers and principal, an item's entry has at most 900 bytes and its name."""
    longest = "n" * 64
    reader = Principal(name=f"{longest}/{longest}", namespace=longest, scopes=ALICE.scopes)
    ready.become(reader)
    names = [f"a/{number:03}-".ljust(243, "x") for number in range(100)]
    create_all(ready, *({"secret": "YQ==", "name": name} for name in names))
    stored.audit_logs.delete_many({})
    headers = {"User-Agent": "u" * 1_000, "X-Request-ID": "r" * 128}
    assert ready.post("fetch-batch", {"name_prefix": "a/"}, **headers).status_code == 200
    written = list(stored.audit_logs.find({"action": "fetch"}))
    assert (len(written), stored.audit_logs.count_documents({})) == (100, 101)
    # The last of a commit has the signature.
    sizes = sorted(len(bson.encode(entry)) - 243 for entry in written)[:-1]
    assert 700 < sizes[0] <= sizes[-1] <= 900


def test_a_prefix_can_have_a_hundred_matches(ready: Caller, stored: Stored) -> None:
    """A hundred secrets with a prefix are returned in one commit; with one more, the batch is refused."""
    create_all(ready, *({"secret": "YQ==", "name": f"app/{number:03}"} for number in range(100)))
    stored.audit_logs.delete_many({})
    found = ready("fetch-batch", name_prefix="app/")["secrets"]
    assert [secret["name"] for secret in found] == [f"app/{number:03}" for number in range(100)]
    assert stored.audit_logs.count_documents({"signature": {"$exists": True}}) == 1
    assert stored.audit_logs.count_documents({}) == 101
    ready.create(name="app/100")
    stored.audit_logs.delete_many({})
    reply = ready.post("fetch-batch", {"name_prefix": "app/"})
    assert reply.status_code == 422
    assert (
        reply.get_json(force=True)["detail"]
        == "More than 100 secrets have this prefix. Use a longer `name_prefix`."
    )
    assert trail(stored) == [{"action": "fetch", "status": "bad_request", "principal": "alice"}]
    assert len(ready("fetch-batch", name_prefix="app/0")["secrets"]) == 100


def test_a_prefix_names_what_it_cannot_return(ready: Caller, stored: Stored, key: MasterKey) -> None:
    """A secret with the prefix that does not verify has a problem, its ID and its name."""
    good, bad = ready.create(name="app/a"), ready.create(name="app/b")
    stored.secrets.update_one({"_id": bad}, {"$set": {"version": 2}})
    listed = put(stored, key, name="app/c")
    stored.secrets.update_one({"_id": listed}, {"$set": {"name": ["app/c"]}})
    found = ready("fetch-batch", name_prefix="app/")["secrets"]
    assert [secret.get("secret") for secret in found] == [b64(b"value"), None, None]
    assert [(secret["secret_id"], secret["name"]) for secret in found] == [
        (good, "app/a"),
        (bad, "app/b"),
        (listed, None),
    ]
    assert [secret["problem"]["status"] for secret in found[1:]] == [500, 500]


@pytest.mark.parametrize(
    ("principal", "status"),
    [(ANONYMOUS, 401), (Principal(name="reader", scopes=frozenset({Scope.SECRET_FETCH})), 403)],
    ids=["anonymous", "another scope"],
)
def test_a_prefix_requires_the_scope_of_lists(
    ready: Caller, stored: Stored, principal: Principal, status: int
) -> None:
    """Without `secret:list`, a prefix is refused as a whole, with one entry."""
    assert ready.become(principal).refused("fetch-batch", name_prefix="app/") == status
    [entry] = trail(stored)
    assert (entry["action"], entry["status"]) == ("fetch", "denied")
    assert entry["details"] == {"reason": "needs secret:list"}


# --- Sizes


def test_a_hundred_of_the_largest_secrets_fit(ready: Caller, app: Flask) -> None:
    """A batch of 100 values of the default limit is stored and returned, and its memory is free again."""
    secrets = [{"secret": b64(bytes([number]) * 65_536)} for number in range(100)]
    # The body of a batch may have 8 MiB.
    created = create_all(ready, *secrets[:90]) + create_all(ready, *secrets[90:])
    reply = ready.post("fetch-batch", {"secrets": by_id([outcome["secret_id"] for outcome in created])})
    assert [{"secret": outcome["secret"]} for outcome in reply.json["secrets"]] == secrets
    memory = app.extensions[REPLY_MEMORY]
    assert memory._used.total() == 100 * 65_536
    reply.close()
    assert not memory._used
    assert not memory._evictable


def test_a_refused_batch_keeps_no_memory(ready: Caller, app: Flask, stored: Stored) -> None:
    """A batch that fails gives its memory back."""
    ids = [ready.create(bytes(40_000)) for _ in range(2)]
    block_trail(stored)
    with ready.post("fetch-batch", {"secrets": by_id(ids)}) as reply:
        assert reply.status_code == 503
    assert not app.extensions[REPLY_MEMORY]._used


@pytest.mark.parametrize("is_full", [False, True])
def test_a_wait_for_memory_takes_no_slot(app: Flask, anyone: Caller, is_full: bool) -> None:
    """While a batch waits for memory of replies, its slot is free; if no slot is, it is refused."""
    anyone.create()
    memory, slots = app.extensions[REPLY_MEMORY], app.extensions[SLOTS]
    taken: list[object] = []
    with ThreadPoolExecutor(1) as pool:
        with memory.reserve(MAX_REPLY_BYTES // 2, "127.0.0.1") as unread:
            unread.keep()
            body = {"secrets": by_id([UNKNOWN_ID] * 100)}
            asked = pool.submit(app.test_client().post, "/vault/secret/fetch-batch", json=body)
            wait_until(lambda: memory._waiting)
            assert len(slots) == MAX_CONCURRENT_REQUESTS
            while is_full and slots:
                taken.append(slots.pop())
        assert asked.result().status_code == (503 if is_full else 200)
    slots.extend(taken)
    assert len(slots) == MAX_CONCURRENT_REQUESTS
    assert not memory._used


def test_a_secret_that_is_too_large_for_a_batch_fails_alone(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    """A value beyond its share of a batch is not read; it can be fetched alone or in a smaller batch."""
    monkeypatch.setattr(store, "MAX_BATCH_VALUES_BYTES", 100_000)
    with running_app({**environment, "MAX_SECRET_BYTES": "100000"}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        big, small = caller.create(bytes(50_001)), caller.create(bytes(50_000))
        caller.update(big, b"newer")
        deleted = caller.create(bytes(50_001))
        stored.secrets.update_one({"_id": deleted}, {"$set": {"deleted_at": in_past(days=1)}})
        stored.audit_logs.delete_many({})
        of_big = {"secret_id": big, "version": 1}
        outcomes = fetch_all(caller, of_big, {"secret_id": small})
        assert statuses(outcomes) == [413, 200]
        assert outcomes[0]["problem"]["detail"] == "The secret is too large for this batch. Fetch it alone."
        assert [entry["status"] for entry in trail(stored)] == ["bad_request", "success"]
        assert statuses(fetch_all(caller, {"secret_id": deleted}, {"secret_id": big})) == [404, 200]
        assert statuses(fetch_all(caller, of_big)) == [200]
        assert caller.fetch(big, version=1) == b64(bytes(50_001))


def test_a_value_beyond_a_lowered_limit_is_fetched_alone(
    environment: dict[str, str], alice: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch returns no value larger than `MAX_SECRET_BYTES`, even if an earlier setting allowed it."""
    secret_id = alice.create(bytes(2_000))
    with running_app({**environment, "MAX_SECRET_BYTES": "1000"}) as app:
        caller = Caller(app.test_client(), monkeypatch).become(ALICE)
        assert statuses(fetch_all(caller, {"secret_id": secret_id})) == [413]
        assert caller.fetch(secret_id) == b64(bytes(2_000))


def test_only_the_versions_asked_for_are_read(
    ready: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of other versions, no ciphertext is read, whatever an attacker stored among them."""
    secret_id, name = ready.create(b"1"), "a/b"
    other = ready.create(b"1", name=name)
    for one in (secret_id, other):
        ready.update(one, b"2", b"3")
        stored.secrets.update_one(
            {"_id": one}, {"$push": {"older": {"$each": ["text", 5, {}, {"version": 1.5}]}}}
        )
    read: list[Any] = []
    find = Collection.find

    def keep(self: Collection[Any], *args: Any, **options: Any) -> Any:
        read.extend(find(self, *args, **options))
        return find(self, *args, **options)

    monkeypatch.setattr(Collection, "find", keep)
    outcomes = fetch_all(ready, {"secret_id": secret_id, "version": 2}, {"name": name, "version": 3})
    assert [outcome["secret"] for outcome in outcomes] == [b64(b"2"), b64(b"3")]
    found = {document["_id"]: document for document in read}
    assert found[secret_id]["envelope"] is None
    assert [version["version"] for version in found[secret_id]["older"]] == [2]
    assert found[other]["envelope"]
    assert found[other]["older"] == []
