"""The sender: every event arrives, at least once, in order for each secret, and no failure harms others."""

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event as Signal
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.features.webhooks.conftest import Subscribe, info, new_sender, turn
from tests.features.webhooks.receiver import Receiver, receiver
from tests.support.access import make_token, post, revoke, services
from tests.support.access_roles import operator
from tests.support.features import tables
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.common import feature
from vault.common.errors import StorageUnavailableError
from vault.common.paths import Paths
from vault.core.attempt import Action, Attempt
from vault.core.documents.lease import Lease
from vault.core.documents.primary import Primary
from vault.core.principal import OPERATOR, Principal, Scope
from vault.features.webhooks import destination
from vault.features.webhooks import sender as module
from vault.features.webhooks.documents import Progress, Webhook
from vault.features.webhooks.endpoint import Endpoint
from vault.features.webhooks.sender import Sender
from vault.features.webhooks.webhooks import Webhooks

VALUE = "cGxhaW50ZXh0"

Change = Callable[..., dict[str, Any]]


@pytest.fixture
def change(app: Flask, client: FlaskClient) -> Change:
    """Return the function that sends a request about a secret."""
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {make_token(app, 'admin', role='admin')}"

    def send(action: str, name: str, **options: Any) -> dict[str, Any]:
        values = {"secret": VALUE} if action in ("create", "update") else {}
        return post(client, f"/vault/secret/{action}", {"name": name, **values, **options})

    return send


@pytest.mark.promise("rotation")
def test_events_arrive_in_order_without_values(
    sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """Each change after the creation of a webhook arrives once, in order, and no value in it."""
    change("create", "before")
    subscribe()
    for action, name in [
        *(("create", "a"), ("update", "a"), ("create", "b/c"), ("update", "a"), ("fetch", "a")),
        ("delete", "a"),
    ]:
        change(action, name)
    turn(sender)
    turn(sender)
    assert hook.named() == [
        *(("secret.created", "a", 1), ("secret.updated", "a", 2), ("secret.created", "b/c", 1)),
        *(("secret.updated", "a", 3), ("secret.deleted", "a", None)),
    ]
    assert len({event_id for event_id, _ in hook.events}) == 5
    sent = b"".join(hook.bodies)
    assert VALUE.encode() not in sent
    assert b"plaintext" not in sent


@pytest.mark.parametrize("make_events", [*tables("make_events")])
def test_features_make_events(
    app: Flask, sender: Sender, subscribe: Subscribe, make_events: Callable[..., Any]
) -> None:
    """Entries of a feature are events, without values and tokens, within the paths."""
    limited = Principal(name="b", paths=Paths.of(["b/"]), scopes=frozenset({Scope.WEBHOOK_MANAGE}))
    kinds = [kind.name for kind in feature.events()]
    with receiver() as every, receiver() as inside:
        subscribe(*kinds, url=every.url)
        subscribe(*kinds, url=inside.url, principal=limited)
        (expected, hidden), (others, _) = (make_events(app, folder, VALUE) for folder in ("b/", "c/"))
        turn(sender)
        assert sorted(_kinds_and_names(every), key=str) == sorted([*expected, *others], key=str)
        assert sorted(_kinds_and_names(inside)) == sorted(one for one in expected if one[1])
        bodies = b"".join(every.bodies)
        assert not any(text.encode() in bodies for text in (VALUE, *hidden))


def _kinds_and_names(received: Receiver) -> list[tuple[str, Any]]:
    return [(event["type"], event["data"].get("name")) for _, event in received.events]


def test_a_webhook_gets_only_what_it_may_see(
    app: Flask, sender: Sender, subscribe: Subscribe, change: Change
) -> None:
    """Kinds, paths and the namespace limit a webhook; only unlimited ones get events of tokens."""
    limited = Principal(name="b", paths=Paths.of(["b/"]), scopes=frozenset({Scope.WEBHOOK_MANAGE}))
    with receiver() as every, receiver() as inside, receiver() as foreign, receiver() as kinds:
        for running, principal, chosen in [
            (every, OPERATOR, []),
            (inside, limited, []),
            (foreign, replace(OPERATOR, namespace="team-a"), []),
            (kinds, OPERATOR, ["secret.deleted"]),
        ]:
            subscribe(*chosen, url=running.url, principal=principal)
        change("create", "a")
        change("create", "b/c")
        change("delete", "b/c")
        make_token(app, "new")
        revoke(app, "new")
        make_token(app, "theirs", namespace="team-a")
        turn(sender)
        assert every.kinds == [
            *("secret.created", "secret.created", "secret.deleted", "token.created", "token.revoked")
        ]
        assert [event["data"].get("token") for _, event in every.events][-2:] == ["new", "new"]
        assert inside.named() == [("secret.created", "b/c", 1), ("secret.deleted", "b/c", None)]
        assert [event["data"]["token"] for _, event in foreign.events] == ["theirs"]
        assert kinds.kinds == ["secret.deleted"]


def test_look_ups_of_others_are_no_failure(
    app: Flask,
    sender: Sender,
    subscribe: Subscribe,
    hook: Receiver,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Hosts of others that are looked up slowly hold up a test, and neither a creation nor deliveries."""
    webhook_id = subscribe("secret.created")
    change("create", "a")
    monkeypatch.setattr(destination, "_MAX_WAIT_SECONDS", 0)
    with ExitStack() as held:
        for _ in range(5):
            held.enter_context(destination.OF_SENDER)
        turn(sender)
        assert hook.bodies == []
        assert (info(app, webhook_id).state, info(app, webhook_id).next_attempt_at) == ("active", None)
    with ExitStack() as held:
        for _ in range(3):
            held.enter_context(destination.OF_REQUESTS)
        attempt = Attempt(action=Action.WEBHOOK_TEST, principal=OPERATOR)
        said = services(app).of(Webhooks).test(webhook_id, attempt=attempt)()
        assert said == "too many other hosts are being looked up"
        monkeypatch.setattr(destination, "_MAX_WAIT_SECONDS", 3_600)
        subscribe(url="https://127.0.0.1")
        turn(sender)
    assert hook.kinds == ["secret.created"]


@pytest.mark.promise("rotation")
def test_a_failure_is_retried_in_order(
    app: Flask,
    sender: Sender,
    subscribe: Subscribe,
    hook: Receiver,
    change: Change,
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After a failure the webhook waits, longer each time, and continues at the same event with its ID."""
    monkeypatch.setattr(module, "_FIRST_PAUSE_SECONDS", 100)
    webhook_id = subscribe("secret.created")
    for name in "abc":
        change("create", name)
    hook.answer = lambda number: 204 if number == 0 else 500
    turn(sender)
    found = info(app, webhook_id)
    assert (found.state, found.error, hook.requests) == ("failing", "it answers with status 500", 2)
    turn(sender)
    assert hook.requests == 2
    pauses = []
    for _ in range(3):
        _make_due(stored)
        turn(sender)
        pauses.append(info(app, webhook_id).next_attempt_at - datetime.now(UTC))
    assert pauses[0] < pauses[1] < pauses[2]
    hook.answer = lambda _: 200
    _make_due(stored)
    turn(sender)
    assert [name for _, name, _ in hook.named()] == ["a", "b", "c"]
    assert (info(app, webhook_id).state, info(app, webhook_id).error) == ("active", "")


def _make_due(stored: Stored) -> None:
    stored.webhooks.update_one({}, {"$set": {"progress.next_attempt_at": datetime.now(UTC)}})


def test_a_webhook_is_dead_after_a_day(
    app: Flask,
    client: FlaskClient,
    sender: Sender,
    subscribe: Subscribe,
    hook: Receiver,
    change: Change,
    stored: Stored,
) -> None:
    """After a day of failures the end is on record and a warning of readiness; a replay sends all events."""
    webhook_id = subscribe("secret.created", url=f"{hook.url}&token=hidden")
    since = datetime.now(UTC)
    change("create", "a")
    hook.answer = lambda _: 500
    turn(sender)
    day_ago = {"progress.failing_since": datetime.now(UTC) - timedelta(days=1)}
    stored.webhooks.update_one({}, {"$set": {**day_ago, "progress.next_attempt_at": None}})
    sender._progress.clear()
    turn(sender)
    assert info(app, webhook_id).state == "dead"
    [entry] = stored.audit_logs.find({"action": "webhook_dead"})
    assert entry["details"] == {"webhook_id": webhook_id, "host": "127.0.0.1", "namespace": "default"}
    turn(sender)
    assert (hook.requests, sender._dead) == (2, 1)
    services(app).startup._tasks = [sender]
    assert "1 webhook dead" in client.get("/health/ready").get_json()["warnings"]
    hook.answer = lambda _: 204
    hook.secret = ""
    change("create", "b")
    services(app).of(Webhooks).replay(webhook_id, since, attempt=operator(Action.WEBHOOK_REPLAY))
    turn(sender)
    assert [name for _, name, _ in hook.named()] == ["a", "b"]


def test_a_replay_keeps_the_ids(
    app: Flask, sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """A replay sends the events since a time again, with the IDs that they had."""
    webhook_id = subscribe("secret.created", "secret.updated")
    change("create", "a")
    turn(sender)
    since = datetime.now(UTC)
    change("update", "a")
    turn(sender)
    services(app).of(Webhooks).replay(webhook_id, since, attempt=operator(Action.WEBHOOK_REPLAY))
    turn(sender)
    assert hook.named()[2:] == [("secret.updated", "a", 2)]
    assert hook.events[1] == hook.events[2]


def test_pages_and_turns_lose_nothing(
    sender: Sender,
    subscribe: Subscribe,
    hook: Receiver,
    change: Change,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """More events than a page has arrive in one turn, and a turn that ends within a page continues."""
    monkeypatch.setattr(module, "_PAGE", 2)
    subscribe("secret.created")
    names = list("abcde")
    for name in names:
        change("create", name)
    allowed = 3

    def may_send(_self: Sender, _end: float) -> bool:
        return hook.requests < allowed

    with monkeypatch.context() as patch:
        patch.setattr(Sender, "_may_send", may_send)
        turn(sender)
    turn(sender)
    assert [name for _, name, _ in hook.named()] == names


def test_another_sender_continues(
    app: Flask, sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """One sender at a time has the lease; the next one continues where it has stopped."""
    other = new_sender(app, "other")
    subscribe("secret.created")
    change("create", "a")
    turn(sender)
    change("create", "b")
    turn(other)
    assert hook.requests == 1
    sender.close()
    turn(other)
    turn(sender)
    assert [name for _, name, _ in hook.named()] == ["a", "b"]
    other.close()


def test_a_process_with_another_clock_sends_nothing(
    app: Flask, sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """A clock ahead of the others makes no webhook pass entries that are still written; another one sends."""
    subscribe("secret.created")
    change("create", "a")
    now = datetime.now(UTC)
    sender._ping = lambda: Primary({"localTime": now.replace(tzinfo=None) - timedelta(seconds=11)}, now, now)
    turn(sender)
    assert hook.requests == 0
    other = new_sender(app, "other")
    turn(other)
    assert hook.requests == 1
    other.close()


def test_progress_of_another_sender_is_not_overwritten(
    sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change, stored: Stored
) -> None:
    """A sender that has lost its lease in the meantime stores nothing, so no event is skipped."""
    webhook_id = subscribe("secret.created")
    change("create", "a")
    ahead = Progress(revision=1, cursor="f" * 24)

    def answer(_number: int) -> int:
        assert Webhook.save_progress(webhook_id, ahead)
        return 204

    hook.answer = answer
    turn(sender)
    assert stored.webhooks.find_one({})["progress"]["cursor"] == ahead.cursor


def test_a_deleted_webhook_gets_nothing_more(
    app: Flask, sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """The next look ends the turn of a webhook that was deleted, also within a page."""
    webhook_id = subscribe("secret.created")
    subscribe("secret.deleted", url=f"{hook.url}&other")
    for name in "abc":
        change("create", name)

    def answer(number: int) -> int:
        if number == 0:
            services(app).of(Webhooks).delete(webhook_id, attempt=operator(Action.WEBHOOK_DELETE))
            sender.act()
        return 204

    hook.answer = answer
    turn(sender)
    assert hook.named() == [("secret.created", "a", 1)]


def test_few_processes_look_often(
    app: Flask, sender: Sender, subscribe: Subscribe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the sender looks each second; others are enough for its end, and for the first webhook."""
    now, looks = [1000.0], Counter[str]()
    active = Webhook.active
    monkeypatch.setattr(module, "monotonic", lambda: now[0])

    def look(who: str, process: Sender) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Webhook, "active", lambda: [looks.update([who]), active()][1])
            now[0] += 40
            for _ in range(100):
                process.act_if_due()
                now[0] += 1

    look("without webhooks", sender)
    subscribe("secret.created")
    turn(other := new_sender(app, "two"))
    look("while another one sends", sender)
    other.close()
    look("the sender", sender)
    assert looks == {"without webhooks": 3, "while another one sends": 10, "the sender": 100}


def test_many_unsettled_entries_are_not_compared(
    sender: Sender, subscribe: Subscribe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under load, each look counts as one with news, and reads a limited number of entries."""
    monkeypatch.setattr(module, "_MAX_UNSETTLED", 2)
    subscribe("secret.created")
    for name, news in (("a", 1), ("b", 2), ("c", 3)):
        change("create", name)
        turn(sender)
        assert sender._news == news
    turn(sender)
    assert sender._news == 4
    assert len(sender._unsettled) == 2


def test_a_hanging_receiver_holds_up_no_other(
    sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """While one receiver does not answer, others get their events."""
    released = Signal()
    with receiver() as hanging:
        hanging.answer = lambda _: 204 if released.wait(60) else 500
        subscribe("secret.created", url=hanging.url)
        subscribe("secret.created")
        change("create", "a")
        sender.act()
        wait_until(lambda: hook.events)
        assert hanging.events == []
        released.set()
        turn(sender)


def test_an_outage_is_no_failure_of_a_receiver(
    app: Flask, sender: Sender, subscribe: Subscribe, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without MongoDB nothing is sent and nothing fails; a defect is logged, and another turn follows."""
    webhook_id = subscribe("secret.created")
    change("create", "a")
    for error in (StorageUnavailableError("MongoDB is not available"), ValueError("a defect")):
        with monkeypatch.context() as patch:
            patch.setattr(module, "examine", _raising(error))
            turn(sender)
        assert info(app, webhook_id).state == "active"
    with monkeypatch.context() as patch:
        patch.setattr(Lease, "take", _raising(StorageUnavailableError("MongoDB is not available")))
        turn(sender)
    assert not sender._may_send(float("inf"))


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def test_a_quiet_webhook_writes_little(
    sender: Sender, subscribe: Subscribe, change: Change, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without events, the place of a webhook is stored about every minute only."""
    subscribe("secret.deleted")
    for _ in range(3):
        change("create", f"a{_}")
        turn(sender)
    assert stored.webhooks.find_one({})["progress"]["revision"] == 0
    monkeypatch.setattr(module, "_SAVE_INTERVAL", timedelta())
    turn(sender)
    assert stored.webhooks.find_one({})["progress"]["revision"] == 1


@pytest.mark.parametrize(
    "progress",
    [
        None,
        [],
        {},
        {"revision": "1", "sent": 1, "attempts": 2**40},
        {"failing_since": 1, "cursor": 1},
        {"cursor": "z"},
    ],
    ids=str,
)
def test_progress_of_another_hand_is_a_new_start(
    sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change, stored: Stored, progress: Any
) -> None:
    """Progress of any type and size in the database fails no sender: it begins again."""
    subscribe("secret.created")
    change("create", "a")
    stored.webhooks.update_one({}, {"$set": {"progress": progress}})
    hook.answer = lambda number: 500 if number == 0 else 204
    turn(sender)
    _make_due(stored)
    turn(sender)
    assert hook.kinds == ["secret.created"]


def test_without_webhooks_there_is_no_sender(app: Flask, sender: Sender, stored: Stored) -> None:
    """As long as there is no webhook of the service's making, the lease is not taken."""
    turn(sender)
    stored.webhooks.insert_one({"_id": "forged"})
    turn(sender)
    make_token(app, "one", role="reader")
    turn(sender)
    assert stored["keys"].find_one({"_id": "lease webhooks"}) is None


def test_the_sender_runs_in_a_worker(
    environment: dict[str, str], subscribe: Subscribe, hook: Receiver, change: Change
) -> None:
    """A worker that has started sends by itself, and has one sender, however often it starts."""
    subscribe("secret.created")
    change("create", "a")
    with running_app(environment | {"WEBHOOK_NETWORKS": "127.0.0.0/8"}) as worker:
        startup: Any = services(worker).startup
        startup._tasks = [one.task for one in startup._tasks if isinstance(one.task, Sender)]
        [own] = startup._tasks
        assert own._holder == ""
        startup.attempt()
        holder = own._holder
        startup.attempt()
        assert own._holder == holder
        wait_until(lambda: hook.events)
    assert hook.kinds == ["secret.created"]


def test_at_most_so_many_webhooks_are_served_at_a_time(
    sender: Sender, subscribe: Subscribe, hook: Receiver, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest waiting webhooks come first, so that all get their turn."""
    monkeypatch.setattr(module, "_MAX_SERVED", 1)
    monkeypatch.setattr(Endpoint, "send", lambda endpoint, *_: sent.append(endpoint._url))
    sent: list[str] = []
    urls = [f"{hook.url}&{number}" for number in range(3)]
    for url in urls:
        subscribe("secret.created", url=url)
    change("create", "a")
    for _ in urls:
        turn(sender)
        change("create", f"b{len(sent)}")
    assert set(sent) == set(urls)
