"""Webhooks over HTTP."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.features.webhooks.receiver import receiver
from tests.support.access import make_token, post
from tests.support.problems import fields_of
from vault.common.paths import MAX_PATHS
from vault.features.webhooks.api import _WEBHOOK_BYTES
from vault.toolkit.operations.blueprint import REPLY_MEMORY

CREATE, LIST, DELETE, TEST = (f"/vault/webhook/{one}" for one in ("create", "list", "delete", "test"))
NEW = {"url": "https://no-such-host.invalid/hook", "events": ["secret.updated"]}


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Flask]:
    """Return an application that may send webhooks to this machine."""
    with running_app(environment | {"WEBHOOK_NETWORKS": "127.0.0.0/8"}) as app:
        yield app


@pytest.fixture
def manager(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return a client with a token that may manage webhooks of some paths."""
    token = make_token(app, "hooks", scopes=("webhook:manage",), paths=("billing/",))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


def test_a_webhook_is_created_listed_tested_and_deleted(manager: FlaskClient) -> None:
    """`create` returns the secret once, `list` shows all else, `test` sends, and `delete` removes it."""
    with receiver() as hook:
        created = post(manager, CREATE, {**NEW, "url": hook.url})
        hook.secret = created.pop("secret")
        [found] = post(manager, LIST, {})["webhooks"]
        assert found.pop("created_at").endswith("Z")
        assert found == {
            **created,
            "state": "active",
            "url": hook.url,
            "events": ["secret.updated"],
            "paths": ["billing/"],
            "created_by": "hooks",
            "expires_at": None,
            "next_attempt_at": None,
            "error": "",
        }
        assert post(manager, TEST, created) == {**created, "delivered": True, "error": ""}
        hook.answer = lambda _: 500
        assert post(manager, TEST, created)["error"] == "it answers with status 500"
    assert post(manager, DELETE, created) == created
    assert post(manager, DELETE, created, 404)["code"] == "webhook_not_found"
    assert post(manager, TEST, created, 404)["code"] == "webhook_not_found"


def test_a_long_list_counts_as_memory_for_replies(app: Flask, manager: FlaskClient) -> None:
    """With the largest paths, a list fits into the memory reserved for it, which its client holds."""
    paths = [f"billing/{number:02}{'é' * 251}" for number in range(MAX_PATHS)]
    for _ in range(2):
        post(manager, CREATE, {**NEW, "paths": paths})
    page = manager.post(LIST, json={})
    size, reserved = len(page.data), app.extensions[REPLY_MEMORY]._used.total()
    page.close()
    assert reserved == size <= 2 * _WEBHOOK_BYTES
    assert not app.extensions[REPLY_MEMORY]._used


def test_a_webhook_needs_its_scope_and_paths(app: Flask, manager: FlaskClient) -> None:
    """Paths outside one's own are refused, and so are callers without the scope."""
    assert post(manager, CREATE, {**NEW, "paths": ["a/"]}, 403)["code"] == "grant_refused"
    token = make_token(app, "auditor", role="auditor")
    manager.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for path, body in ((CREATE, NEW), (LIST, {}), (DELETE, {"webhook_id": "0" * 16})):
        assert post(manager, path, body, 403)["code"] == "scope_missing"


def test_an_invalid_request_is_422(manager: FlaskClient) -> None:
    """An invalid create is refused by the name of the field; an internal address is refused, too."""
    for body, field in [
        ({**NEW, "url": "http://hooks.example/"}, "url"),
        ({**NEW, "url": "https://user:password@hooks.example/"}, "url"),
        ({**NEW, "url": f"https://hooks.example/{'a' * 2_048}"}, "url"),
        ({**NEW, "events": []}, "events"),
        ({**NEW, "events": ["secret.read"]}, "events"),
        ({**NEW, "paths": ["/"]}, "paths"),
        ({**NEW, "namespace": "other"}, "namespace"),
    ]:
        problem = post(manager, CREATE, body, 422)
        assert {name.partition(".")[0] for name in fields_of(problem)} == {field}, body
    assert post(manager, CREATE, {**NEW, "url": "https://10.0.0.1/"}, 422)["code"] == "webhook_address"
    assert fields_of(post(manager, TEST, {"webhook_id": "x"}, 422)) == ["webhook_id"]
