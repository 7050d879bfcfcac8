"""Protection from callers without the scope `secret:purge`, with a recovery period."""

from dataclasses import replace

import pytest

from tests.conftest import running_app
from tests.support.access import make_token
from tests.support.lifecycle import ALICE, Caller, document, trail
from tests.support.rotation import Stored
from vault.core.principal import ANONYMOUS, ROLES

WRITER = replace(ALICE, name="writer", scopes=ROLES["writer"])
RECOVERY = 7 * 86_400
DENIED_BY_SCOPE = {"reason": "needs secret:purge"}


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    return {**environment, "DELETE_RECOVERY_DAYS": "7"}


@pytest.mark.promise("purges")
@pytest.mark.parametrize(
    ("ttl_seconds", "new_ttl_seconds", "status"),
    [
        (None, 1, 403),
        (None, RECOVERY, 200),
        (RECOVERY + 3_600, RECOVERY - 1, 403),
        (3_600, 1, 403),
        (3_600, 3_601, 200),
    ],
)
def test_an_earlier_expiry_requires_a_purge(
    alice: Caller, stored: Stored, ttl_seconds: int | None, new_ttl_seconds: int, status: int
) -> None:
    """Without `secret:purge`, no change makes a secret expire before a deletion would remove it."""
    secret_id = alice.create(ttl_seconds=ttl_seconds)
    before = document(stored, secret_id)
    body = {"secret_id": secret_id, "ttl_seconds": new_ttl_seconds, "labels": {"k": "v"}}
    reply = alice.become(WRITER).post("update-metadata", body)
    assert reply.status_code == status
    if status == 403:
        problem = reply.get_json(force=True)
        assert (problem["code"], "secret:purge" in problem["detail"]) == ("scope_missing", True)
        assert document(stored, secret_id) == before
        entry = trail(stored)[-1]
        assert (entry["action"], entry["status"]) == ("update_metadata", "denied")
        assert entry["details"].items() >= DENIED_BY_SCOPE.items()
        assert alice.become(ALICE).post("update-metadata", body).status_code == 200


@pytest.mark.promise("purges")
def test_two_steps_bring_no_expiry_closer(alice: Caller, stored: Stored) -> None:
    """After an expiry was brought to the recovery period, no second change brings it closer."""
    secret_id = alice.create()
    alice.become(WRITER)("update-metadata", secret_id=secret_id, ttl_seconds=RECOVERY)
    for seconds in (1, RECOVERY - 60):
        assert alice.refused("update-metadata", secret_id=secret_id, ttl_seconds=seconds) == 403
    alice("update-metadata", secret_id=secret_id, never_expires=True)
    assert "expires_at" not in document(stored, secret_id)


def test_anonymous_callers_bring_no_expiry_closer(alice: Caller) -> None:
    """A caller without a credential, who has an ID, is refused with 401, which names the scope."""
    secret_id = alice.create()
    alice.become(ANONYMOUS)
    reply = alice.post("update-metadata", {"secret_id": secret_id, "ttl_seconds": 1})
    problem = reply.get_json(force=True)
    assert (reply.status_code, problem["code"]) == (401, "credential_required")
    assert "secret:purge" in problem["detail"]
    assert alice("update-metadata", secret_id=secret_id, ttl_seconds=RECOVERY) == {"secret_id": secret_id}


def test_planted_versions_fill_no_entry(alice: Caller, stored: Stored) -> None:
    """However many versions a writer of the database has planted, an update's entry stays small."""
    secret_id = alice.create()
    planted = [{"version": number} for number in range(-3_000, 1)]
    stored.secrets.update_one({}, {"$set": {"version": 1, "older": planted}})
    alice.update(secret_id, b"two")
    assert "dropped" not in trail(stored)[-1]["details"]


def test_without_a_recovery_period_nothing_more_is_required(environment: dict[str, str]) -> None:
    """With `DELETE_RECOVERY_DAYS=0`, `secret:update` shortens expiries as ever."""
    with running_app({**environment, "DELETE_RECOVERY_DAYS": "0"}) as app:
        token = make_token(app, "writer", role="writer")
        client, headers = app.test_client(), {"Authorization": f"Bearer {token}"}
        for operation, body in (("create", {"secret": "YQ=="}), ("update-metadata", {"ttl_seconds": 1})):
            reply = client.post(f"/vault/secret/{operation}", json={"name": "a/b", **body}, headers=headers)
            assert reply.status_code == 200
