"""Requests for values: a link by which someone without a credential stores one value, once."""

import json
from base64 import b64encode
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from pymongo.errors import AutoReconnect

from tests.features.links.conftest import Sender
from tests.support.access import age_token, bearer, revoke, services
from tests.support.access_roles import delete_role, make_issuer, make_role
from tests.support.features import requires
from tests.support.issuer import AUDIENCE, ISSUER, public_pem, sign
from tests.support.lifecycle import in_past, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from vault.common.errors import NameTakenError
from vault.core.attempt import Action, Attempt
from vault.core.crypto import MasterKey
from vault.core.crypto.audit_chain import SigningKey
from vault.core.principal import OPERATOR, Principal
from vault.core.trail import receipts
from vault.features.links.documents import ValueRequest
from vault.features.links.errors import InvalidLinkError
from vault.features.links.requests import Requests

NAME = "team/asked"


@pytest.fixture(autouse=True)
def _no_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count failures without a limit: all tests have one address."""
    monkeypatch.setattr(app.extensions["secret-manager-limits"].counters.failure, "limits", [])


def filling(token: str, value: bytes = b"value") -> dict[str, str]:
    return {"token": token, "secret": b64encode(value).decode()}


def test_a_request_is_filled_once(alice: Sender, stored: Stored) -> None:
    """Looks change nothing; the first value is stored under the name, and the link is then at its end."""
    made = alice.ask("secret/request", {"name": NAME, "ttl_seconds": 60, "max_bytes": 5}).json
    assert made.keys() == {"token", "expires_at"}
    token = made["token"]
    described = {"requested_by": "alice", "name": NAME, "expires_at": made["expires_at"], "max_bytes": 5}
    for _ in range(2):
        assert alice.open("request/describe", {"token": token}).json == described
    assert alice.open("request/fill", filling(token, b"123456"), 413).json["code"] == "secret_too_large"
    assert alice.open("request/fill", filling(token)).json == {"stored": True}
    assert alice.ask("secret/fetch", {"name": NAME}).json == {"secret": "dmFsdWU="}
    for operation, body in (("request/fill", filling(token)), ("request/describe", {"token": token})):
        assert alice.open(operation, body, 404).json["code"] == "invalid_link"
    entries = {entry["action"]: entry for entry in trail(stored) if entry["status"] == "success"}
    assert entries["request"]["principal"] == "alice"
    assert entries["create"]["principal"] == "anonymous"
    about = {"name": NAME, "namespace": "default", "request": True, "requested_by": "alice"}
    assert about.items() <= entries["create"]["details"].items()
    assert stored.requests.count_documents({}) == 0
    assert token not in json.dumps(trail(stored), default=str)


def test_what_can_be_requested(alice: Sender) -> None:
    """A free name within one's paths, for a value that the service accepts, and 30 days at most."""
    assert alice.ask("secret/request", {"name": "elsewhere/a"}, 403).json["code"] == "outside_paths"
    alice.ask("secret/create", {"name": NAME, "secret": "YQ=="})
    assert alice.ask("secret/request", {"name": NAME}, 409).json["code"] == "name_taken"
    alice.ask("secret/request", {"name": "team/b", "max_bytes": 65_537}, 413)
    for more in ({"max_bytes": 2_000_000}, {"ttl_seconds": 30 * 86_400 + 1}):
        problem = alice.ask("secret/request", {"name": "team/b", **more}, 422).json
        assert [error["field"] for error in problem["errors"]] == list(more)
    alice.open("secret/request", {"name": "team/b"}, 401)
    token = alice.request("team/b")
    assert alice.open("request/describe", {"token": token}).json["max_bytes"] == 65_536


def test_a_request_overwrites_nothing(alice: Sender, stored: Stored) -> None:
    """If a secret got the name in the meantime, the value is refused, and the link stays as it was."""
    first, second = alice.request(NAME), alice.request(NAME)
    assert alice.open("request/fill", filling(first, b"first")).status_code == 200
    assert alice.open("request/fill", filling(second, b"other"), 409).json["code"] == "name_taken"
    assert alice.ask("secret/fetch", {"name": NAME}).json == {"secret": "Zmlyc3Q="}
    alice.open("request/describe", {"token": second})
    refused = [entry for entry in trail(stored) if entry["status"] == "bad_request"]
    assert [(entry["action"], entry["details"]["name"]) for entry in refused] == [("create", NAME)]


def test_a_filled_request_is_at_its_end_although_it_cannot_be_removed(
    alice: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing fills it again, not even when the secret is gone and its name is free."""
    token = alice.request(NAME)

    def fail(_request: ValueRequest) -> None:
        raise AutoReconnect

    monkeypatch.setattr(ValueRequest, "withdraw", fail)
    alice.open("request/fill", filling(token))
    alice.ask("secret/delete", {"name": NAME})
    for operation, body in (("request/fill", filling(token)), ("request/describe", {"token": token})):
        assert alice.open(operation, body, 404).json["code"] == "invalid_link"


@pytest.mark.promise("rotation")
def test_of_many_at_once_one_fills(app: Flask, stored: Stored) -> None:
    """Of 20 who fill a request at the same time, exactly one does."""
    requests = services(app).of(Requests)
    # With a JWT whose own scopes suffice.
    maker = Attempt(action=Action.REQUEST, principal=Principal(name=f"{ISSUER}:build"))
    token = requests.create(NAME, seconds=60, max_bytes=9, attempt=maker).token

    def fill(number: int) -> str:
        try:
            requests.fill(token, b"%d" % number, attempt=Attempt(action=Action.CREATE))
        except (InvalidLinkError, NameTakenError):
            return "refused"
        return "filled"

    with ThreadPoolExecutor(20) as pool:
        assert Counter(pool.map(fill, range(20))) == {"filled": 1, "refused": 19}
    assert stored.secrets.count_documents({}) == 1


def test_a_request_is_filled_by_the_first(
    alice: Sender, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second finds the link used, even if both have read the request before."""
    token = alice.request(NAME)
    monkeypatch.setattr(ValueRequest, "take", lambda _: False)
    assert alice.open("request/fill", filling(token), 404).json["code"] == "invalid_link"
    assert stored.secrets.count_documents({}) == 0


def test_a_request_stays_without_its_entry(alice: Sender, stored: Stored) -> None:
    """Without the trail nothing is stored, and the request can be filled later."""
    token = alice.request(NAME)
    block_trail(stored)
    assert alice.open("request/fill", filling(token), 503).json["code"] == "audit_unavailable"
    alice.open("request/describe", {"token": token}, 503)
    assert alice.ask("secret/request", {"name": "team/b"}, 503).json["code"] == "audit_unavailable"
    restore_trail(stored)
    assert stored.requests.count_documents({}) == 1
    alice.open("request/fill", filling(token))


@pytest.mark.parametrize("end", ["revoked", "expired", "offboarded", "removed"])
def test_a_request_ends_with_its_makers_token(app: Flask, stored: Stored, end: str) -> None:
    """When the token of its maker is revoked, expires, or is offboarded, the link stores nothing."""
    maker = Sender(app, f"maker-{end}", role="writer", seconds=3_600)
    token = maker.request(f"{NAME}-{end}")
    match end:
        case "revoked":
            revoke(app, maker.name)
        case "expired":
            age_token(app, maker.name, hours=2)
        case "removed":
            stored.tokens.delete_one({"name": maker.name})
        case _:
            attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
            ended, _ = services(app).tokens.offboard(maker.name, is_plan=False, attempt=attempt)
            assert ("request", f"{NAME}-{end}") in ended
            assert stored.requests.count_documents({"created_by": maker.name}) == 0
            [entry] = [one for one in trail(stored) if one["action"] == "request_delete"]
            assert entry["details"]["created_by"] == maker.name
    assert maker.open("request/fill", filling(token), 404).json["code"] == "invalid_link"
    assert stored.secrets.count_documents({}) == 0


@requires("jwt")
def test_a_request_by_a_jwt_ends_with_its_role(app: Flask, stored: Stored) -> None:
    """It outlives the JWT, and ends when the role with which it was made is deleted."""
    make_issuer(app, "asking", iss=ISSUER, keys=public_pem(), audience=AUDIENCE)
    make_role(app, "asking", "asking", claims={"sub": "build"}, scopes=("secret:create",))
    client = app.test_client()
    tokens = []
    for name in ("team/a", "team/b"):
        reply = client.post("/vault/secret/request", json={"name": name}, headers=bearer(sign()))
        assert reply.status_code == 200, reply.text
        tokens.append(reply.json["token"])
    assert client.post("/vault/request/fill", json=filling(tokens[0])).status_code == 200
    delete_role(app, "asking")
    assert client.post("/vault/request/fill", json=filling(tokens[1])).status_code == 404
    # Another role of the name does not revive it.
    make_role(app, "asking", "asking", claims={"sub": "build"}, scopes=("secret:create",))
    assert client.post("/vault/request/fill", json=filling(tokens[1])).status_code == 404
    assert stored.secrets.count_documents({}) == 1


def test_a_request_that_expired_or_was_altered_is_none(alice: Sender, stored: Stored) -> None:
    """An attacker who can write to the database cannot extend a request, or let it store another name."""
    for change in (
        {"expires_at": in_past(seconds=1)},
        {"name": "team/other"},
        {"namespace": "other"},
        {"max_bytes": 60_000},
        {"max_bytes": "many"},
        {"created_by": "mallory"},
        {"token_id": ""},
        {"pending": True},
    ):
        token = alice.request(NAME)
        stored.requests.update_one({}, {"$set": change})
        alice.open("request/fill", filling(token), 404)
        stored.requests.delete_many({})
    assert stored.secrets.count_documents({}) == 0


def test_a_request_grants_nothing_else(app: Flask, alice: Sender, key: MasterKey) -> None:
    """Its token is no credential, and opens no share; reply and receipt have no ID of the secret."""
    token = alice.request(NAME)
    client = app.test_client()
    for path, body in (
        ("secret/fetch", {"name": NAME}),
        ("secret/list", {}),
        ("secret/update", {"name": NAME, "secret": "YQ=="}),
    ):
        reply = client.post(f"/vault/{path}", json=body, headers={"Authorization": f"Bearer {token}"})
        assert reply.status_code == 401
    for unknown in (token, "smr_", f"smr_{'0' * 43}", "nope"):
        alice.open("share/open", {"token": unknown}, 404)
    for unknown in ("nope", f"smr_{'0' * 43}"):
        alice.open("request/describe", {"token": unknown}, 404)
    filled = alice.open("request/fill", filling(token), **{"X-Receipt": "1"})
    assert filled.json == {"stored": True}
    receipt = receipts.read(filled.headers["X-Receipt"], {"signer": SigningKey(key).public})
    assert receipt
    assert (receipt.payload["name"], receipt.payload["secret_id"]) == (NAME, None)


def test_there_is_no_request_before_there_is_a_key(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the key of tokens, which the first one makes, every link is unknown."""
    requests = services(app).of(Requests)
    monkeypatch.setattr(requests._keys, "find", lambda: None)
    with pytest.raises(InvalidLinkError):
        requests.look_up(f"smr_{'0' * 43}", attempt=Attempt(action=Action.REQUEST_LOOKUP))
