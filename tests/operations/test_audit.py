"""The audit trail's entries, and what happens without them."""

from typing import Any

import pytest
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app
from tests.trail import break_trail
from vault.errors import AuditUnavailableError
from vault.operations.attempt import Action, Attempt, Status

#: What chains an entry, which `test_stream.py` looks at.
CHAINING = ["stream", "seq", "hash", "signer", "signature"]


@pytest.mark.usefixtures("app")
def test_an_attempt_leaves_one_entry(stored: MongoDatabase[dict[str, Any]]) -> None:
    """The first outcome of an attempt is recorded, with all that is known of it, and no second one."""
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
def test_a_user_agent_is_shortened_and_made_harmless(stored: MongoDatabase[dict[str, Any]]) -> None:
    """What a client calls itself can neither fill the trail nor drive a terminal that shows it."""
    Attempt(action=Action.FETCH, user_agent="\x1b[2J\n" + "x" * 1000).finish(Status.SUCCESS)
    entry = stored.audit_logs.find_one()
    assert entry is not None
    assert entry["ua"] == "\\u001b[2J\\u000a" + "x" * 251


@pytest.mark.usefixtures("app")
def test_an_entry_that_cannot_be_written_stops_the_attempt(stored: MongoDatabase[dict[str, Any]]) -> None:
    """When the trail refuses an entry, whoever is about to release something is told so."""
    break_trail(stored)
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
