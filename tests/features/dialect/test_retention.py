"""Protection from callers without the scope `secret:purge`: rules of versions, with a recovery period."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.service.test_deletion import DENIED_BY_SCOPE, environment
from tests.support.access import make_token
from tests.support.dialect import FORBIDDEN
from tests.support.kv import PATCH, Ask, asking, written
from tests.support.lifecycle import trail
from tests.support.rotation import Stored

__all__ = ["environment"]

NAMED = {"name": "a/b", "namespace": "default"}


def only(stored: Stored) -> dict[str, Any]:
    found = stored.secrets.find_one()
    assert found is not None
    return found


@pytest.fixture
def write(app: Flask, client: FlaskClient) -> Ask:
    """Return the function that sends a request of Vault's API with a writer's token."""
    return asking(client, make_token(app, "writer", role="writer"))


@pytest.mark.promise("purges")
@pytest.mark.parametrize(
    ("method", "count", "max_versions", "status"),
    [
        ("PATCH", 1, 2, 204),
        ("PATCH", 3, 3, 403),
        ("POST", 9, 10, 204),
        ("PATCH", 10, 9, 403),
    ],
)
def test_fewer_versions_require_a_purge(
    ask: Ask, write: Ask, stored: Stored, method: str, count: int, max_versions: int, status: int
) -> None:
    """Without `secret:purge`, no rule makes the next write drop a version that it would otherwise keep."""
    written(write, "a/b", *({"n": number} for number in range(count)))
    before = only(stored)
    headers = PATCH if method == "PATCH" else {}
    reply = write(method, "metadata/a/b", {"max_versions": max_versions}, **headers)
    assert reply.status_code == status
    if status == 403:
        assert reply.json == FORBIDDEN
        assert only(stored) == before
        rules = {"rules": {"max_versions": {"old": 0, "new": max_versions}}}
        assert trail(stored)[-1] == {
            "action": "update_metadata",
            "status": "denied",
            "principal": "writer",
            "secret_id": before["_id"],
            "details": NAMED | rules | DENIED_BY_SCOPE,
        }
        assert ask(method, "metadata/a/b", {"max_versions": max_versions}, **headers).status_code == 204
        return
    written(write, "a/b", {})
    numbers = [version["version"] for version in only(stored)["older"]]
    assert numbers == list(range(1, count + 1))


def test_without_a_value_to_lose_no_purge_is_required(ask: Ask, write: Ask) -> None:
    """Versions without a value are not lost; before its first value, a secret can have any rule."""
    written(write, "a/b", {}, {}, {})
    ask("POST", "destroy/a/b", {"versions": [1, 2]})
    assert write("POST", "metadata/a/b", {"max_versions": 1}).status_code == 403
    assert write("POST", "metadata/a/b", {"max_versions": 2}).status_code == 204
    assert write("POST", "metadata/new", {"max_versions": 1}).status_code == 204
    assert write("PATCH", "metadata/new", {"max_versions": 1}, **PATCH).status_code == 204


def test_a_deleted_version_is_protected_as_well(write: Ask) -> None:
    """A deleted version can be restored, so that dropping it requires a purge."""
    written(write, "a/b", {})
    write("DELETE", "data/a/b")
    assert write("POST", "metadata/a/b", {"max_versions": 1}).status_code == 403


def test_a_later_deletion_of_versions_destroys_nothing(write: Ask) -> None:
    """`delete_version_after` needs no `secret:purge`: a version that it deletes can be restored."""
    written(write, "a/b", {"n": 1})
    assert write("POST", "metadata/a/b", {"delete_version_after": "1s"}).status_code == 204
    written(write, "a/b", {"n": 2})
    assert write("POST", "undelete/a/b", {"versions": [2]}).status_code == 204
    assert write("GET", "data/a/b").json["data"]["metadata"]["deletion_time"] == ""


def test_the_oldest_version_leaves_by_an_ordinary_write(write: Ask, stored: Stored) -> None:
    """A write beyond `MAX_VERSIONS` drops the oldest version without `secret:purge`; its entry names it."""
    written(write, "a/b", *[{}] * 11)
    assert trail(stored)[-1]["details"] == NAMED | {"version": 11, "dropped": [1]}
    assert all("dropped" not in entry["details"] for entry in trail(stored)[1:-1])


@pytest.mark.promise("purges")
def test_an_entry_names_changed_rules_and_dropped_versions(ask: Ask, stored: Stored) -> None:
    """The entry of a change has each changed rule, old and new; that of a write, the versions it dropped."""
    written(ask, "a/b", {}, {}, {})
    stored.audit_logs.delete_many({})
    ask("POST", "metadata/a/b", {"max_versions": 2, "cas_required": True})
    ask("POST", "data/a/b", {"data": {}, "options": {"cas": 3}})
    ask("POST", "data/a/b", {"data": {}, "options": {"cas": 4}})
    ask("POST", "metadata/a/b", {"max_versions": 2, "cas_required": False})
    ask("POST", "metadata/a/b", {"max_versions": 2})
    ask("POST", "metadata/a/b", {"delete_version_after": "90m"})
    ask("POST", "metadata/a/b", {"delete_version_after": "0s"})
    ask("POST", "metadata/new", {"delete_version_after": "1s"})
    assert [entry["details"] for entry in trail(stored)] == [
        NAMED
        | {"rules": {"version_required": {"old": False, "new": True}, "max_versions": {"old": 0, "new": 2}}},
        NAMED | {"version": 4, "dropped": [1, 2]},
        NAMED | {"version": 5, "dropped": [3]},
        NAMED | {"rules": {"version_required": {"old": True, "new": False}}},
        NAMED,
        NAMED | {"rules": {"delete_version_after": {"old": "0s", "new": "1h30m0s"}}},
        NAMED | {"rules": {"delete_version_after": {"old": "1h30m0s", "new": "0s"}}},
        {
            **(NAMED | {"name": "new", "version": 0}),
            "rules": {"delete_version_after": {"old": "0s", "new": "1s"}},
        },
    ]


def test_without_a_recovery_period_nothing_more_is_required(environment: dict[str, str]) -> None:
    """With `DELETE_RECOVERY_DAYS=0`, `secret:update` drops versions as ever."""
    with running_app({**environment, "DELETE_RECOVERY_DAYS": "0"}) as app:
        write = asking(app.test_client(), make_token(app, "writer", role="writer"))
        written(write, "a/b", {}, {})
        assert write("POST", "metadata/a/b", {"max_versions": 1}).status_code == 204
