"""Create, list and delete issuers: only administrators without limits may, and every step is recorded."""

from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from flask import Flask

from tests.conftest import running_app
from tests.support.access import age_token, make_token, services
from tests.support.access_roles import make_issuer, make_role, operator
from tests.support.issuer import AUDIENCE, EC_KEY, ED_KEY, ISSUER, RSA_KEY, public_pem
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.common.errors import AuditUnavailableError, GrantRefusedError, LimitReachedError
from vault.common.paths import Paths
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action, Attempt
from vault.core.principal import ALL_RIGHTS, Principal, Scope
from vault.features.jwt import issuers as module
from vault.features.jwt.documents import Issuer, Role
from vault.features.jwt.errors import IssuerInUseError, IssuerNotFoundError, IssuerTakenError
from vault.features.jwt.issuers import IssuerInfo, Issuers, NewIssuer
from vault.features.jwt.roles import Roles
from vault.features.jwt.verification import ALGORITHMS

ADMIN = Principal(name="boss", scopes=frozenset(Scope))
NEW = NewIssuer(name="ci", issuer="https://ci.example", audience="vault", jwks_url="https://ci.example/keys")


def create(app: Flask, principal: Principal = ADMIN, **changes: Any) -> None:
    attempt = Attempt(action=Action.ISSUER_CREATE, principal=principal)
    services(app).of(Issuers).create(replace(NEW, **changes), attempt=attempt)


def infos(app: Flask, principal: Principal = ADMIN) -> list[IssuerInfo]:
    attempt = Attempt(action=Action.ISSUER_LIST, principal=principal)
    return services(app).of(Issuers).list(attempt=attempt)


def delete(app: Flask, name: str, principal: Principal = ADMIN) -> None:
    attempt = Attempt(action=Action.ISSUER_DELETE, principal=principal)
    services(app).of(Issuers).delete(name, attempt=attempt)


def test_algorithms_fit_the_public_key(app: Flask) -> None:
    """Without a choice, an issuer with a public key has all algorithms of its kind."""
    for key, prefixes in ((RSA_KEY, ("RS", "PS")), (EC_KEY, ("ES",)), (ED_KEY, ("EdDSA",))):
        create(app, jwks_url=None, public_key=public_pem(key))
        fitting = tuple(name for name in ALGORITHMS if name.startswith(prefixes))
        assert infos(app)[0].algorithms == fitting
        delete(app, "ci")
    create(app, algorithms=("RS256",))
    assert infos(app)[0].algorithms == ("RS256",)


@pytest.mark.promise("jwts")
def test_a_limited_principal_cannot_manage_issuers(app: Flask, stored: Stored) -> None:
    """A principal with any limit can neither create nor list nor delete issuers; the limit is named."""
    create(app)
    changes: dict[str, Any] = {
        "scopes": frozenset(Scope) - {Scope.SECRET_PURGE},
        "namespace": "team-a",
        "paths": Paths.of(["billing/"]),
        "networks": (ip_network("10.0.0.0/8"),),
    }
    for limit, value in changes.items():
        limited = replace(ADMIN, **{limit: value})
        for refused in (
            lambda who=limited: create(app, who, name="new"),
            lambda who=limited: infos(app, who),
            lambda who=limited: delete(app, "ci", who),
        ):
            with pytest.raises(GrantRefusedError, match=f": {limit}"):
                refused()
    assert stored.issuers.count_documents({}) == 1


def test_the_settings_issuer_has_a_reserved_name(environment: dict[str, str]) -> None:
    """No issuer can have the name `default`, or the claims of the issuer in the settings, which is listed."""
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": AUDIENCE}
    with running_app({**environment, **settings}) as app:
        for changes in ({"name": "default"}, {"issuer": ISSUER, "audience": AUDIENCE}):
            with pytest.raises(IssuerTakenError, match="settings"):
                create(app, **changes)
        create(app, issuer=ISSUER, audience="another")
        assert [(info.name, info.state, info.audience) for info in infos(app)] == [
            ("default", "settings", AUDIENCE),
            ("ci", "active", "another"),
        ]
        assert services(app).of(Issuers).find("default")[1] == ISSUER
        attempt = operator(Action.ISSUER_LIST)
        assert services(app).of(Issuers).list("settings", attempt=attempt)[0].name == "default"


def test_an_issuer_with_roles_is_not_deleted(app: Flask) -> None:
    """An issuer is deleted only after its roles, those of every namespace, or by force."""
    make_issuer(app, "ci", iss="https://ci.example", keys=public_pem())
    make_role(app, "deploy", "ci", claims={"sub": "job"}, namespace="team-a")
    with pytest.raises(IssuerInUseError):
        delete(app, "ci")
    make_issuer(app, "other", iss="https://other.example", keys=public_pem())
    make_role(app, "orphan", "other", claims={"sub": "job"})
    services(app).of(Issuers).delete("other", force=True, attempt=operator(Action.ISSUER_DELETE))
    services(app).of(Roles).delete("deploy", namespace="team-a", attempt=operator(Action.ROLE_DELETE))
    delete(app, "ci")


def test_an_unknown_issuer_is_not_found(app: Flask, stored: Stored) -> None:
    """An unknown or altered issuer is not found for a role, and an unknown one not to delete."""
    for name in ("ci", "default"):
        with pytest.raises(IssuerNotFoundError):
            services(app).of(Issuers).find(name)
    with pytest.raises(IssuerNotFoundError):
        delete(app, "ci")
    create(app)
    stored.issuers.update_one({}, {"$set": {"audience": "other"}})
    with pytest.raises(IssuerNotFoundError):
        services(app).of(Issuers).find("ci")
    # But it can be deleted.
    delete(app, "ci")


def test_there_is_a_limit(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the maximum number of issuers, the next is refused."""
    monkeypatch.setattr(module, "MAX_ISSUERS", 1)
    create(app)
    with pytest.raises(LimitReachedError, match="at most 1 issuers"):
        create(app, name="second", audience="second")


def test_nothing_changes_without_its_entry(app: Flask, stored: Stored) -> None:
    """While the trail cannot be written, no issuer is created, listed or deleted."""
    create(app)
    block_trail(stored)
    for refused in (
        lambda: create(app, name="new", audience="new"),
        lambda: infos(app),
        lambda: delete(app, "ci"),
    ):
        with pytest.raises(AuditUnavailableError):
            refused()
    assert [document["name"] for document in stored.issuers.find()] == ["ci"]


def test_the_seal_covers_every_field() -> None:
    """A newly added field of an issuer or a role cannot stay outside the seal unnoticed."""
    for one in (Issuer(), Role(own_entries_only=True)):
        assert set(one._record()) | {"seal", "pending", "purge_at"} == set(one._fields)


def test_a_cascade_still_finds_the_issuers_of_long_expired_tokens(app: Flask, stored: Stored) -> None:
    """An issuer does not expire, so the tokens between a leaked token and an issuer below it stay."""
    make_token(app, "boss", role="admin")
    ended = services(app).startup._ended_tokens

    def names() -> set[str]:
        return {info.name for info in services(app).tokens.list(attempt=operator(Action.TOKEN_LIST))}

    def by(creator: str, action: Action) -> Attempt:
        return Attempt(action=action, principal=Principal(name=creator, scopes=frozenset(Scope)))

    for name, creator in (("helper", "boss"), ("deputy", "helper"), ("idle", "boss")):
        grant = Grant(name=name, scopes=ALL_RIGHTS, lifetime=timedelta(days=1))
        services(app).tokens.create(grant, attempt=by(creator, Action.TOKEN_CREATE))
        age_token(app, name, days=32)
    new = NewIssuer(name="evil", issuer="https://evil.example", audience="x", public_key=public_pem())
    services(app).of(Issuers).create(new, attempt=by("deputy", Action.ISSUER_CREATE))
    stored.issuers.insert_one({"_id": "planted", "name": "planted", "created_by": {"name": 1}})
    ended.remove()
    assert names() == {"boss", "helper", "deputy"}
    services(app).tokens.revoke("boss", cascade=True, attempt=operator(Action.TOKEN_REVOKE))
    assert [issuer["_id"] for issuer in stored.issuers.find()] == ["planted"]
    ended.remove()
    assert names() == {"boss"}
