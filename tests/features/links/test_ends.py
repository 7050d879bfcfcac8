"""The ends of shares and wrapped replies: by themselves, with their secret, and with their maker's right."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.features.links.conftest import Sender
from tests.support.access import age_token, bearer, revoke, services
from tests.support.access_roles import delete_role, make_issuer, make_role
from tests.support.features import requires
from tests.support.issuer import AUDIENCE, ISSUER, public_pem, sign
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import NewSecret
from vault.core.secrets.retention import Retention
from vault.core.secrets.wrapping import Basis, Origin, WrappingToken
from vault.features.links.shares import Shares

NAME = "team/db"
VALUE = b64encode(b"hunter2").decode()


@pytest.fixture(autouse=True)
def _no_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Count failures without a limit: all tests have one address."""
    monkeypatch.setattr(app.extensions["secret-manager-limits"].counters.failure, "limits", [])


@pytest.fixture
def secret(alice: Sender) -> str:
    """Return the ID of a secret of Alice's with a second version."""
    created = alice.ask("secret/create", {"name": NAME, "secret": VALUE}).json["secret_id"]
    alice.ask("secret/update", {"name": NAME, "secret": VALUE})
    return str(created)


def ended(sender: Sender, token: str, stored: Stored, reason: str) -> None:
    """Require that the share of *token* is as if it had never been, and that the trail has the *reason*."""
    unknown = sender.open("share/open", {"token": f"smw_{'0' * 43}"}, 404).json
    for operation in ("share/describe", "share/open"):
        reply = sender.open(operation, {"token": token}, 404).json
        assert {**reply, "request_id": ""} == {**unknown, "request_id": ""}
        entry = trail(stored)[-1]
        assert entry["details"]["reason"] == reason
        assert entry["secret_id"] == WrappingToken(token).accessor


def _delete(alice: Sender) -> None:
    alice.ask("secret/delete", {"name": NAME})


def _purge(alice: Sender) -> None:
    alice.ask("secret/delete", {"name": NAME})
    alice.ask("secret/purge", {"name": NAME})


def _replace(alice: Sender) -> None:
    _purge(alice)
    alice.ask("secret/create", {"name": NAME, "secret": VALUE})
    alice.ask("secret/update", {"name": NAME, "secret": VALUE})


@pytest.mark.promise("rotation")
@pytest.mark.usefixtures("secret")
@pytest.mark.parametrize("end", [_delete, _purge, _replace])
def test_a_share_ends_with_its_secret(
    app: Flask, alice: Sender, stored: Stored, end: Callable[[Sender], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its secret is deleted or purged, a share of it opens no more, and the trail says why."""
    recovery = Retention(max_versions=10, recovery_days=7)
    monkeypatch.setattr(services(app).changes, "retention", recovery)
    token = alice.share(name=NAME)
    end(alice)
    ended(alice, token, stored, "its secret ended")


@pytest.mark.usefixtures("secret")
def test_a_share_is_restored_with_its_secret(
    app: Flask, alice: Sender, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that is taken back ends nothing permanently."""
    recovery = Retention(max_versions=10, recovery_days=7)
    monkeypatch.setattr(services(app).changes, "retention", recovery)
    token = alice.share(name=NAME)
    alice.ask("secret/delete", {"name": NAME})
    ended(alice, token, stored, "its secret ended")
    alice.ask("secret/restore", {"name": NAME})
    assert alice.open("share/open", {"token": token}).json == {"secret": VALUE}


def test_a_share_ends_with_its_version(alice: Sender, stored: Stored, secret: str) -> None:
    """A version that is destroyed is destroyed in its shares, too; those of others stay."""
    token = alice.share(secret_id=secret)
    alice.ask("secret/update", {"name": NAME, "secret": "bmV3"})
    newest = alice.share(secret_id=secret)
    alice.ask("secret/purge", {"name": NAME, "version": 2})
    ended(alice, token, stored, "its secret ended")
    assert alice.open("share/open", {"token": newest}).json == {"secret": "bmV3"}


def test_a_share_ends_by_the_expiry_of_its_secret(alice: Sender, stored: Stored, secret: str) -> None:
    """A share has at most the life that its secret has left, also after a change of the expiry."""
    alice.ask("secret/update-metadata", {"name": NAME, "ttl_seconds": 600})
    made = alice.ask("secret/share", {"name": NAME}).json
    [kept] = stored.secrets.find({"namespace": "service:sharing"})
    expiry = alice.ask("secret/describe", {"name": NAME}).json["expires_at"]
    assert made["expires_at"][:19] <= (kept["expires_at"].isoformat())[:19]
    assert abs((kept["expires_at"] - kept["created_at"]).total_seconds() - 600) < 60
    alice.ask("secret/update-metadata", {"name": NAME, "ttl_seconds": 60})
    shorter = alice.open("share/describe", {"token": made["token"]}).json["expires_at"]
    assert shorter == alice.ask("secret/describe", {"name": NAME}).json["expires_at"] < expiry
    # An attacker cannot extend it by the secret.
    stored.secrets.update_one({"_id": secret}, {"$unset": {"expires_at": 1, "purge_at": 1}})
    assert alice.open("share/open", {"token": made["token"]}, 500).json["code"] == "decryption"


def test_a_share_of_the_last_read_stays(alice: Sender, stored: Stored) -> None:
    """If the share is its last read, the secret is used up, and its holder still gets the value."""
    alice.ask("secret/create", {"name": NAME, "secret": VALUE, "max_reads": 1, "ttl_seconds": 600})
    made = alice.ask("secret/share", {"name": NAME}).json
    stored.secrets.delete_one({"name": NAME})
    [kept] = stored.secrets.find({"namespace": "service:sharing"})
    assert (kept["expires_at"] - kept["created_at"]).total_seconds() <= 600
    assert alice.open("share/open", {"token": made["token"]}).json == {"secret": VALUE}


def test_a_share_ends_with_the_other_reads_of_its_secret(alice: Sender, stored: Stored) -> None:
    """If others use up the secret, it has ended, with its shares."""
    alice.ask("secret/create", {"name": NAME, "secret": VALUE, "max_reads": 2})
    token = alice.share(name=NAME)
    alice.ask("secret/fetch", {"name": NAME})
    ended(alice, token, stored, "its secret ended")


def _end_token(app: Flask, name: str, stored: Stored, end: str) -> None:
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    match end:
        case "revoked":
            revoke(app, name)
        case "expired":
            age_token(app, name, hours=2)
        case "removed":
            stored.tokens.delete_one({"name": name})
        case "altered":
            stored.tokens.update_one({"name": name}, {"$set": {"created_by": "mallory"}})
        case "cascade":
            services(app).tokens.revoke(name, cascade=True, attempt=attempt)
        case _:
            services(app).tokens.offboard(name, is_plan=False, attempt=attempt)


@pytest.mark.promise("rotation")
@pytest.mark.parametrize("end", ["revoked", "expired", "cascade", "offboarded", "removed", "altered"])
def test_a_share_ends_with_its_makers_token(app: Flask, alice: Sender, stored: Stored, end: str) -> None:
    """When the right of its maker ends, a share of a secret or of a value opens no more."""
    maker = Sender(app, f"maker-{end}", role="admin", paths=("team/",), seconds=3_600)
    maker.ask("secret/create", {"name": NAME, "secret": VALUE})
    shares = [maker.share(name=NAME), maker.share(secret=VALUE)]
    child = None
    if end == "cascade":
        grant = {"name": f"child-{end}", "scopes": ["secret:create", "secret:fetch"], "paths": ["team/"]}
        text = maker.ask("token/create", grant).json["token"]
        child = app.test_client().post("/vault/secret/share", json={"secret": VALUE}, headers=bearer(text))
    _end_token(app, maker.name, stored, end)
    for token in shares:
        ended(alice, token, stored, "its maker was revoked")
    if child:
        ended(alice, child.json["token"], stored, "its maker was revoked")


@requires("jwt")
def test_a_share_by_a_jwt_ends_with_its_role(app: Flask, alice: Sender, stored: Stored) -> None:
    """It outlives the JWT, and ends when the role with which it was made is deleted."""
    make_issuer(app, "sharing", iss=ISSUER, keys=public_pem(), audience=AUDIENCE)
    make_role(app, "sharing", "sharing", claims={"sub": "build"}, scopes=("secret:create", "secret:fetch"))
    client = app.test_client()
    tokens = [
        client.post("/vault/secret/share", json={"secret": VALUE}, headers=bearer(sign())).json["token"]
        for _ in range(2)
    ]
    assert alice.open("share/open", {"token": tokens[0]}).json == {"secret": VALUE}
    delete_role(app, "sharing")
    ended(alice, tokens[1], stored, "its maker was revoked")


def test_earlier_versions_read_new_replies() -> None:
    """During an upgrade, version 1.1 opens new shares and wrapped replies: the basis is in ignored fields."""
    origin = Origin("secret/data/a", "2026-11-26T10:15:08.174Z", 60, Basis(secret_id="id", version=3))
    kept = origin.join(b'{"auth":null,"request_id":"one"}\nvalue\t')
    first, _, content = kept.partition(b"\n")
    assert json.loads(first) == list(origin[:3])
    assert json.loads(content.partition(b"\n")[0]) == {"auth": None, "request_id": "one"}
    assert Origin.split(kept) == (origin, b'{"auth":null,"request_id":"one"}\nvalue\t')


def test_a_share_of_an_earlier_version_keeps_its_own_end(app: Flask, alice: Sender) -> None:
    """Shares of version 1.1 do not say from which secret, and open until they expire."""
    token = WrappingToken.new()
    header = {"namespace": "default", "shared_by": "alice", "has_passphrase": False}
    first = json.dumps(["secret/share", "2026-11-26T10:15:08.174Z", 60]).encode()
    kept = NewSecret(
        plaintext=first + b"\n" + json.dumps(header).encode() + b"\nold", ttl_seconds=60, max_reads=1
    )
    shares: Any = services(app).of(Shares)
    shares._wrapping._store.publish([kept.document("service:sharing", token.accessor)])
    assert alice.open("share/open", {"token": token.text}).json == {"secret": "b2xk"}
