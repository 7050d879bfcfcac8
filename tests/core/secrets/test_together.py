"""Creates and changes are stored in the commit of their entries, and no one waits for what conflicts."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Any

import pytest
from flask import Flask
from pymongo import MongoClient, timeout
from pymongo.client_session import ClientSession
from pymongo.errors import AutoReconnect

from tests.support.lifecycle import Caller, b64, document, in_past, put, trail
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from tests.support.written_trail import findings
from vault.common.errors import StorageUnavailableError
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents import AuditEntry, Secret
from vault.core.documents.audit import record_of
from vault.core.documents.secret import SecretChange
from vault.core.documents.transactions import unblocked
from vault.core.secrets import lease, read_limits, store
from vault.core.secrets.lease import SecretLease, Seen
from vault.core.trail import commit
from vault.core.trail.streams.signing_keys import own

NAME = "billing/db"
NEW = {"secret": b64(b"new")}
LAPSED = {"token": "of another", "until": in_past(seconds=1)}
#: Changes by their action, and the field that another change of this kind sets.
CHANGES: dict[str, dict[str, Any]] = {
    "update": NEW,
    "delete": {},
    "update-metadata": {"labels": {"a": "b"}, "ttl_seconds": 60},
}


@contextmanager
def open_transaction(
    mongo_uri: str, change: Callable[[Stored, ClientSession], object], appname: str = "secret-manager"
) -> Iterator[ClientSession]:
    """Make *change* in a transaction that stays open, as that of a killed process does."""
    with MongoClient[dict[str, Any]](mongo_uri, appname=appname) as client, client.start_session() as session:
        session.start_transaction()
        change(client.get_default_database(), session)
        try:
            yield session
        finally:
            client.admin.command("killSessions", [session.session_id])


def relabel(secret_id: str) -> Callable[[Stored, ClientSession], object]:
    def change(stored: Stored, session: ClientSession) -> None:
        stored.secrets.update_one({"_id": secret_id}, {"$set": {"labels": ["a=dead"]}}, session=session)

    return change


def insert(stored: Stored, session: ClientSession) -> None:
    stored.secrets.insert_one({"_id": "dead", "namespace": "default", "name": NAME}, session=session)


def soon_given_up(write: Callable[[], Any]) -> Any:
    with timeout(2):
        return unblocked(write)


def successes(stored: Stored) -> Counter[tuple[str, str]]:
    """Return how many entries each action and status has."""
    return Counter((entry["action"], entry["status"]) for entry in trail(stored))


@pytest.mark.promise(3)
@pytest.mark.parametrize("action", CHANGES)
def test_a_change_needs_no_lease(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Alone, a change is made without a lease, and has one entry."""
    secret_id = put(stored, key)
    monkeypatch.setattr(SecretLease, "take", None)
    alice(action, secret_id=secret_id, **CHANGES[action])
    assert list(successes(stored).values()) == [1]


@pytest.mark.promise(3)
@pytest.mark.parametrize("action", CHANGES)
def test_an_overtaken_change_is_made_to_what_is_stored(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """A change that another one overtakes is made after it, and both have one entry with the true version."""
    secret_id = put(stored, key)
    finish = Seen._finish

    def overtaken(seen: Seen, *change: Any) -> None:
        monkeypatch.setattr(Seen, "_finish", finish)
        alice.update(secret_id, b"meanwhile")
        finish(seen, *change)

    monkeypatch.setattr(Seen, "_finish", overtaken)
    alice(action, secret_id=secret_id, **CHANGES[action])
    entries = trail(stored)
    assert [entry["action"] for entry in entries] == ["update", action.replace("-", "_")]
    versions = [entry["details"]["version"] for entry in entries if entry["action"] == "update"]
    assert versions == [2, 3][: len(versions)]
    # A deleted secret is gone.
    assert all(found["version"] == versions[-1] and "lease" not in found for found in stored.secrets.find())


def test_an_expiry_that_is_overtaken_binds_all_versions(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is updated before a new expiry reads its versions is read again, and can be fetched."""
    secret_id = put(stored, key)
    whole = Seen.whole

    def overtaken(seen: Seen) -> Any:
        monkeypatch.setattr(Seen, "whole", whole)
        alice.update(secret_id, b"meanwhile")
        return whole(seen)

    monkeypatch.setattr(Seen, "whole", overtaken)
    alice("update-metadata", secret_id=secret_id, ttl_seconds=60)
    assert alice.fetch(secret_id) == b64(b"meanwhile")


def test_a_lease_that_ended_during_a_new_expiry_is_busy(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a lease that has ended, a new expiry is refused and nothing is changed."""
    secret_id = put(stored, key)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"lease": LAPSED}})
    whole = Seen.whole

    def ended(seen: Seen) -> Any:
        stored.secrets.update_one({"_id": secret_id}, {"$unset": {"lease": True}})
        return whole(seen)

    monkeypatch.setattr(Seen, "whole", ended)
    assert alice.refused("update-metadata", secret_id=secret_id, ttl_seconds=60) == 503
    assert "expires_at" not in document(stored, secret_id)


@pytest.mark.promise(5)
def test_of_many_creates_of_a_free_name_one_wins(alice: Caller, stored: Stored) -> None:
    """Of concurrent creates with one name exactly one succeeds, and each has its own entry."""
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: alice.post("create", {**NEW, "name": NAME}), range(16)))
    assert Counter(reply.status_code for reply in replies) == {200: 1, 409: 15}
    assert sum(successes(stored).values()) == 16
    assert [found["pending"] for found in stored.secrets.find() if "pending" in found] == []


def test_a_name_that_is_taken_meanwhile_is_refused(
    alice: Caller, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that another create takes just before the commit is 409, and the refusal has its entry."""
    insert_all = Secret.insert_all

    def late(*secrets_and_session: Any) -> None:
        monkeypatch.setattr(Secret, "insert_all", insert_all)
        stored.secrets.insert_one({"_id": "other", "namespace": "default", "name": NAME})
        insert_all(*secrets_and_session)

    monkeypatch.setattr(Secret, "insert_all", late)
    assert alice.refused("create", **NEW, name=NAME) == 409
    assert successes(stored) == {("create", "bad_request"): 1}


@pytest.mark.promise(3)
def test_a_write_that_is_made_again_has_one_effect(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lease, a held name and a reserved read succeed if MongoDB made them before a timeout, too."""
    for module in (lease, read_limits, store):
        monkeypatch.setattr(module, "unblocked", lambda write: [write(), write()][1])
    monkeypatch.setattr(store.SecretStore, "create", lambda *_: False)
    secret_id = put(stored, key, max_reads=1)
    stored.secrets.update_one({"_id": secret_id}, {"$set": {"lease": LAPSED}})
    alice.update(secret_id, b"new")
    assert alice.fetch(secret_id) == b64(b"new")
    assert alice.refused("fetch", secret_id=secret_id) == 404
    alice.create(name=NAME)
    assert sum(successes(stored).values()) == 4


@pytest.mark.parametrize("action", ["create", "update", "fetch"])
def test_what_a_dead_process_has_locked_is_free_within_the_request(
    alice: Caller, stored: Stored, mongo_uri: str, key: MasterKey, action: str
) -> None:
    """A write that the transaction of a dead process blocks ends that transaction, and is made."""
    secret_id = put(stored, key, max_reads=1)
    calls: dict[str, Callable[[], object]] = {
        "create": lambda: alice.create(name=NAME),
        "update": lambda: alice.update(secret_id, b"new"),
        "fetch": lambda: alice.fetch(secret_id),
    }
    with open_transaction(mongo_uri, insert if action == "create" else relabel(secret_id)):
        calls[action]()
    assert successes(stored) == {(action, "success"): 1}


@pytest.mark.promise(3)
@pytest.mark.parametrize("overtaken_by", ["another change", "nothing"])
def test_a_process_that_stood_still_makes_its_change_once(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch, overtaken_by: str
) -> None:
    """A change whose transaction was ended as a dead process's is made again, also after another change."""
    secret_id = put(stored, key)
    commit_transaction = ClientSession.commit_transaction
    if overtaken_by == "nothing":
        monkeypatch.setattr(SecretLease, "take", None)
    field = {"another change": "metadata_version", "nothing": "held_tries"}[overtaken_by]

    def late(session: ClientSession) -> None:
        monkeypatch.setattr(ClientSession, "commit_transaction", commit_transaction)
        unblocked(lambda: stored.secrets.update_one({"_id": secret_id}, {"$set": {field: 1}}))
        commit_transaction(session)

    monkeypatch.setattr(ClientSession, "commit_transaction", late)
    alice.update(secret_id, b"new")
    found = document(stored, secret_id)
    assert (found["version"], found[field]) == (2, 1)
    assert alice.fetch(secret_id) == b64(b"new")
    assert successes(stored) == {("update", "success"): 1, ("fetch", "success"): 1}


def test_what_a_foreign_transaction_has_locked_is_busy_and_nothing_else(
    alice: Caller, stored: Stored, mongo_uri: str, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change of a secret that another program has locked is 503; other changes and fetches succeed."""
    monkeypatch.setattr(lease, "unblocked", soon_given_up)
    secret_id, other = put(stored, key), put(stored, key)
    with open_transaction(mongo_uri, relabel(secret_id), "another"), ThreadPoolExecutor(1) as pool:
        blocked = pool.submit(alice.refused, "update", secret_id=secret_id, **NEW)
        for _ in range(5):
            alice.update(other, b"new")
            alice.fetch(other)
        assert blocked.result() == 503
    assert successes(stored) == {("update", "success"): 5, ("fetch", "success"): 5, ("update", "error"): 1}


class Held:
    """The commits of a service, which wait until all *requests* have joined the second one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sizes: list[int] = []
        self._released, self._began = Event(), Event()
        self._store = AuditEntry.store
        monkeypatch.setattr(AuditEntry, "store", self._held)

    def _held(self, entries: Sequence[Mapping[str, Any]], *effect: Any) -> None:
        self._began.set()
        assert self._released.wait(60)
        self.sizes.append(len(entries))
        self._store(entries, *effect)

    @contextmanager
    def joined(self, app: Flask, requests: Sequence[Callable[[], Any]]) -> Iterator[list[Future[Any]]]:
        """Send *requests* while the first one is committed, and release the commits after the block."""
        first, *others = requests
        with ThreadPoolExecutor(len(requests)) as pool:
            sent = [pool.submit(first)]
            assert self._began.wait(60)
            sent += map(pool.submit, others)
            commits = app.extensions["secret-manager"].startup._trail._commits
            wait_until(lambda: commits.waiting == len(others))
            try:
                yield sent
            finally:
                self._released.set()


@pytest.mark.promise(3)
@pytest.mark.new_database
def test_conflicts_refuse_no_one_else(
    alice: Caller, app: Flask, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a commit with a conflict, every other create, change and fetch is recorded and made once."""
    ids = [put(stored, key) for _ in range(5)]
    held = Held(monkeypatch)
    requests = [
        lambda: alice.fetch(ids[0]),
        lambda: alice.fetch(ids[0]),
        *(lambda one=one: alice.update(one, b"new") for one in (*ids, ids[0])),
        lambda: alice.create(name=NAME),
    ]
    with held.joined(app, requests) as sent:
        stored.secrets.update_one({"_id": ids[2]}, {"$inc": {"metadata_version": 1}})
    for request in sent:
        request.result()
    assert successes(stored) == {
        ("fetch", "success"): 2,
        ("update", "success"): 6,
        ("create", "success"): 1,
    }
    assert [document(stored, one)["version"] for one in ids] == [3, 2, 2, 2, 2]
    entries = stored.audit_logs.find().sort([("stream", 1), ("seq", 1)])
    assert findings(map(record_of, entries), own(Keyring(key))) == []


@pytest.mark.promise(3)
def test_a_failure_after_a_conflict_fails_all_and_stores_nothing(
    alice: Caller, app: Flask, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If MongoDB fails when a commit with a conflict is repeated, all who share it get 503."""
    ids = [put(stored, key) for _ in range(2)]
    held = Held(monkeypatch)
    requests = [lambda: alice.fetch(ids[0])]
    requests += [lambda: alice.post("fetch", {"secret_id": ids[1]}).status_code]
    requests += [lambda one=one: alice.post("update", {"secret_id": one, **NEW}).status_code for one in ids]
    with held.joined(app, requests) as sent:
        stored.secrets.update_one({"_id": ids[0]}, {"$inc": {"metadata_version": 1}})
        monkeypatch.setattr(Secret, "apply_all", failing_after_a_conflict())
    assert [request.result() for request in sent] == [b64(b"value"), 503, 503, 503]
    assert sum(successes(stored).values()) == 1


def failing_after_a_conflict() -> Callable[..., bool]:
    calls: list[object] = []

    def apply_all(changes: Sequence[SecretChange], *_: Any) -> bool:
        calls.append(changes)
        if len(calls) > 1:
            raise AutoReconnect
        return False

    return apply_all


@pytest.mark.promise(3)
def test_a_change_of_unknown_outcome_is_503(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change whose commit has no known outcome is reported as unknown, not as certainly not made."""
    secret_id = put(stored, key)
    store = AuditEntry.store

    def lost(*entries_and_effect: Any) -> None:
        store(*entries_and_effect)
        raise AutoReconnect("gone")

    monkeypatch.setattr(AuditEntry, "store", lost)
    reply = alice.post("update", {"secret_id": secret_id, **NEW})
    assert (reply.status_code, reply.json["code"]) == (503, StorageUnavailableError.kind)
    assert document(stored, secret_id)["version"] == 2


@pytest.mark.promise(3)
def test_large_values_share_no_commit_that_mongodb_aborts(
    alice: Caller, app: Flask, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many large updates and creates at once are all made, those in one commit up to a limited size."""
    monkeypatch.setattr(commit, "_MAX_BYTES", 500_000)
    value = {"secret": b64(bytes(60_000))}
    ids = [put(stored, key) for _ in range(12)]
    held = Held(monkeypatch)
    requests = [lambda: alice.fetch(ids[0])]
    requests += [lambda one=one: alice.post("update", {"secret_id": one, **value}).status_code for one in ids]
    requests += [lambda: alice.post("create", value).status_code] * 12
    with held.joined(app, requests) as sent:
        pass
    assert [request.result() for request in sent[1:]] == [200] * 24
    assert held.sizes[:2] == [1, 8]


def test_a_large_secret_is_changed_apart(
    alice: Caller, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one waits for the write of a document with a large history: others do not share its commit."""
    monkeypatch.setattr(lease, "_MAX_SHARED_BYTES", 1_000)
    ids = [put(stored, key, bytes(size)) for size in (1_000, 1)]
    effects: list[int] = []
    store = AuditEntry.store

    def stored_with(entries: Any, effect: object = None) -> None:
        effects.append(effect is not None)
        store(entries, effect)

    monkeypatch.setattr(AuditEntry, "store", stored_with)
    for one in ids:
        alice.update(one, b"new")
    assert effects == [False, True]


@pytest.mark.promise(3)
def test_an_effect_that_mongodb_refuses_fails_no_one_else(
    alice: Caller, app: Flask, stored: Stored, key: MasterKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others share the commit of a change that fails, even one of a document that holds what is no value."""
    ids = [put(stored, key) for _ in range(3)]
    stored.secrets.update_one({"_id": ids[0]}, {"$set": {"metadata_version": {"$bad": 1}}})
    stored.command("collMod", "secrets", validator={"labels": {"$ne": "bad=1"}})
    held = Held(monkeypatch)
    requests = [
        lambda: alice.fetch(ids[2]),
        lambda: alice.post("update", {"secret_id": ids[0], **NEW}).status_code,
        lambda: alice.post("update-metadata", {"secret_id": ids[1], "labels": {"bad": "1"}}).status_code,
        lambda: alice.post("update", {"secret_id": ids[2], **NEW}).status_code,
        lambda: alice.fetch(ids[2]),
    ]
    with held.joined(app, requests) as sent:
        pass
    stored.command("collMod", "secrets", validator={})
    value = b64(b"value")
    assert [request.result() for request in sent] == [value, 200, 503, 200, value]
