"""The audit trail's entries, and the effect of their absence."""

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from threading import Event
from time import time
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app
from tests.support.rotation import connected
from tests.support.trail import block_trail, restore_trail
from tests.support.waiting import wait_until
from tests.support.written_trail import findings
from vault.common.errors import AuditUnavailableError
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt, finish_all
from vault.core.crypto import Keyring
from vault.core.crypto.token import new_token
from vault.core.documents import AuditEntry, Database
from vault.core.documents.audit import record_of
from vault.core.secrets.wrapping import WrappingToken
from vault.core.trail.streams import collection
from vault.core.trail.streams.signing_keys import own
from vault.core.trail.streams.stream import Stream
from vault.core.trail.writer import AuditTrail

#: The fields that chain an entry, see `test_stream.py`.
CHAINING = ["stream", "seq", "previous", "previous_ts", "hash", "signer", "signature"]


@pytest.mark.promise(3)
@pytest.mark.usefixtures("app")
def test_an_attempt_leaves_one_entry(stored: MongoDatabase[dict[str, Any]]) -> None:
    """The first outcome of an attempt is recorded with all known details, and no second one."""
    attempt = Attempt(
        action=Action.FETCH, ip="192.0.2.1", user_agent="curl/8", request_id="r-1", secret_id="an-id"
    )
    attempt.finish(Status.SUCCESS)
    attempt.finish(Status.ERROR)
    [entry] = stored.audit_logs.find({}, dict.fromkeys(["_id", "ts", *CHAINING], False))
    assert entry == {
        "action": "fetch",
        "status": "success",
        "principal": "anonymous",
        "secret_id": "an-id",
        "ip": "192.0.2.1",
        "ua": "curl/8",
        "request_id": "r-1",
    }


@pytest.mark.usefixtures("app")
def test_an_unrecordable_entry_fails_alone(stored: MongoDatabase[dict[str, Any]]) -> None:
    """An entry without a canonical form is refused before others share a commit with it."""
    attempts = [Attempt(action=Action.FETCH, details={"text": text}) for text in ["good", "\ud800"] * 10]

    def finish(attempt: Attempt) -> bool:
        try:
            attempt.finish(Status.SUCCESS)
        except UnicodeEncodeError:
            return False
        return True

    # One connects, for all.
    Attempt(action=Action.FETCH).finish(Status.SUCCESS)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(finish, attempts)) == [True, False] * 10
    assert stored.audit_logs.count_documents({}) == 11


@pytest.mark.usefixtures("app")
def test_outcomes_that_finish_together_share_a_commit(stored: MongoDatabase[dict[str, Any]]) -> None:
    """Each part of a batch has one entry, all in one commit; the batch itself has none."""
    batch = Attempt(action=Action.FETCH, ip="192.0.2.1", secret_id="of another", details={"reason": "x"})
    parts = [batch.part() for _ in range(100)]
    for number, part in enumerate(parts):
        part.secret_id = str(number)
    listing = batch.part(Action.LIST)
    outcomes = [(listing, Status.SUCCESS), *((part, Status.SUCCESS) for part in parts)]
    finish_all(outcomes)
    finish_all(outcomes)
    parts[0].finish(Status.ERROR)
    batch.finish(Status.ERROR)
    entries = list(stored.audit_logs.find().sort("seq"))
    assert [entry.get("secret_id") for entry in entries] == [None, *map(str, range(100))]
    assert [entry["action"] for entry in entries] == ["list", *["fetch"] * 100]
    assert {entry["ip"] for entry in entries} == {"192.0.2.1"}
    assert not any("details" in entry for entry in entries)
    assert ["signature" in entry for entry in entries] == [*[False] * 100, True]


@pytest.mark.usefixtures("app")
def test_outcomes_without_their_entries_fail_together(stored: MongoDatabase[dict[str, Any]]) -> None:
    """If the trail is unavailable, all outcomes fail, and none of them is retried."""
    attempts = [Attempt(action=Action.FETCH) for _ in range(3)]
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        finish_all([(attempt, Status.SUCCESS) for attempt in attempts])
    restore_trail(stored)
    finish_all([(attempt, Status.SUCCESS) for attempt in attempts])
    assert stored.audit_logs.count_documents({}) == 0


@pytest.mark.usefixtures("app")
def test_a_user_agent_is_shortened_and_escaped(stored: MongoDatabase[dict[str, Any]]) -> None:
    """A user agent can neither fill the trail nor control a terminal that shows it."""
    Attempt(action=Action.FETCH, user_agent="\x1b[2J\n" + "x" * 1000).finish(Status.SUCCESS)
    entry = stored.audit_logs.find_one()
    assert entry is not None
    assert entry["ua"] == "\\u001b[2J\\u000a" + "x" * 241


@pytest.mark.promise("credentials")
@pytest.mark.usefixtures("app")
def test_an_entry_contains_no_token(stored: MongoDatabase[dict[str, Any]]) -> None:
    """A token that a caller sends in place of another text is masked, also where the text is truncated."""
    token, wrapping = new_token(), WrappingToken.new().text
    details = {"name": f"a/{token}", "versions": [1], "more": {token: [wrapping], "on": True}}
    Attempt(action=Action.FETCH, user_agent=f"{'x' * 180}{token}", details=details).finish(Status.SUCCESS)
    [entry] = stored.audit_logs.find()
    assert entry["details"] == {"name": "a/…", "versions": [1], "more": {"…": ["…"], "on": True}}
    assert entry["ua"] == "x" * 180 + "…"


def test_a_clock_set_within_a_commit_is_no_tampering(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """An entry's `_id` has the entry's own time, whatever the clock shows when it is created."""
    monkeypatch.setattr("bson.objectid.time", SimpleNamespace(time=lambda: time() + 3_600))
    assert app.test_client().post("/vault/secret/create/", json={"secret": "YQ=="}).status_code == 200
    [record] = collection.records({}, ("_id", 1))
    assert record["hash"]


def test_a_closed_application_releases_nothing(environment: dict[str, str]) -> None:
    """After the application is closed, a request in progress gets 503."""
    with running_app(environment) as app:
        client = app.test_client()
        secret = client.post("/vault/secret/create/", json={"secret": "YQ=="}).get_json()
    for body in (secret, {"secret_id": "no id"}):
        reply = client.post("/vault/secret/fetch", json=body)
        assert reply.status_code == 503
        assert "secret" not in reply.get_json(force=True)
    with pytest.raises(AuditUnavailableError):
        Attempt(action=Action.FETCH).finish(Status.SUCCESS)


def test_without_a_trail_attempts_finish_silently(
    environment: dict[str, str], stored: MongoDatabase[dict[str, Any]]
) -> None:
    """With `AUDIT_ENABLED=false` the service works and writes no entry."""
    with running_app({**environment, "AUDIT_ENABLED": "false"}) as app:
        client = app.test_client()
        created = client.post("/vault/secret/create/", json={"secret": "YQ=="})
        assert created.status_code == 200
        assert client.post("/vault/secret/fetch", json=created.json).json == {"secret": "YQ=="}
    assert stored.audit_logs.count_documents({}) == 0


def write(trail: AuditTrail, number: int = 0) -> None:
    trail._on_finish([(Attempt(action=Action.FETCH, request_id=str(number)), Status.SUCCESS)])


def records(stored: MongoDatabase[dict[str, Any]]) -> list[dict[str, Any]]:
    return [record_of(document) for document in stored.audit_logs.find().sort([("stream", 1), ("seq", 1)])]


def test_concurrent_attempts_are_one_chain(
    trail: AuditTrail, keyring: Keyring, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """Each of many concurrent attempts has exactly one entry, in one chain that verifies."""
    with ThreadPoolExecutor(24) as pool:
        list(pool.map(write, [trail] * 300, range(300)))
    written = records(stored)
    assert Counter(record["request_id"] for record in written) == Counter(map(str, range(300)))
    assert [record["seq"] for record in written] == list(range(300))
    assert len({record["stream"] for record in written}) == 1
    # They shared commits; otherwise the test proves nothing.
    assert sum("signature" in record for record in written) < 300
    assert findings(written, own(keyring)) == []


class Gate:
    """Holds commits until it is opened, and records the number of entries of each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.opened = Event()
        self.commits: list[int] = []
        chain = Stream.chain

        def held_up(stream: Stream, entries: Sequence[AuditEntry], now: Any) -> None:
            self.commits.append(len(entries))
            assert self.opened.wait(60)
            chain(stream, entries, now)

        monkeypatch.setattr(Stream, "chain", held_up)

    def fill(self, trail: AuditTrail, pool: ThreadPoolExecutor, waiting: int) -> list[Future[None]]:
        """Begin one commit, and queue this many attempts for the next."""
        futures = [pool.submit(write, trail, 0)]
        wait_until(lambda: self.commits)
        futures += [pool.submit(write, trail, number) for number in range(1, waiting + 1)]
        wait_until(lambda: len(trail._commits._pending) == waiting)
        return futures


def test_a_failed_commit_fails_exactly_its_own_attempts(
    trail: AuditTrail, stored: MongoDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All attempts of a failed commit get an error; those before and after it have their entries."""
    write(trail, 100)
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(8) as pool:
        futures = gate.fill(trail, pool, waiting=3)
        block_trail(stored)
        gate.opened.set()
        for future in futures:
            assert isinstance(future.exception(60), AuditUnavailableError)
    restore_trail(stored)
    write(trail, 101)
    assert sorted(record["request_id"] for record in records(stored)) == ["100", "101"]


def test_a_defect_is_not_reported_as_an_unwritable_trail(
    trail: AuditTrail, keyring: Keyring, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A defect is raised unchanged, and the trail continues in a new stream."""
    write(trail)
    with pytest.raises(OverflowError):
        trail._on_finish([(Attempt(action=Action.FETCH, details={"n": 2**70}), Status.SUCCESS)])
    write(trail)
    assert [record["seq"] for record in records(stored)] == [0, 0]
    assert findings(records(stored), own(keyring)) == []


def test_an_interruption_after_the_commit_reuses_no_number(
    trail: AuditTrail,
    keyring: Keyring,
    stored: MongoDatabase[dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A commit that is cut off after storing, before its callers know, only ends the stream."""
    write(trail)
    with monkeypatch.context() as broken, pytest.raises(AuditUnavailableError):
        broken.setattr(Stream, "committed", _interrupt)
        write(trail)
    write(trail)
    written = records(stored)
    assert sorted(record["seq"] for record in written) == [0, 0, 1]
    assert findings(written, own(keyring)) == []


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_trail_recovers_by_itself(trail: AuditTrail, stored: MongoDatabase[dict[str, Any]]) -> None:
    """After a failure, the trail is healthy only once it has written an entry of its own."""
    trail.connect()
    with pytest.raises(AuditUnavailableError):
        trail.check()
    trail.start()
    trail.check()
    assert records(stored) == []
    block_trail(stored)
    for attempt in (lambda: write(trail), trail.start, trail.check):
        with pytest.raises(AuditUnavailableError):
            attempt()
    restore_trail(stored)
    with pytest.raises(AuditUnavailableError):
        trail.check()
    assert records(stored) == []
    trail.start()
    trail.start()
    trail.check()
    [entry] = records(stored)
    assert (entry["action"], entry["principal"], entry["status"]) == ("trail_resumed", "service", "success")


def test_a_closing_trail_records_its_recovery(
    mongo_uri: str, keyring: Keyring, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """The leftovers of a failed commit are explained even without another request."""
    with connected(mongo_uri):
        for is_restored in (False, True):
            trail = AuditTrail(keyring)
            trail.connect()
            block_trail(stored)
            with pytest.raises(AuditUnavailableError):
                write(trail)
            if is_restored:
                restore_trail(stored)
            trail.disconnect()
            trail.disconnect()
    # The one that nevertheless could not end quietly.
    entry, closing = records(stored)
    assert closing["action"] == "stream_closed"
    assert (entry["action"], entry["seq"], entry["replaces"][0]["seq"]) == ("trail_resumed", 0, -1)


def test_a_trail_that_cannot_begin_stops_the_attempt(keyring: Keyring) -> None:
    """Without MongoDB, the first attempt, which also endorses keys, fails like any other."""
    with closing(Database("mongodb://127.0.0.1:1", audit_ttl_days=0, timeout_seconds=0.1)):
        trail = AuditTrail(keyring)
        with pytest.raises(AuditUnavailableError):
            write(trail)
        trail.disconnect()


def heads(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    return [record.head for record in caplog.records if record.message == "audit head"]


def test_the_head_is_logged_after_it_moved(
    trail: AuditTrail, stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A head is logged once it has moved, and not again before it moves again."""
    caplog.set_level(logging.INFO)
    trail.log_head()
    assert heads(caplog) == []
    for number in range(1, 3):
        write(trail)
        write(trail)
        trail.log_head()
        trail.log_head()
        assert len(heads(caplog)) == number
    names = ("stream", "seq", "ts", "hash", "signer", "signature")
    last = records(stored)[-1]
    assert heads(caplog)[-1] == {name: last[name] for name in names}


def test_the_head_is_logged_on_exit(
    mongo_uri: str, keyring: Keyring, caplog: pytest.LogCaptureFixture
) -> None:
    """A trail that ends logs its head, unless that was logged already."""
    caplog.set_level(logging.INFO)
    with connected(mongo_uri):
        for writes in (0, 1):
            trail = AuditTrail(keyring)
            for _ in range(writes):
                write(trail)
            trail.disconnect()
            trail.disconnect()
            assert len(heads(caplog)) == writes


def test_a_head_is_logged_although_its_stream_ended(
    trail: AuditTrail, stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """If a stream ends in a failed commit, its end is logged anyway."""
    caplog.set_level(logging.INFO)
    write(trail)
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        write(trail)
    trail.log_head()
    assert [head["seq"] for head in heads(caplog)] == [0]
    # There is no new head to log.
    trail.log_head()
    assert len(heads(caplog)) == 1
