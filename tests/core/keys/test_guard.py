"""A replica that lacks a key in use does not serve, and logs the reason."""

import json
import logging
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier, Event, Thread, get_ident
from threading import enumerate as running_threads
from time import monotonic
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from pymongo.errors import ExecutionTimeout, OperationFailure, ServerSelectionTimeoutError
from pymongo.synchronous.topology import Topology

from tests.conftest import running_app
from tests.support.problems import messages_of
from tests.support.rotation import Stored, age_claims, claim, fill, new_key, settings, text, values
from tests.support.waiting import wait_until
from vault.common.errors import KeyMissingError, StorageUnavailableError
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import Database, keys_in_use, registry
from vault.core.documents.stored_secret import StoredSecret
from vault.core.keys import guard
from vault.core.keys.guard import KeyringGuard
from vault.core.keys.rewrap import rewrap_version, write_rewrapped
from vault.core.trail.streams import signing_keys
from vault.core.trail.writer import AuditTrail

CREATE = "/vault/secret/create/"
FETCH = "/vault/secret/fetch"
UNKNOWN_ID = "550e8400-e29b-41d4-a716-446655440000"
OURS, FOREIGN, OTHER = (new_key() for _ in range(3))


@pytest.fixture
def environment(mongo_uri: str) -> dict[str, str]:
    return settings(mongo_uri, OURS)


@pytest.fixture
def seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause the thread, so that only requests check."""
    monkeypatch.setattr(guard, "INTERVAL_SECONDS", 3_600)


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the thread check continuously."""
    monkeypatch.setattr(guard, "INTERVAL_SECONDS", 0.01)


@pytest.fixture
def searching(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make each check search for the keys in use."""
    monkeypatch.setattr(guard, "SEARCH_INTERVAL_SECONDS", 0)


@pytest.fixture
def watch(database: Database) -> Iterator[KeyringGuard]:
    watch = KeyringGuard(Keyring(OURS), database, trusts=signing_keys.trusted)
    yield watch
    watch.close()


def watch_of(app: Flask) -> KeyringGuard:
    found: KeyringGuard = app.extensions["secret-manager"].secrets._guard
    return found


@contextmanager
def database_trail(keyring: Keyring) -> Iterator[None]:
    """Begin a trail with *keyring*."""
    trail = AuditTrail(keyring)
    trail.connect()
    trail.start()
    yield
    trail.disconnect()


def threads() -> list[Thread]:
    return [thread for thread in running_threads() if thread.name == "key-watch"]


def refused(watch: KeyringGuard) -> bool:
    try:
        watch.require()
    except KeyMissingError:
        return True
    return False


def assert_refuses(client: FlaskClient, secret_id: str = UNKNOWN_ID) -> None:
    for path, body in ((CREATE, {"secret": "YQ=="}), (FETCH, {"secret_id": secret_id})):
        reply = client.post(path, json=body)
        assert reply.status_code == 503
        assert reply.content_type == "application/problem+json"
        assert int(reply.headers["Retry-After"]) > 0
        assert json.loads(reply.data) == {
            "type": "/problems/key-missing",
            "title": "Master key missing",
            "status": 503,
            "detail": "The service is not ready. Try again shortly.",
            "code": "key_missing",
            "request_id": reply.headers["X-Request-ID"],
        }
    reply = client.get("/health/ready")
    assert reply.status_code == 503
    assert int(reply.headers["Retry-After"]) > 0
    [[reason]] = messages_of(reply.json).values()
    assert FOREIGN.id in reason


def assert_serves(client: FlaskClient) -> None:
    created = client.post(CREATE, json={"secret": "YQ=="})
    assert created.status_code == 200
    assert client.post(FETCH, json=created.json).json == {"secret": "YQ=="}
    assert client.get("/health/ready").status_code == 200


@pytest.mark.promise(6)
@pytest.mark.usefixtures("seldom")
def test_a_wrong_key_is_noticed_before_serving(
    client: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica without the key of stored data refuses with 503, writes nothing, and logs why.

    It does not write to the trail either, because its signatures could not be verified.
    """
    before = fill(stored, FOREIGN, 3)
    assert_refuses(client, next(iter(before)))
    assert values(stored, FOREIGN) == before
    assert stored["keys"].count_documents({}) == 0
    assert stored.audit_logs.count_documents({}) == 0
    [said] = [record.getMessage() for record in caplog.records if record.name == guard.logger.name]
    assert said.startswith(
        f"not serving: master key {FOREIGN.id} is in use and not in the keyring; 3 secret versions need it: "
    )
    # As a fallback of a wrong key, it would sign nothing: later entries would be under the wrong one.
    assert "MASTER_KEY_FALLBACKS" not in said
    assert OURS.id in said
    assert OURS.id in client.get("/health/ready").text
    for key in (OURS, FOREIGN):
        assert text(key) not in caplog.text
        assert key._material.hex() not in caplog.text
        assert str(key._material)[2:-1] not in caplog.text


@pytest.mark.usefixtures("seldom")
def test_each_missing_key_is_named(
    watch: KeyringGuard, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names each missing key with its own count, once and not at each request."""
    fill(stored, FOREIGN, 2)
    fill(stored, OTHER, 1)
    fill(stored, OURS, 5)
    assert [refused(watch) for _ in range(3)] == [True] * 3
    said = sorted(record.getMessage() for record in caplog.records)
    assert said == sorted(
        f"not serving: master key {key.id} is in use and not in the keyring; "
        f"{count} secret versions need it: add it to MASTER_KEY_FALLBACKS"
        for key, count in ((FOREIGN, 2), (OTHER, 1))
    )


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("knows", ["nothing", "a value", "an older version", "the token key", "the trail"])
def test_a_wrong_key_is_told_from_a_missing_one(stored: Stored, knows: str) -> None:
    """Only if the database knows a key here, another one can be missing as well."""
    fill(stored, FOREIGN, 1)
    if knows == "a value":
        fill(stored, OURS, 1)
    elif knows == "an older version":
        stored.secrets.update_one({}, {"$set": {"older": [{"key_id": OURS.id}]}})
    elif knows == "the token key":
        stored.token_keys.insert_one({"_id": "one", "key_id": OURS.id, "envelope": b""})
    elif knows == "the trail":
        with database_trail(Keyring(FOREIGN, [OURS])):
            pass
    for held in ([], [OTHER]):
        with pytest.raises(KeyMissingError, match=FOREIGN.id) as caught:
            guard.require_agreement(Keyring(OURS, held), signing_keys.trusted, audit_enabled=None)
        assert (OURS.id in str(caught.value)) is (knows == "nothing")
        assert ("MASTER_KEY" in str(caught.value)) is (knows == "nothing")
    with pytest.raises(KeyMissingError, match="keyring file"):
        guard.require_agreement(Keyring(OURS, file="digest"), signing_keys.trusted, audit_enabled=None)


@pytest.mark.usefixtures("database")
def test_readiness_shows_no_other_text_than_key_ids(watch: KeyringGuard, stored: Stored) -> None:
    """Someone can store any text as a key's ID, and anyone can ask for the readiness."""
    for number, key_id in enumerate(("<b>", "f" * 16, *(f"{one:016x}" for one in range(5)))):
        stored.secrets.insert_one({"_id": str(number), "key_id": key_id})
    with pytest.raises(KeyMissingError) as caught:
        watch.require()
    text = str(caught.value)
    assert [f"{one:016x}" in text for one in range(5)] == [True] * 3 + [False] * 2
    assert "4 more" in text
    assert "<b>" not in text


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize(("signer", "is_shown"), [("<b>", False), ("f" * 16, True)])
def test_readiness_shows_no_other_text_than_a_signer(
    watch: KeyringGuard, stored: Stored, signer: str, is_shown: bool
) -> None:
    """Someone can store any text as the signer of the trail, too."""
    stored["keys"].insert_one({"_id": "claims", "workers": [], "trail": {"signer": signer}})
    with pytest.raises(KeyMissingError) as caught:
        watch.require()
    assert (signer in str(caught.value)) is is_shown


@pytest.mark.usefixtures("seldom")
def test_a_key_in_use_by_a_replica_is_missing_too(
    client: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """On an empty database, a replica does not serve next to one that writes with an unknown key."""
    assert claim(Keyring(FOREIGN))
    assert_refuses(client)
    assert stored.secrets.count_documents({}) == 0
    assert f"key {FOREIGN.id} is in use and not in the keyring; a worker encrypts under it" in caplog.text
    age_claims(stored)
    assert_serves(client)
    assert registry.writing_key_ids() == {OURS.id}


@pytest.mark.usefixtures("seldom")
def test_a_replica_serves_after_the_rewrap(
    app: Flask, client: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """When nothing needs the missing key any more, the replica serves without a restart, and logs it."""
    before = fill(stored, FOREIGN, 3)
    assert_refuses(client)
    for secret in map(StoredSecret, list(stored.secrets.find())):
        change = rewrap_version(secret, secret.newest, Keyring(OURS, [FOREIGN]))
        assert change
        assert write_rewrapped([change]) == 1
    watch_of(app).look()
    assert "serving: every master key that is in use is in the keyring" in caplog.messages
    assert values(stored, OURS) == before
    assert_serves(client)


@pytest.mark.promise(6)
@pytest.mark.usefixtures("seldom", "searching")
def test_a_serving_replica_stops_when_an_unknown_key_appears(
    app: Flask, client: FlaskClient, stored: Stored
) -> None:
    """A secret with an unknown key stops creates and fetches until it is gone."""
    assert_serves(client)
    fill(stored, FOREIGN, 1)
    watch_of(app).look()
    assert_refuses(client)
    stored.secrets.delete_many({"key_id": FOREIGN.id})
    watch_of(app).look()
    assert_serves(client)


@pytest.mark.usefixtures("seldom")
def test_a_key_unknown_to_running_workers_is_not_used(
    client: FlaskClient, stored: Stored, caplog: pytest.LogCaptureFixture
) -> None:
    """A replica swapped too early does not serve and logs why; running ones continue."""
    running = registry.Worker(Keyring(FOREIGN))
    assert running.claim()
    fill(stored, FOREIGN, 1)
    swapped = KeyringGuard(Keyring(OURS, [FOREIGN]), Database.__new__(Database), trusts=signing_keys.trusted)
    swapped.look()
    assert (
        f"other workers lack this one's primary master key {OURS.id}; start this one with theirs"
        in caplog.text
    )
    assert running.renewed_signer() == ""
    assert_refuses(client)


@pytest.mark.promise(6)
@pytest.mark.usefixtures("seldom")
def test_a_replica_serves_only_with_a_claim(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another replica makes a conflicting claim just before its own one, the replica does not serve."""
    ask, answers = registry.claims, [[]]
    monkeypatch.setattr(registry, "claims", lambda: answers.pop() if answers else ask())
    claim(Keyring(FOREIGN))
    assert refused(watch)
    age_claims(stored)
    assert not refused(watch)
    assert [claim.key_id for claim in ask()] == [OURS.id]


@pytest.mark.usefixtures("seldom")
def test_a_replica_with_an_expired_claim_checks_again(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that could not check for the duration of a claim checks before the next request."""
    now = 1_000.0
    monkeypatch.setattr(guard, "monotonic", lambda: now)
    watch.require()
    # It was cut off from MongoDB, or stopped, and another replica took over the empty database.
    age_claims(stored)
    assert claim(Keyring(FOREIGN))
    now += registry.CLAIM_MILLISECONDS / 1_000
    assert refused(watch)
    assert registry.writing_key_ids() == {FOREIGN.id}


@pytest.mark.usefixtures("seldom")
def test_a_missing_key_is_named_without_a_count(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If counting takes longer than a request may, the log still names the key."""

    def fail(_: str) -> int:
        raise ExecutionTimeout("operation exceeded time limit", code=50)

    monkeypatch.setattr(keys_in_use, "stored_versions", fail)
    fill(stored, FOREIGN, 1)
    assert refused(watch)
    assert f"not serving: master key {FOREIGN.id} is in use and not in the keyring" in caplog.text


@pytest.mark.usefixtures("seldom")
def test_a_secret_with_a_missing_key_is_503(client: FlaskClient, stored: Stored) -> None:
    """A secret just saved with an unknown key is 503, so the fetch can be retried."""
    assert_serves(client)
    [secret_id] = fill(stored, FOREIGN, 1)
    reply = client.post(FETCH, json={"secret_id": secret_id})
    assert reply.status_code == 503
    assert "Retry-After" in reply.headers
    entry = stored.audit_logs.find_one({"secret_id": secret_id})
    assert entry is not None
    assert entry["status"] == "error"


@pytest.mark.usefixtures("often", "searching")
def test_the_watch_survives_failures(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """After a MongoDB failure or a defect, the watch still notices a new key."""
    ask = keys_in_use.stored_key_ids
    errors = [ServerSelectionTimeoutError("gone"), RuntimeError("a defect"), OperationFailure("no", code=13)]
    asked_by = set()

    def ask_or_fail(besides: Iterable[str]) -> set[str]:
        asked_by.add(get_ident())
        if len(asked_by) > 1 and errors:
            raise errors.pop()
        return ask(besides)

    monkeypatch.setattr(keys_in_use, "stored_key_ids", ask_or_fail)
    watch.require()
    wait_until(lambda: not errors)
    fill(stored, FOREIGN, 1)
    wait_until(lambda: refused(watch))
    stored.secrets.delete_many({})
    wait_until(lambda: "serving: every master key" in caplog.text)
    assert not refused(watch)
    assert caplog.text.count("MongoDB failed") == 2
    assert caplog.text.count("key-watch failed") == 1
    # This thread and the one of the watch.
    assert len(asked_by) == 2


@pytest.mark.usefixtures("often")
def test_the_watch_renews_its_claim(watch: KeyringGuard, stored: Stored) -> None:
    """A replica without requests keeps renewing its claim."""
    watch.require()
    for _ in range(3):
        age_claims(stored)
        wait_until(lambda: registry.writing_key_ids() == {OURS.id})


@pytest.mark.usefixtures("often", "searching")
def test_closing_ends_the_watch(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing waits for the check in progress and ends the thread."""
    watch = KeyringGuard(Keyring(OURS), database, trusts=signing_keys.trusted)
    watch.require()
    began = Event()
    ended: list[bool] = []

    def look_slowly(_: object) -> set[str]:
        began.set()
        watch._watch._closed.wait(60)
        time.sleep(0.2)
        ended.append(True)
        return set()

    monkeypatch.setattr(keys_in_use, "stored_key_ids", look_slowly)
    assert began.wait(60)
    watch.close()
    assert ended == [True]
    assert not threads()


def test_a_watch_that_never_began_can_be_closed(database: Database) -> None:
    """Closing before the first request succeeds."""
    KeyringGuard(Keyring(OURS), database, trusts=signing_keys.trusted).close()
    assert not threads()


@pytest.mark.usefixtures("own_timeouts")
def test_requests_time_out_in_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    """While MongoDB is unreachable, requests wait for it in parallel, not one after the other."""
    side_by_side = Barrier(8, timeout=30)
    select = Topology.select_servers

    def select_together(*args: Any, **kwargs: Any) -> Any:
        # With a queue, its first request would wait here for the others until the barrier breaks.
        side_by_side.wait()
        return select(*args, **kwargs)

    monkeypatch.setattr(Topology, "select_servers", select_together)
    environment = settings("mongodb://127.0.0.1:1", OURS)
    with running_app(environment) as app:
        watch = watch_of(app)

        def ask(_: int) -> None:
            with pytest.raises(StorageUnavailableError):
                watch.require()

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(ask, range(8)))
        assert not threads()


def fail(*_: object) -> Any:
    raise ServerSelectionTimeoutError("gone")


@pytest.mark.usefixtures("seldom", "searching")
def test_without_mongodb_the_last_result_applies(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed check neither stops a serving replica nor admits a refused one."""
    watch.require()
    with monkeypatch.context() as patch:
        patch.setattr(registry.Worker, "renewed_signer", fail)
        with pytest.raises(StorageUnavailableError):
            watch.look()
        watch.require()
    fill(stored, FOREIGN, 1)
    watch.look()
    assert refused(watch)
    monkeypatch.setattr(keys_in_use, "stored_key_ids", fail)
    with pytest.raises(StorageUnavailableError):
        watch.require()


@pytest.mark.usefixtures("seldom", "searching")
def test_a_failed_search_stops_no_request_while_the_claim_holds(
    watch: KeyringGuard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If one shard does not answer, a replica serves on as long as it renews its claim, and no longer."""
    now = 1_000.0
    monkeypatch.setattr(guard, "monotonic", lambda: now)
    watch.require()
    monkeypatch.setattr(keys_in_use, "stored_key_ids", fail)
    for _ in range(3):
        now += registry.CLAIM_MILLISECONDS / 2_000
        watch.look()
        watch.require()
    assert "MongoDB failed" in caplog.text
    monkeypatch.setattr(registry.Worker, "renewed_signer", fail)
    now += registry.CLAIM_MILLISECONDS / 1_000
    with pytest.raises(StorageUnavailableError):
        watch.require()


@pytest.mark.promise(6)
@pytest.mark.usefixtures("seldom")
def test_a_value_stored_before_the_claim_is_noticed(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If another process writes, and stops, between the search and the claim, the replica does not serve."""
    claim_ours = registry.Worker.claim

    def write_first(worker: registry.Worker) -> bool:
        fill(stored, FOREIGN, 1)
        return claim_ours(worker)

    monkeypatch.setattr(registry.Worker, "claim", write_first)
    assert refused(watch)
    assert registry.writing_key_ids() == set()


@pytest.mark.promise(6)
@pytest.mark.usefixtures("seldom")
def test_a_paused_replica_does_not_trust_a_claim_that_another_one_has_just_made(
    watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause in which its claim may have expired, a replica searches for keys in use."""
    watch.require()
    age_claims(stored)
    newer = registry.Worker(Keyring(FOREIGN, [OURS]))
    assert newer.claim()
    fill(stored, FOREIGN, 1)
    newer.release()
    # Before its second search, which withdraws this claim.
    assert registry.Worker(Keyring(OURS)).claim()
    later = monotonic() + registry.CLAIM_MILLISECONDS / 2_000
    monkeypatch.setattr(guard, "monotonic", lambda: later)
    assert refused(watch)


@pytest.mark.usefixtures("seldom")
def test_a_check_is_cheap(watch: KeyringGuard, stored: Stored, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle replica reads the claims at each check, and writes its own document at each second one.

    For all replicas with the same keys, one of them writes the claim.
    """
    registry.begin_trail(SigningKey(OURS).public.signer)
    watch.require()
    now = monotonic()
    monkeypatch.setattr(registry, "monotonic", lambda: now)

    def commands() -> list[str]:
        stored.command("profile", 2)
        watch.look()
        stored.command("profile", 0)
        found = stored["system.profile"].find({"ns": {"$regex": "keys$|secrets$|audit_logs$"}})
        made = [operation["op"] for operation in found]
        stored["system.profile"].drop()
        return made

    assert commands() == ["query"]
    now += 10
    assert commands() == ["update", "query"]
    age_claims(stored, 11_000)
    assert commands() == ["query", "command"]
    assert commands() == ["query"]


def test_no_representation_of_a_watch_shows_a_key(
    watch: KeyringGuard, caplog: pytest.LogCaptureFixture
) -> None:
    """The `repr` of a watch, as in logs and debuggers, contains no key."""
    with caplog.at_level(logging.DEBUG):
        watch.look()
    assert text(OURS) not in caplog.text + repr(vars(watch))
    assert OURS._material.hex() not in repr(vars(watch))
