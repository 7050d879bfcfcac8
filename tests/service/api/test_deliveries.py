"""Fetches with a delivery context, which the trail holds."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import bearer, make_token
from tests.support.batches import problem_of, statuses
from tests.support.lifecycle import ALICE, UNKNOWN_ID, Caller, b64, trail
from tests.support.problems import messages_of
from tests.support.rotation import Stored
from vault.core.crypto import Keyring, MasterKey
from vault.core.principal import ANONYMOUS, ROLES, Principal, Scope
from vault.core.trail import reader
from vault.core.trail.reader import Filter
from vault.core.trail.streams import signing_keys
from vault.core.trail.verifier import Verifier, verify_records
from vault.service.api.deliveries import EXAMPLE

DRIVER = Principal(name="driver", scopes=ROLES["driver"])
#: It can do everything else.
WITHOUT = Principal(name="bob", scopes=frozenset(Scope) - {Scope.SECRET_DELIVER})


def task(number: int) -> dict[str, str]:
    """Return the context of a task."""
    return {"service": "shop_api", "task_id": f"task{number}"}


@pytest.fixture
def secret_id(ready: Caller, stored: Stored) -> str:
    """Return the ID of a secret with a name; the caller is the driver, and the trail is empty."""
    found = ready.become(ALICE).create(b"value", name="shop/db")
    stored.audit_logs.delete_many({})
    ready.become(DRIVER)
    return found


def test_the_entry_of_a_fetch_has_its_context(ready: Caller, stored: Stored, secret_id: str) -> None:
    """The entry of a delivery holds the context as it was sent, next to the secret's name."""
    assert ready("fetch", name="shop/db", delivery=EXAMPLE) == {"secret": b64(b"value")}
    assert trail(stored) == [
        {
            "action": "fetch",
            "status": "success",
            "principal": "driver",
            "secret_id": secret_id,
            "details": {"name": "shop/db", "namespace": "default", "delivery": EXAMPLE},
        }
    ]


def test_each_item_has_a_context_of_its_own(ready: Caller, stored: Stored, secret_id: str) -> None:
    """In a batch, the same secret is delivered to several tasks, and each has its entry; so has a failure."""
    items: list[dict[str, Any]] = [{"secret_id": secret_id, "delivery": task(number)} for number in range(3)]
    items += [{"name": "shop/none", "delivery": task(3)}, {"secret_id": secret_id}]
    assert statuses(ready("fetch-batch", secrets=items)["secrets"]) == [200, 200, 200, 404, 200]
    contexts = [(entry["status"], entry["details"].get("delivery")) for entry in trail(stored)]
    assert contexts == [
        ("success", task(0)),
        ("success", task(1)),
        ("success", task(2)),
        ("not_found", task(3)),
        ("success", None),
    ]


@pytest.mark.promise("swarm")
@pytest.mark.parametrize(("who", "status"), [(WITHOUT, 403), (ANONYMOUS, 401)], ids=["bob", "anonymous"])
@pytest.mark.parametrize("action", ["fetch", "fetch-batch"])
def test_only_the_scope_allows_a_context(
    ready: Caller, stored: Stored, secret_id: str, action: str, who: Principal, status: int
) -> None:
    """Without `secret:deliver`, nothing of the request is read, and its entry holds nothing of a context."""
    one = {"secret_id": secret_id}
    delivery = {**one, "delivery": EXAMPLE}
    body = delivery if action == "fetch" else {"secrets": [one, delivery, one]}
    reply = ready.become(who).post(action, body)
    assert reply.status_code == status
    assert reply.get_json(force=True)["code"] == ("scope_missing" if status == 403 else "credential_required")
    [entry] = trail(stored)
    assert (entry["status"], entry["principal"]) == ("denied", who.name)
    assert entry["details"] == {"reason": "needs secret:deliver"}


@pytest.mark.parametrize("by", ["name", "secret_id"])
def test_a_refused_delivery_returns_nothing(ready: Caller, stored: Stored, secret_id: str, by: str) -> None:
    """A delivery that the driver refuses is 403, alone and in a batch, and its entry says why."""
    one = {"name": "shop/db"} if by == "name" else {"secret_id": secret_id}
    context = {**EXAMPLE, "refusal": "the policy does not name this service"}
    reply = ready.post("fetch", {**one, "delivery": context})
    assert (reply.status_code, reply.get_json(force=True)["code"]) == (403, "delivery_refused")
    outcomes = ready("fetch-batch", secrets=[{**one, "delivery": context}, one])["secrets"]
    assert statuses(outcomes) == [403, 200]
    assert outcomes[0]["problem"] == problem_of(reply, outcomes[0])
    known = {"name": "shop/db", "namespace": "default"}
    about = {"details": known} if by == "name" else {"secret_id": secret_id, "details": {}}
    about["details"] = {**about["details"], "delivery": context, "reason": "refused by the client"}
    refused = {"action": "fetch", "status": "denied", "principal": "driver", **about}
    success = {**refused, "status": "success", "secret_id": secret_id, "details": known}
    assert trail(stored) == [refused, refused, success]


def test_a_refusal_reads_nothing(ready: Caller) -> None:
    """A refused delivery uses up no read, and finds out nothing about the secret."""
    once = ready.become(ALICE).create(b"once", max_reads=1)
    ready.become(DRIVER)
    context = {**task(1), "refusal": "no"}
    for which in (once, UNKNOWN_ID):
        assert ready.refused("fetch", secret_id=which, delivery=context) == 403
        outcomes = ready("fetch-batch", secrets=[{"secret_id": which, "delivery": context}])["secrets"]
        assert statuses(outcomes) == [403]
    assert ready.fetch(once) == b64(b"once")


@pytest.mark.promise("swarm")
def test_refusals_beyond_the_first_few_are_counted(ready: Caller, stored: Stored, secret_id: str) -> None:
    """Drivers cannot fill the trail with refusals: the first five of a minute have their contexts."""
    items = [
        {"secret_id": secret_id, "delivery": {**task(number), "refusal": f"no {number}"}}
        for number in range(20)
    ]
    assert statuses(ready("fetch-batch", secrets=items)["secrets"]) == [403] * 20
    assert [entry["details"]["delivery"]["refusal"] for entry in trail(stored)] == [
        f"no {number}" for number in range(5)
    ]


def test_the_scope_alone_fetches_nothing(ready: Caller, secret_id: str) -> None:
    """A fetch needs `secret:fetch`, with a context and without; a context of null is absent."""
    ready.become(Principal(name="half", scopes=frozenset({Scope.SECRET_DELIVER})))
    assert ready.refused("fetch", secret_id=secret_id, delivery=EXAMPLE) == 403
    assert ready.become(WITHOUT).fetch(secret_id, delivery=None) == b64(b"value")


@pytest.fixture
def store(app: Flask, client: FlaskClient) -> FlaskClient:
    """Return an authenticated driver with the path `shop/`, after two secrets were created."""
    writer = bearer(make_token(app, "writer", role="writer"))
    for name in ("shop/db", "bank/db"):
        client.post("/vault/secret/create", json={"secret": "YQ==", "name": name}, headers=writer)
    token = make_token(app, "driver", role="driver", paths=("shop/",))
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    return client


@pytest.mark.promise("swarm")
def test_the_paths_of_the_driver_apply(store: FlaskClient, stored: Stored) -> None:
    """A driver's token with paths gets nothing outside them; the entry has the reason and the context."""
    for context in (task(1), {**task(1), "refusal": "no"}):
        one = {"name": "bank/db", "delivery": context}
        assert store.post("/vault/secret/fetch", json=one).status_code == 404
        assert statuses(store.post("/vault/secret/fetch-batch", json={"secrets": [one]}).json["secrets"]) == [
            404
        ]
        details = {"name": "bank/db", "namespace": "default", "reason": "outside the paths"}
        assert [entry["details"] for entry in trail(stored)[-2:]] == [{**details, "delivery": context}] * 2


@pytest.mark.own_app
def test_readers_of_the_trail_see_the_context(app: Flask, store: FlaskClient, key: MasterKey) -> None:
    """Queries and exports show the context, and a trail with deliveries verifies."""
    store.post("/vault/secret/fetch", json={"name": "shop/db", "delivery": EXAMPLE})
    auditor = bearer(make_token(app, "auditor", role="auditor", paths=("shop/",)))
    found = store.post("/vault/audit/query", json={"action": "fetch"}, headers=auditor).json["entries"]
    assert [entry["details"]["delivery"] for entry in found] == [EXAMPLE]
    records = list(reader.export(Filter()))
    assert [entry["details"]["delivery"] for entry in records if entry["action"] == "fetch"] == [EXAMPLE]
    assert not list(verify_records(Verifier(signing_keys.trusted(Keyring(key))), records))


VISIBLE = "Must be visible ASCII characters, without spaces."
LONGEST = dict.fromkeys(EXAMPLE, "x" * 128) | {
    "task": f"{'s' * 63}.{'n' * 25}.{'t' * 25}",
    "image": f"{'i' * 255}:{'t' * 128}@sha512:{'0' * 128}",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"service": None}, {"delivery.service": ["Field may not be null."]}),
        ({"container": "c"}, {"delivery.container": ["Unknown field."]}),
        ({"task": 7}, {"delivery.task": ["Not a valid string."]}),
        ({"refusal": "r" * 257}, {"delivery.refusal": ["Length must be between 1 and 256."]}),
        ({"refusal": "no\n"}, {"delivery.refusal": ["Must be one line, without invisible characters."]}),
        ({"refusal": "\u2800"}, {"delivery.refusal": ["Must have a visible character."]}),
        ({"node": ""}, {"delivery.node": ["Length must be between 1 and 128.", VISIBLE]}),
        ({"image": LONGEST["image"] + "0"}, {"delivery.image": ["Length must be between 1 and 520."]}),
        *(
            ({"task": text}, {"delivery.task": [VISIBLE]})
            for text in ("two words", "one\n", "\x1b[31m", "\ud800")
        ),
    ],
    ids=str,
)
def test_an_invalid_context_is_refused(
    ready: Caller, stored: Stored, secret_id: str, change: dict[str, Any], message: dict[str, list[str]]
) -> None:
    """A context that Docker cannot have sent is 422, by item in a batch, and its entry has none of it."""
    one = {"secret_id": secret_id, "delivery": EXAMPLE | change}
    reply = ready.post("fetch", one)
    assert (reply.status_code, messages_of(reply.get_json(force=True))) == (422, message)
    reply = ready.post("fetch-batch", {"secrets": [one]})
    numbered = {f"secrets.0.{field}": messages for field, messages in message.items()}
    assert (reply.status_code, messages_of(reply.get_json(force=True))) == (422, numbered)
    assert [(entry["status"], entry.get("details")) for entry in trail(stored)] == [("bad_request", None)] * 2


def test_a_context_that_is_no_object_is_refused(ready: Caller, secret_id: str) -> None:
    """A text or a list in place of the context is 422; so is a context with a prefix."""
    for delivery in ("shop_api", [EXAMPLE], 7, True):
        assert ready.refused("fetch", secret_id=secret_id, delivery=delivery) == 422
    assert ready.refused("fetch-batch", name_prefix="shop/", delivery=EXAMPLE) == 422


def test_the_longest_names_of_docker_fit(ready: Caller, stored: Stored, secret_id: str) -> None:
    """The longest texts that Docker sends are stored unchanged, in a full batch as well."""
    items = [{"secret_id": secret_id, "delivery": LONGEST}] * 100
    assert statuses(ready("fetch-batch", secrets=items)["secrets"]) == [200] * 100
    assert [entry["details"]["delivery"] for entry in trail(stored)] == [LONGEST] * 100
