"""The creations of a revoked token: a plain revocation names them, and a cascade ends them."""

import pytest
from flask import Flask

from tests.support.access import bearer, make_token, services
from tests.support.creations import create_all
from tests.support.features import requires
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.documents.token import Token
from vault.core.principal import OPERATOR


def revoke(app: Flask, name: str = "boss", *, cascade: bool = False) -> set[tuple[str, str]]:
    """Revoke a token, and return what stays."""
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    done = services(app).tokens.revoke(name, cascade=cascade, attempt=attempt)
    return {(one.kind, one.name) for one in done.stays}


def held(app: Flask, name: str = "boss") -> set[tuple[str, str]]:
    """Return what an offboarding would end."""
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    return set(services(app).tokens.offboard(name, is_plan=True, attempt=attempt)[0])


def test_a_plain_revocation_names_what_stays(app: Flask) -> None:
    """All that the token created and that still acts stays, and is named; a repetition names it again.

    A request acts in its name, and is over. A cascade ends all, and names nothing.
    """
    make_token(app, "boss", role="admin")
    made = create_all(app, "boss")
    assert revoke(app) == made
    assert revoke(app) == made
    assert {one for one in held(app) if one[0] != "request"} == made
    assert revoke(app, cascade=True) == set()
    assert held(app) == set()
    assert revoke(app) == set()


def test_what_has_expired_with_its_creator_does_not_stay(app: Flask, stored: Stored) -> None:
    """Tokens and roles do not outlast their creator's expiry, nor do others; what else it made is named."""
    make_token(app, "boss", role="admin")
    made = create_all(app, "boss", seconds=3_600)
    assert revoke(app) == made
    for kind in (stored.tokens, stored.roles):
        assert kind.count_documents({"created_by": "boss", "expires_at": None}) == 0
    make_token(app, "other", role="admin")
    made = create_all(app, "other", seconds=-10)
    assert revoke(app, "other") == {one for one in made if one[0] not in ("token", "role", "webhook")}


def test_an_altered_token_names_nothing_of_others(app: Flask, stored: Stored) -> None:
    """A token that got the name of another in the database reveals nothing of what that one created."""
    make_token(app, "boss", role="admin")
    create_all(app, "boss")
    stored.tokens.update_one({"name": "boss"}, {"$set": {"name": "gone"}})
    make_token(app, "forged", role="reader")
    stored.tokens.update_one({"name": "forged"}, {"$set": {"name": "boss"}})
    assert revoke(app) == set()


def test_the_number_of_named_tokens_is_limited(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that created very many still ends at once: a part of them is named."""
    monkeypatch.setattr("vault.core.access.revocations.MAX_NAMED", 1)
    make_token(app, "boss", role="admin")
    create_all(app, "boss")
    create_all(app, "boss")
    assert len([one for one in revoke(app) if one[0] == "token"]) == 1
    assert Token.objects(created_by="boss", revoked_at=None).count() == 2


def test_replies_name_what_stays(app: Flask) -> None:
    """`revoke` and `revoke-self` name it in `stays`, which is not there if nothing stays."""
    root = bearer(make_token(app, "root", role="admin"))
    boss, self = (make_token(app, name, role="admin") for name in ("boss", "self"))
    made = {name: create_all(app, name) for name in ("boss", "self")}
    with app.test_client() as client:
        replies = {
            "boss": client.post("/vault/token/revoke", json={"name": "boss"}, headers=root).json,
            "self": client.post("/vault/token/revoke-self", json={}, headers=bearer(self)).json,
        }
        assert client.post("/vault/token/self", json={}, headers=bearer(boss)).status_code == 401
        for name, reply in replies.items():
            assert reply.pop("stays")
            assert reply == {"name": name, "revoked": [name]}
            stays = client.post("/vault/token/revoke", json={"name": name}, headers=root).json["stays"]
            assert {(one["kind"], one["name"]) for one in stays} == made[name]
        ended = client.post("/vault/token/revoke", json={"name": "boss", "cascade": True}, headers=root).json
    assert ended.keys() == {"name", "revoked"}


@requires("dialect")
@pytest.mark.parametrize("path", ["revoke", "revoke-orphan", "revoke-accessor", "revoke-self"])
def test_vaults_api_names_what_stays(app: Flask, path: str) -> None:
    """Its revocations end tokens alone, as the real one's, and warn of what else the token created.

    A repetition by the same token finds nothing to revoke, and without creations the reply stays empty.
    """
    root = bearer(make_token(app, "root", role="admin"))
    text = make_token(app, "boss", role="admin")
    made = create_all(app, "boss")
    plain = make_token(app, "plain", role="admin")
    with app.test_client() as client:

        def ended(token: str) -> object:
            looked = client.post("/v1/auth/token/lookup", json={"token": token}, headers=root)
            accessor = looked.json["data"]["accessor"]
            own = path == "revoke-self"
            reply = client.post(
                f"/v1/auth/token/{path}",
                json={} if own else {"token": token, "accessor": accessor},
                headers=bearer(token) if own else root,
            )
            return (reply.status_code, reply.json["warnings"]) if reply.data else reply.status_code

        assert ended(plain) == 204
        status, warnings = ended(text)  # type: ignore[misc]
        assert status == 200
        named = {one for one in made if any(f"{one[0]} {one[1]} " in warning for warning in warnings)}
        assert named == {one for one in made if one[0] != "token"}
    is_alone = path == "revoke-orphan"
    assert Token.objects(created_by="boss", revoked_at=None).count() == int(is_alone)
