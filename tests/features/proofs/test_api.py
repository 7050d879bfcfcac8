"""This installation as the witness of another one."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import make_token, post
from tests.support.rotation import Stored, new_key
from vault.common.timestamps import moment
from vault.core.crypto import Keyring, MasterKey
from vault.core.documents.audit import AuditKey
from vault.core.trail.streams import checkpoint, signing_keys
from vault.features.proofs import counter_signature, witnessed

PATH = "/vault/witness/checkpoint"
SENDER = Keyring(new_key())
NOW = datetime.now(UTC)


def head(stream: str, seq: int, digest: str = "a", days: int = 0) -> dict[str, Any]:
    """Return the head of a stream, whose newest entry is *days* old."""
    return {"stream": stream, "seq": seq, "ts": moment(NOW - timedelta(days=days)), "hash": digest * 64}


def made(*heads: Mapping[str, Any]) -> dict[str, Any]:
    """Return a checkpoint of another installation."""
    return checkpoint.signed({"ts": moment(NOW), "heads": list(heads), "retired": []}, SENDER)


BEFORE = made(head("aa", 5), head("bb", 7, days=40))


@pytest.fixture
def sender(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return a client with the token of another installation."""
    token = make_token(app, "site-a", scopes=("audit:witness",))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def show(sender: FlaskClient, shown: object, status: int = 200, **more: Any) -> dict[str, Any]:
    """Return the reply to a checkpoint."""
    return post(sender, PATH, {"checkpoint": shown, **more}, status)


@pytest.mark.promise(3)
def test_a_checkpoint_is_stored_and_counter_signed(
    sender: FlaskClient, stored: Stored, key: MasterKey
) -> None:
    """The reply is signed by the trail's key, about this sender's checkpoint; the entry has its digest."""
    reply = show(sender, BEFORE)
    digest = checkpoint.digest(BEFORE)
    assert counter_signature.verifies(reply, digest, signing_keys.own(Keyring(key)))
    assert reply["sender"] == "site-a"
    entry = stored.audit_logs.find_one({"action": "witness_checkpoint"})
    assert entry is not None
    assert (entry["status"], entry["principal"]) == ("success", "site-a")
    assert entry["details"] == {"digest": digest, "heads": 2}
    kept = stored.audit_keys.find_one({"_id": "witnessed site-a"})
    assert kept is not None
    assert json.loads(kept["witnessed"]["checkpoint"]) == BEFORE


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("heads", "days", "said"),
    [
        (
            [head("aa", 4), head("bb", 7, days=40)],
            0,
            "entry 5 was shown before, and the newest is entry 4",
        ),
        ([head("aa", 5, "b"), head("bb", 7, days=40)], 0, "another entry 5 was shown before"),
        ([head("bb", 7, days=40)], 30, "entry 5 was shown before, and none is now"),
        ([head("aa", 6)], 0, "entry 7 was shown before, and none is now"),
        ([head("aa", 6)], 50, "entry 7 was shown before, and none is now"),
        ([head("aa", 6)], 30, ""),
        ([head("aa", 5), head("bb", 7, days=40)], 0, ""),
        ([head("aa", 9, "b"), head("bb", 8), head("cc", 0)], 0, ""),
    ],
    ids=["lower", "other", "gone", "permanent", "kept", "expired", "same", "grown"],
)
def test_a_contradiction_is_refused(
    sender: FlaskClient, stored: Stored, heads: list[dict[str, Any]], days: int, said: str
) -> None:
    """A lower or another head, or a missing stream that cannot have expired, is refused and on record."""
    show(sender, BEFORE)
    if not said:
        show(sender, made(*heads), retention_days=days)
        return
    problem = show(sender, made(*heads), 409, retention_days=days)
    assert problem["code"] == "checkpoint_contradicted"
    assert said in problem["detail"]
    entry = stored.audit_logs.find_one({"action": "witness_checkpoint", "status": "bad_request"})
    assert entry is not None
    assert said in entry["details"]["reason"]
    # The earlier one stays.
    show(sender, BEFORE)


def test_a_checkpoint_of_many_streams_is_accepted(sender: FlaskClient) -> None:
    """A trail has a stream for each start of a worker, and its checkpoint a head for each stream."""
    heads = [head(f"{number:032x}", 5) for number in range(5_000)]
    assert show(sender, made(*heads))["sender"] == "site-a"
    assert "was shown before" in show(sender, made(*heads[1:]), 409)["detail"]


def test_each_sender_has_its_own_checkpoint(app: Flask, sender: FlaskClient) -> None:
    """A checkpoint of one sender says nothing about another one's."""
    show(sender, BEFORE)
    token = make_token(app, "site-b", scopes=("audit:witness",))
    sender.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    assert show(sender, made(head("aa", 1)))["sender"] == "site-b"


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    "change",
    [
        {"witnessed": 7},
        {"witnessed": {"checkpoint": "{"}},
        {"witnessed.checkpoint": json.dumps(made(head("aa", 1)))},
        {"witnessed.statement.sender": "site-b"},
    ],
    ids=["kind", "text", "checkpoint", "sender"],
)
def test_an_altered_checkpoint_is_not_believed(
    sender: FlaskClient, stored: Stored, change: dict[str, Any]
) -> None:
    """If someone changed in MongoDB what this installation was shown, it counter-signs nothing more."""
    show(sender, BEFORE)
    stored.audit_keys.update_one({"_id": "witnessed site-a"}, {"$set": change})
    assert "altered" in show(sender, BEFORE, 409)["detail"]


@pytest.mark.parametrize(
    "shown",
    [
        7,
        {},
        {**BEFORE, "more": 1},
        {**BEFORE, "ts": "today"},
        {**BEFORE, "signature": "aa"},
        {**BEFORE, "retired": ["a" * 16] * 1_001},
        *({**BEFORE, "heads": heads} for heads in (7, [7], [{**head("aa", 1), "more": 1}])),
        *({**BEFORE, "heads": [head("aa", seq)]} for seq in (-1, True, 2**40, "1")),
        *({**BEFORE, "heads": [{**head("aa", 1), name: "Ä"}]} for name in ("stream", "ts", "hash")),
        {**BEFORE, "heads": [head("aa", 1), head("aa", 2)]},
    ],
)
def test_another_body_is_refused(sender: FlaskClient, shown: object) -> None:
    """A body without a checkpoint gets 422, and is not stored."""
    assert show(sender, shown, 422)["code"] == "unprocessable_entity"


def test_two_checkpoints_at_the_same_time(sender: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that another request overtakes is compared again; with many of them, the sender has to retry."""
    show(sender, BEFORE)
    read, stale = witnessed._stored, witnessed._stored("site-a")
    show(sender, made(head("aa", 6), head("bb", 8)))
    answers = iter([stale])
    monkeypatch.setattr(witnessed, "_stored", lambda name: next(answers, None) or read(name))
    assert "entry 6" in show(sender, BEFORE, 409)["detail"]
    monkeypatch.setattr(witnessed, "_stored", lambda _: stale)
    assert show(sender, made(head("aa", 7), head("bb", 9)), 503)["code"] == "overloaded"
    monkeypatch.setattr(witnessed, "_stored", lambda _: None)
    assert show(sender, BEFORE, 503)["code"] == "overloaded"
    assert AuditKey.raw().count_documents({"_id": "witnessed site-a"}) == 1
