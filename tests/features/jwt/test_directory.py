"""Stored issuers and roles take effect within 5 seconds, are read in one query, and cannot be altered."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from bson import Binary, Code
from flask import Flask

from tests.conftest import running_app
from tests.core.access.conftest import Reads
from tests.support.access import make_token, services
from tests.support.access_roles import AUDIENCE, delete_role, forget, make_issuer, make_role, operator
from tests.support.issuer import ED_KEY, RSA_KEY, public_pem, sign
from tests.support.lifecycle import in_future, in_past
from tests.support.rotation import Stored
from vault.common.errors import InvalidCredentialError, StorageUnavailableError
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.features.jwt import directory as directories
from vault.features.jwt.credentials import JWTCredentials
from vault.features.jwt.directory import CACHE_SECONDS, Directory
from vault.features.jwt.documents import Issuer, Role
from vault.features.jwt.issuers import Issuers
from vault.features.jwt.roles import NewRole, Roles

ISS = "https://ci.example"


@pytest.fixture
def app(reads: Reads, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Flask]:
    """Return an application with one issuer and one role; only `forget` makes it read them again."""
    monkeypatch.setattr(directories, "monotonic", lambda: 0.0)
    with running_app(environment) as app:
        make_issuer(app, "ci", iss=ISS, keys=public_pem(ED_KEY))
        make_role(app, "deploy", "ci", claims={"sub": "job"}, paths=("billing/",), seconds=600)
        reads.clear()
        yield app


def jwt(**changes: Any) -> str:
    """Return a JWT of the stored issuer that matches the role."""
    return sign("ed-1", **{"iss": ISS, "aud": AUDIENCE, "sub": "job", "scope": None, **changes})


def ask(app: Flask, credential: str = "") -> str:
    """Return the role that a JWT acts with, or the reason why it is refused."""
    attempt = Attempt(action=Action.FETCH)
    try:
        services(app).authenticator.identify(credential or jwt(), attempt=attempt)
    except InvalidCredentialError as error:
        return error.reason
    return attempt.principal.role


def directory(app: Flask) -> Directory:
    jwts: Any = services(app).of(JWTCredentials)
    result: Directory = jwts._directory
    return result


def test_issuers_and_roles_are_read_once_in_the_time_of_the_cache(
    app: Flask, reads: Reads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All requests within 3 seconds need one query together; then there is another one."""
    now = [time.monotonic()]
    monkeypatch.setattr(directories, "monotonic", lambda: now[0])
    forget(app)
    assert {ask(app) for _ in range(5)} == {"deploy"}
    assert len(reads.of("issuers")) == 1
    # A margin below the 5 seconds in which a change takes effect.
    assert CACHE_SECONDS <= 3
    now[0] += CACHE_SECONDS - 0.01
    assert ask(app) == "deploy"
    assert len(reads.of("issuers")) == 1
    now[0] += 0.02
    assert ask(app) == "deploy"
    assert len(reads.of("issuers")) == 2


def test_concurrent_requests_share_a_read(app: Flask, reads: Reads) -> None:
    """Concurrent requests that find the cache expired refresh it once or twice, not once each."""
    for _ in range(2):
        forget(app)
        reads.clear()
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(lambda _: ask(app), range(32))) == {"deploy"}
        assert len(reads.of("issuers")) <= 2


def test_a_request_that_waited_for_a_read_needs_no_other(app: Flask, reads: Reads) -> None:
    """A request that found the cache expired takes what another one has read meanwhile."""
    forget(app)
    reads.clear()
    for waiting in (1, 2):
        snapshots = directory(app)._read([None] * waiting)
        assert [one is directory(app).current() for one in snapshots] == [True] * waiting
    assert len(reads.of("issuers")) == 1


def test_tokens_need_no_read(app: Flask, reads: Reads) -> None:
    """A token causes no read of issuers and roles."""
    forget(app)
    token = make_token(app, "ci", role="reader")
    forget(app)
    reads.clear()
    assert ask(app, token) == ""
    assert len(reads.of("issuers")) == 0


def test_another_replica_s_changes_take_effect(app: Flask, environment: dict[str, str]) -> None:
    """A role that another replica deletes is refused once the cache expires, and an issuer too."""
    assert ask(app) == "deploy"
    with running_app(environment) as other:
        delete_role(other, "deploy")
        assert ask(app) == "deploy"
        forget(app)
        assert ask(app) == "role: none"
        services(other).of(Issuers).delete("ci", attempt=operator(Action.ISSUER_DELETE))
        forget(app)
        assert ask(app) == "malformed"


def test_without_mongodb_no_jwt_is_accepted(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """If MongoDB is unavailable once the cache expires, JWTs are neither accepted nor refused."""

    def fail(_self: Directory, _key: object) -> None:
        raise StorageUnavailableError("MongoDB is not available")

    assert ask(app) == "deploy"
    monkeypatch.setattr(Directory, "_load", fail)
    assert ask(app) == "deploy"
    forget(app)
    with pytest.raises(StorageUnavailableError):
        ask(app)


#: A change of each field of a role, and of an issuer.
ROLE_CHANGES: dict[str, Any] = {
    "_id": "0" * 32,
    "name": "other",
    "namespace": "team-b",
    "issuer": "other",
    "issuer_id": "",
    "claims": [],
    "claim_globs": ["sub=*"],
    "scopes": ["secret:fetch", "token:manage"],
    "networks": ["192.0.2.0/24"],
    "paths": [],
    "max_age": 601,
    "created_by": "someone",
    "created_at": None,
    "expires_at": "never",
    "seal": "0" * 64,
}
ISSUER_CHANGES: dict[str, Any] = {
    "_id": "0" * 32,
    "name": "other",
    "issuer": "https://evil.example",
    "audience": "other",
    "jwks_url": "https://evil.example/keys",
    "public_key": public_pem(RSA_KEY),
    "algorithms": ["RS256"],
    "created_by": "someone",
    "created_at": None,
    "seal": "",
}


@pytest.mark.promise("jwts")
def test_a_changed_role_is_ignored(app: Flask, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    """A role with any changed field matches nothing; the log, the list and the entry say so."""
    for field, value in ROLE_CHANGES.items():
        original = stored.roles.find_one_and_delete({})
        stored.roles.insert_one({**original, field: value})
        caplog.clear()
        name = "other" if field == "name" else "deploy"
        for _ in range(2):
            forget(app)
            assert ask(app) == f"role: none; altered: {name}"
        # Once, not each time it is read.
        assert caplog.messages == [f"a stored issuer or role is not as the service wrote it: role {name}"]
        [info] = services(app).of(Roles).list(attempt=operator(Action.ROLE_LIST))
        assert (info.name, info.state, info.scopes) == (name, "altered", ())
        stored.roles.delete_many({})
        stored.roles.insert_one(original)


@pytest.mark.promise("jwts")
def test_a_changed_issuer_is_ignored(app: Flask, stored: Stored, caplog: pytest.LogCaptureFixture) -> None:
    """An issuer with any changed field verifies nothing; the log, the list and the entry say so."""
    for field, value in ISSUER_CHANGES.items():
        original = stored.issuers.find_one_and_delete({})
        stored.issuers.insert_one({**original, field: value})
        caplog.clear()
        forget(app)
        assert ask(app) == "issuer: altered"
        assert "a stored issuer or role is not as the service wrote it: issuer" in caplog.text
        [info] = services(app).of(Issuers).list(attempt=operator(Action.ISSUER_LIST))
        assert (info.state, info.issuer) == ("altered", "")
        stored.issuers.delete_many({})
        stored.issuers.insert_one(original)


@pytest.mark.parametrize("kind", [Role, Issuer])
def test_a_field_of_any_type_breaks_nothing(app: Flask, stored: Stored, kind: Any) -> None:
    """A field of any type in the database breaks neither other roles nor lists."""
    make_role(app, "second", "ci", claims={"sub": "job"})
    collection = stored[kind.collection_name()]
    original = collection.find_one({"name": {"$in": ["deploy", "ci"]}})
    assert original is not None
    fields = set(kind._fields) - {"id", "pending", "purge_at"}
    # MongoDB indexes no two lists of a document.
    together = fields - {"audience"}
    for value in (None, 7, ["x"], b"x", {"$x": {}}):
        for changes in (*({field: value} for field in fields), dict.fromkeys(together, value)):
            changed = {**original, **changes}
            collection.replace_one({"_id": original["_id"]}, changed)
            forget(app)
            if kind.genuine(changed, directory(app)._keys.find()) is None:
                assert ask(app) == ("second" if kind is Role else "issuer: altered")
        assert len(services(app).of(Roles).list(attempt=operator(Action.ROLE_LIST))) == 2
        assert len(services(app).of(Issuers).list(attempt=operator(Action.ISSUER_LIST))) == 1


@pytest.mark.parametrize("kind", [Role, Issuer])
def test_a_text_of_another_type_is_altered(app: Flask, stored: Stored, kind: Any) -> None:
    """The same text as BSON's code or binary data is altered: queries by the text would not find it."""

    def code(value: Any) -> Any:
        return [code(element) for element in value] if isinstance(value, list) else Code(value)

    def binary(value: Any) -> Any:
        return [binary(element) for element in value] if isinstance(value, list) else Binary(value.encode())

    collection = stored[kind.collection_name()]
    original = collection.find_one({"name": {"$in": ["deploy", "ci"]}})
    assert original is not None
    for field, value in original.items():
        if field != "_id" and value and isinstance(value, str | list):
            for other in (code, binary):
                collection.replace_one({"_id": original["_id"]}, {**original, field: other(value)})
                forget(app)
                assert "altered" in ask(app), field


def test_a_document_of_another_class_is_ignored(app: Flask, stored: Stored) -> None:
    """A document that names another class for MongoEngine is altered."""
    for name in ("Secret", "Issuer", "NoClass", 7):
        stored.roles.update_one({}, {"$set": {"_cls": name}})
        forget(app)
        assert ask(app) == "role: none; altered: deploy"


@pytest.mark.promise("jwts")
def test_a_seal_of_one_kind_fits_no_other(app: Flask, stored: Stored) -> None:
    """A copied document of another collection is not genuine there."""
    issuer = stored.issuers.find_one()
    assert issuer is not None
    stored.roles.delete_many({})
    stored.roles.insert_one(issuer)
    forget(app)
    assert ask(app) == "role: none; altered: ci"


def test_a_role_of_a_deleted_issuer_does_not_come_back(app: Flask, stored: Stored) -> None:
    """A role whose issuer was removed stays without effect if a new issuer gets the name."""
    stored.issuers.delete_many({})
    make_issuer(app, "ci", iss=ISS, keys=public_pem(ED_KEY))
    assert ask(app) == "role: none"
    [info] = services(app).of(Roles).list(attempt=operator(Action.ROLE_LIST))
    assert info.state == "orphaned"


def test_a_pending_document_has_no_effect(app: Flask, stored: Stored) -> None:
    """A role or an issuer whose entry is not durable yet is not used or listed."""
    stored.roles.update_many({}, {"$set": {"pending": True}})
    forget(app)
    assert ask(app) == "role: none"
    assert services(app).of(Roles).list(attempt=operator(Action.ROLE_LIST)) == []
    stored.issuers.update_many({}, {"$set": {"pending": True}})
    forget(app)
    assert ask(app) == "malformed"
    assert services(app).of(Issuers).list(attempt=operator(Action.ISSUER_LIST)) == []


def test_documents_without_a_name_are_shown_without_one(app: Flask, stored: Stored) -> None:
    """The name in an altered document is shown only if it has the form of one."""
    stored.roles.insert_many([{"_id": text, "name": text} for text in ("a\nb", "a/b/c", "", "team-b/x")])
    forget(app)
    ask(app)
    assert sorted(directory(app).current().altered_roles) == [*["(without a name)"] * 3, "team-b/x"]


def test_a_role_ends(app: Flask) -> None:
    """A role that has expired matches nothing, and a JWT ends with its role."""
    creator = Principal(name="boss", scopes=frozenset(Scope), expires_at=in_future(seconds=60))
    for name, principal in (("ending", creator), ("ended", replace(creator, expires_at=in_past(seconds=1)))):
        new = NewRole(name=name, issuer="ci", claims=("sub=job",), scopes=frozenset({Scope.SECRET_FETCH}))
        services(app).of(Roles).create(new, attempt=Attempt(action=Action.ROLE_CREATE, principal=principal))
    delete_role(app, "deploy")
    assert ask(app) == "ending"
    attempt = Attempt(action=Action.FETCH)
    services(app).authenticator.identify(jwt(), attempt=attempt)
    assert attempt.principal.expires_at == creator.expires_at
    delete_role(app, "ending")
    assert ask(app) == "role ended: expired"
