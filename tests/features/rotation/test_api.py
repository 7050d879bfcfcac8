"""Rotation plans over HTTP."""

import json
from threading import Event
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.features.rotation.fake import Fake
from tests.support.access import make_token, post
from tests.support.lifecycle import b64
from tests.support.problems import fields_of
from tests.support.rotation import Stored
from vault.features.rotation import run
from vault.features.rotation.sources.errors import SourceUnavailableError
from vault.toolkit.operations.blueprint import REQUEST_TIMEOUT

CREATE, LIST, SHOW, RUN, PAUSE, DELETE, WAITING, RELEASE = (
    f"/vault/rotation/{one}"
    for one in ("create", "list", "show", "run", "pause", "delete", "waiting", "release")
)
NEW = {
    "name": "billing/db",
    "kind": "command",
    "admin": "billing/admin",
    "users": ["a", "b"],
    "every_seconds": 60,
}
NAMED = {"name": "billing/db"}


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Fake:
    """Replace all sources by one in this process."""
    found = Fake()
    found.passwords = {"a": "first", "b": "first"}
    monkeypatch.setattr(run, "open_source", lambda *_, **__: found)
    return found


@pytest.fixture
def manager(app: Flask, client: FlaskClient, fake: Fake) -> FlaskClient:  # noqa: ARG001 - a fixture
    """Return a client with a token that may manage rotations of some paths, where both secrets are."""
    token = make_token(app, "dba", role="admin", paths=("billing/",))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    value = json.dumps({"username": "a", "password": "first"})
    for name, text in (("db", value), ("admin", "/bin/program"), ("text", "no object")):
        post(client, "/vault/secret/create", {"name": f"billing/{name}", "secret": b64(text.encode())})
    return client


def test_a_plan_is_created_shown_run_paused_and_deleted(manager: FlaskClient, fake: Fake) -> None:
    """`run` replies after the publication, `show` has the state, and no reply has a password."""
    created = post(manager, CREATE, NEW)
    assert created["state"] == "waiting"
    assert (created["version"], created["open_user"], created["field"]) == (None, None, None)
    assert post(manager, CREATE, NEW, 409)["code"] == "rotation_exists"
    assert post(manager, RUN, NAMED) == {**NAMED, "version": 2}
    assert post(manager, RUN, NAMED, 409)["code"] == "rotation_busy"
    shown = post(manager, SHOW, NAMED)
    assert (shown["state"], shown["open_user"], shown["holders"]) == ("published", "a", [])
    assert post(manager, LIST, {})["rotations"] == [shown]
    assert fake.passwords["b"] not in json.dumps(shown)
    assert post(manager, PAUSE, NAMED) == NAMED
    assert post(manager, DELETE, NAMED) == NAMED
    assert post(manager, DELETE, NAMED, 404)["code"] == "rotation_not_found"


def test_a_failure_of_the_source_is_424_and_a_long_run_409(
    app: Flask, manager: FlaskClient, fake: Fake
) -> None:
    """The reason is in the reply. A run that takes longer than the request goes on."""
    post(manager, CREATE, NEW)
    released = Event()

    def fail(_name: str) -> None:
        raise SourceUnavailableError("the server cannot be reached")

    fake.hook = fail
    problem = post(manager, RUN, NAMED, 424)
    assert problem["code"] == "source_failed"
    assert problem["detail"] == "The rotation failed at the step generate: the server cannot be reached"
    fake.hook = lambda _: released.wait(60) and None
    app.config[REQUEST_TIMEOUT] = 2
    assert post(manager, RUN, NAMED, 409)["code"] == "rotation_busy"
    released.set()


def test_a_plan_needs_its_scope_and_both_secrets_within_the_paths(app: Flask, manager: FlaskClient) -> None:
    """A secret outside one's paths is like a missing one, for every operation."""
    assert post(manager, CREATE, {**NEW, "admin": "other/admin"}, 404)["code"] == "secret_not_found"
    assert post(manager, CREATE, {**NEW, "name": "other/db"}, 404)["code"] == "secret_not_found"
    assert post(manager, CREATE, {**NEW, "name": "billing/none"}, 404)["code"] == "secret_not_found"
    post(manager, CREATE, NEW)
    other = make_token(app, "other", role="admin", paths=("other/",))
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {other}"
    for path in (SHOW, RUN, PAUSE, DELETE):
        assert post(manager, path, NAMED, 404)["code"] == "rotation_not_found"
    assert post(manager, LIST, {}) == {"rotations": []}
    token = make_token(app, "writer", role="writer")
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for path, body in ((CREATE, NEW), (LIST, {}), *((path, NAMED) for path in (SHOW, RUN, PAUSE, DELETE))):
        assert post(manager, path, body, 403)["code"] == "scope_missing"


@pytest.mark.parametrize("missing", ["secret:fetch", "secret:update"])
def test_who_may_not_read_the_password_cannot_rotate_it(
    app: Flask, manager: FlaskClient, fake: Fake, stored: Stored, missing: str
) -> None:
    """Else the password in use would log in at a server of the caller's choice; the read is the caller's."""
    post(manager, CREATE, NEW)
    reads = list(stored.audit_logs.find({"action": "fetch"}))
    assert {(one["principal"], one["details"]["name"]) for one in reads} == {
        ("dba", "billing/admin"),
        ("dba", "billing/db"),
    }
    scopes = {"rotation:manage", "secret:create", "secret:fetch", "secret:update"} - {missing}
    token = make_token(app, "other", scopes=sorted(scopes), paths=("billing/",))
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for path, body in ((CREATE, NEW), (RUN, NAMED)):
        problem = post(manager, path, body, 403)
        assert (problem["code"], missing in problem["detail"]) == ("scope_missing", True)
    within = make_token(app, "within", role="admin", paths=("billing/db",))
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {within}"
    assert post(manager, RUN, NAMED, 404)["code"] == "rotation_not_found"
    assert not fake.calls


def test_an_invalid_plan_is_422(manager: FlaskClient) -> None:
    """A wrong field is named; a secret that cannot be rotated is refused with the reason."""
    bodies: list[tuple[dict[str, Any], str]] = [
        ({**NEW, "kind": "oracle"}, "kind"),
        ({**NEW, "name": "/"}, "name"),
        ({**NEW, "admin": "/"}, "admin"),
        ({**NEW, "users": ["a"]}, "users"),
        ({**NEW, "users": ["a", "a"]}, "users"),
        ({**NEW, "users": ["a", "b\n"]}, "users"),
        ({**NEW, "users": ["a", "\u3164"]}, "users"),
        ({**NEW, "every_seconds": 0}, "every_seconds"),
        ({**NEW, "grace_seconds": -1}, "grace_seconds"),
        ({**NEW, "field": "username"}, "field"),
    ]
    for body, field in bodies:
        problem = post(manager, CREATE, body, 422)
        assert {name.partition(".")[0] for name in fields_of(problem)} == {field}, body
    for change, text in (
        ({"users": ["b", "c"]}, "not one of the plan"),
        ({"name": "billing/text"}, "JSON object"),
    ):
        problem = post(manager, CREATE, NEW | change, 422)
        assert problem["code"] == "plan_refused"
        assert text in problem["detail"]


def test_a_driver_releases_its_tasks(app: Flask, manager: FlaskClient) -> None:
    """A driver sees the rotations that wait for its tasks, and says that they have ended; no more scopes."""
    post(manager, CREATE, NEW)
    rights = manager.environ_base["HTTP_AUTHORIZATION"]
    token = make_token(app, "swarm", role="driver", paths=("billing/",))
    manager.environ_base["HTTP_AUTHORIZATION"] = driver = f"Bearer {token}"
    task = {"service": "shop_api", "service_id": "s1", "task_id": "t1"}
    post(manager, "/vault/secret/fetch", {**NAMED, "delivery": task})
    release = {**NAMED, "version": 2, "tasks": ["t1"]}
    assert post(manager, WAITING, {}) == {"rotations": []}
    assert post(manager, RELEASE, release, 404)["code"] == "rotation_not_found"
    manager.environ_base["HTTP_AUTHORIZATION"] = rights
    post(manager, RUN, NAMED)
    assert post(manager, WAITING, {}) == {"rotations": []}
    manager.environ_base["HTTP_AUTHORIZATION"] = driver
    [found] = post(manager, WAITING, {})["rotations"]
    assert found.pop("secret_id")
    assert found == release
    for wrong in ({"tasks": []}, {"tasks": ["a b"]}, {"tasks": ["t"] * 101}, {"version": 0}):
        assert post(manager, RELEASE, release | wrong, 422)["code"] == "unprocessable_entity"
    assert post(manager, RELEASE, release) == NAMED
    assert post(manager, WAITING, {}) == {"rotations": []}
    token = make_token(app, "reader", role="reader")
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for path, body in ((WAITING, {}), (RELEASE, release)):
        assert post(manager, path, body, 403)["code"] == "scope_missing"
