"""JWTs of stored issuers act through exactly one role; without one, the settings' issuer works as before."""

import base64
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.access import bearer, make_token, services
from tests.support.access_roles import AUDIENCE, delete_role, forget, make_issuer, make_role, operator
from tests.support.issuer import AUDIENCE as SETTINGS_AUDIENCE
from tests.support.issuer import ED_KEY, ISSUER, Issuer, public_pem, sign
from tests.support.rotation import Stored
from tests.support.waiting import wait_until
from vault.common.errors import CredentialsUnavailableError, InvalidCredentialError
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal, Scope
from vault.features.jwt import directory
from vault.features.jwt import verification as jwt_auth
from vault.features.jwt.credentials import Finding, JWTCredentials
from vault.features.jwt.roles import Roles
from vault.features.jwt.verification import JWKSCache

ISS = "https://ci.example"


@pytest.fixture
def app(environment: dict[str, str]) -> Iterator[Flask]:
    """Return an application with an issuer in the settings and a stored one, `ci`, with public keys."""
    settings = {
        "JWT_PUBLIC_KEY": public_pem(),
        "JWT_ISSUER": ISSUER,
        "JWT_AUDIENCE": SETTINGS_AUDIENCE,
        "FAILED_AUTH_LIMIT": "1000/second",
    }
    with running_app({**environment, **settings}) as app:
        make_issuer(app, "ci", iss=ISS, keys=public_pem(ED_KEY))
        yield app


def jwt(**changes: Any) -> str:
    """Return a JWT of the stored issuer."""
    return sign("ed-1", **{"iss": ISS, "aud": AUDIENCE, "sub": "job", "scope": None, **changes})


def principal(app: Flask, credential: str, role: str = "") -> Principal:
    attempt = Attempt(action=Action.FETCH, ip="192.0.2.7")
    services(app).authenticator.identify(credential, attempt=attempt, role=role)
    return attempt.principal


def refused(app: Flask, credential: str, role: str = "") -> tuple[str, str]:
    """Return the reason of the refusal, and the principal of its entry."""
    attempt = Attempt(action=Action.FETCH, ip="192.0.2.7")
    with pytest.raises(InvalidCredentialError) as caught:
        services(app).authenticator.identify(credential, attempt=attempt, role=role)
    assert str(caught.value) == "The credential is invalid."
    assert not attempt.principal.authenticated
    return attempt.details["reason"], attempt.principal.name


def test_a_role_gives_its_rights(app: Flask) -> None:
    """A JWT gets the role's namespace, scopes, paths and networks, not those of its own claims."""
    make_role(
        app,
        "deploy",
        "ci",
        claims={"sub": "job"},
        namespace="team-a",
        scopes=("secret:fetch", "secret:list"),
        paths=("billing/",),
        networks=("192.0.2.0/24",),
    )
    now = int(time.time())
    actor = principal(app, jwt(scope="secret:purge", namespace="team-b", exp=now + 60))
    assert (actor.name, actor.role, actor.issuer) == ("ci/jwt:job", "team-a/deploy", "ci")
    assert (actor.namespace, actor.scopes) == ("team-a", {Scope.SECRET_FETCH, Scope.SECRET_LIST})
    assert (actor.paths.texts, [str(network) for network in actor.networks]) == (
        ("billing/",),
        ["192.0.2.0/24"],
    )
    assert actor.authenticated
    assert actor.expires_at is not None
    assert actor.expires_at.timestamp() == now + 90


def test_without_a_matching_role_a_stored_issuer_s_jwt_is_refused(app: Flask) -> None:
    """Without a role, and with one that does not match, a JWT is refused under its verified name."""
    assert refused(app, jwt(scope="secret:fetch")) == ("role: none", "ci/jwt:job")
    make_role(app, "deploy", "ci", claims={"sub": "other", "env": "prod"}, globs={"ref": "v*"})
    assert refused(app, jwt()) == ("role deploy: claim env, claim sub, claim ref", "ci/jwt:job")
    assert refused(app, jwt(env="prod")) == ("role deploy: claim sub, claim ref", "ci/jwt:job")
    assert principal(app, jwt(sub="other", env="prod", ref="v1")).role == "deploy"


def test_the_reason_is_that_of_the_closest_role(app: Flask) -> None:
    """Of several roles that do not match, the reason names the one with the fewest wrong claims."""
    make_role(app, "a", "ci", claims={"x": "1", "y": "2"})
    make_role(app, "b", "ci", claims={"sub": "job", "y": "2"})
    make_role(app, "c", "ci", claims={"sub": "job", "z": "2"})
    assert refused(app, jwt())[0] == "role b: claim y"
    many = {f"c{number}": "x" for number in range(9)}
    make_role(app, "d", "ci", claims=many)
    assert refused(app, jwt(), "d")[0] == "role d: claim c0, claim c1, claim c2 …"


def test_several_matching_roles_need_a_name(app: Flask) -> None:
    """A JWT that matches several roles is refused unless it names one; a named one must match."""
    for name in ("a", "b"):
        make_role(app, name, "ci", claims={"sub": "job"}, scopes=("secret:fetch",))
    make_role(app, "c", "ci", claims={"sub": "other"})
    assert refused(app, jwt()) == ("several roles: a, b", "ci/jwt:job")
    assert principal(app, jwt(), "a").role == "a"
    assert principal(app, jwt(), "b").role == "b"
    assert refused(app, jwt(), "c")[0] == "role c: claim sub"
    assert refused(app, jwt(), "d")[0] == "role: none"
    assert refused(app, jwt(), "a, b")[0] == "role: none"
    for name in ("d", "e"):
        make_role(app, name, "ci", claims={"sub": "job"})
    assert refused(app, jwt())[0] == "several roles: a, b, d …"


def test_a_role_of_a_namespace_is_named_with_it(app: Flask) -> None:
    """Roles of equal names in two namespaces are named differently, so neither can be taken for the other."""
    make_role(app, "deploy", "ci", claims={"sub": "job"})
    make_role(app, "deploy", "ci", claims={"sub": "job"}, namespace="team-b")
    assert refused(app, jwt())[0] == "several roles: deploy, team-b/deploy"
    assert principal(app, jwt(), "deploy").namespace == "default"
    assert principal(app, jwt(), "team-b/deploy").namespace == "team-b"


def test_the_settings_issuer_works_as_before_without_a_matching_role(app: Flask) -> None:
    """A JWT of the settings' issuer has its own scopes until a role matches; `X-Role` always needs one."""
    own = principal(app, sign(namespace="team-a"))
    assert (own.name, own.role, own.namespace) == ("jwt:build", "", "team-a")
    assert own.scopes == {Scope.SECRET_FETCH, Scope.SECRET_CREATE}
    assert refused(app, sign(), "deploy") == ("role: none", "jwt:build")
    make_role(app, "deploy", "default", claims={"repository": "acme/api"})
    assert principal(app, sign()).role == ""
    actor = principal(app, sign(repository="acme/api", namespace="team-a"))
    assert (actor.name, actor.role, actor.issuer) == ("jwt:build", "deploy", "default")
    assert (actor.namespace, actor.scopes) == ("default", {Scope.SECRET_FETCH})
    # Its claims are still checked as before.
    assert refused(app, sign(namespace=["a"])) == ("jwt namespace", "jwt:build")


def test_a_role_belongs_to_its_issuer(app: Flask) -> None:
    """The same claims of another issuer do not match a role."""
    make_role(app, "deploy", "ci", claims={"sub": "job"})
    make_issuer(app, "other", iss="https://other.example", keys=public_pem())
    assert refused(app, sign("any", iss="https://other.example", aud=AUDIENCE, sub="job"))[0] == "role: none"
    # Nor does the other issuer's key sign for this one.
    forged = sign("any", iss=ISS, aud=AUDIENCE, sub="job")
    assert refused(app, forged)[0] == "issuer ci: jwt InvalidAlgorithmError"


def test_one_iss_can_have_several_audiences(app: Flask) -> None:
    """Of two issuers with one `iss`, the audience decides; a JWT for both is refused."""
    make_issuer(app, "staging", iss=ISS, keys=public_pem(ED_KEY), audience="staging")
    make_role(app, "deploy", "staging", claims={"sub": "job"})
    assert principal(app, jwt(aud="staging")).issuer == "staging"
    assert refused(app, jwt())[0] == "role: none"
    assert principal(app, jwt(aud=["other", "staging"])).issuer == "staging"
    assert refused(app, jwt(aud=["staging", AUDIENCE]))[0] == "issuer: several audiences"
    assert refused(app, jwt(aud=["other", 7]))[0] == "issuer ci: audience"
    assert refused(app, jwt(aud={"a": "staging"}))[0] == "issuer ci: audience"


def test_only_the_issuer_s_algorithms_are_accepted(app: Flask) -> None:
    """A JWT with an algorithm that the issuer does not have is refused before its key is looked up."""
    iss = "https://narrow.example"
    with Issuer() as idp:
        make_issuer(app, "narrow", iss=iss, keys=idp, algorithms=("RS256",))
        credential = sign(iss=iss, aud=AUDIENCE, algorithm="PS256")
        assert refused(app, credential)[0] == "issuer narrow: jwt InvalidAlgorithmError"
        assert idp.fetches == 0
        assert refused(app, sign(iss=iss, aud=AUDIENCE))[0] == "role: none"


def test_the_longest_age_needs_the_time_of_issue(app: Flask) -> None:
    """With a longest age, a JWT without `iat` or with an older one is refused, and others end with it."""
    make_role(app, "deploy", "ci", claims={"sub": "job"}, seconds=60)
    now = int(time.time())
    actor = principal(app, jwt(iat=now - 50, exp=now + 6_000))
    assert actor.expires_at is not None
    assert actor.expires_at.timestamp() == now + 40
    assert refused(app, jwt(iat=now - 100))[0] == "role deploy: too old"
    assert refused(app, jwt(iat=None))[0] == "role deploy: claim iat"
    for iat in (True, -(10**18)):
        assert refused(app, jwt(iat=iat))[0] in ("role deploy: claim iat", "role deploy: too old")


def test_a_subject_is_printable_and_bounded(app: Flask) -> None:
    """Subjects of stored issuers may be long, but not endless, empty or unprintable."""
    make_role(app, "deploy", "ci", globs={"sub": "*a*"})
    assert principal(app, jwt(sub="a" * 512)).name == f"ci/jwt:{'a' * 512}"
    for sub in ("a" * 513, "a\n", " ", "\u2800", "\u3164"):
        assert refused(app, jwt(sub=sub)) == ("jwt sub", "anonymous")


def test_text_that_is_no_jwt_is_refused(app: Flask) -> None:
    """Text that is not a JWT is refused before any key or role is looked at."""
    for credential in ("a.b", "a.b.c.d", ""):
        assert refused(app, credential) == ("malformed", "anonymous")
    for credential in ("a.b.c", "..", f"a.{'b' * 9_000}.c"):
        assert refused(app, credential) == ("jwt DecodeError", "anonymous")


def test_a_claim_of_another_type_is_refused(app: Flask) -> None:
    """An `iss` that is not a text is refused, whatever the signature is."""
    head, _, signature = jwt().split(".")
    assert refused(app, f"{head}.eyJpc3MiOjd9.{signature}")[0] == "jwt iss"
    assert refused(app, f"{head}.e30.{signature}")[0] == "jwt iss"
    assert refused(app, f"{head}.W10.{signature}")[0] == "jwt iss"
    deep = base64.urlsafe_b64encode(b"[" * 5_000).decode().rstrip("=")
    for payload in (deep, "e3", "_w", "\u00e9", "e30=" * 3):
        assert refused(app, f"{head}.{payload}.{signature}")[0] == "jwt DecodeError"


@pytest.mark.promise("jwts")
def test_an_unknown_issuer_causes_no_request(environment: dict[str, str]) -> None:
    """A JWT of an unknown issuer, or for another audience, does not make the service fetch anything."""
    with running_app(environment) as app, Issuer() as idp:
        make_issuer(app, "ci", iss=ISS, keys=idp)
        for credential in (sign(iss="https://other.example"), jwt(aud="other"), jwt(iss=ISS + "/")):
            refused(app, credential)
        assert idp.fetches == 0
        make_role(app, "deploy", "ci", claims={"sub": "job"})
        for _ in range(3):
            assert principal(app, jwt()).role == "deploy"
        assert idp.fetches == 1


def test_a_hanging_issuer_does_not_delay_others(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one issuer hangs, JWTs of another are accepted, and refreshes keep their keys."""
    monkeypatch.setattr(jwt_auth, "RETRY_SECONDS", 3_600)
    with running_app(environment) as app, Issuer() as hanging, Issuer() as healthy:
        make_issuer(app, "slow", iss="https://slow.example", keys=hanging)
        make_issuer(app, "ci", iss=ISS, keys=healthy)
        make_role(app, "deploy", "ci", claims={"sub": "job"})
        hanging.answers.clear()
        for _ in range(3):
            forget(app)
            with monkeypatch.context() as impatient, pytest.raises(CredentialsUnavailableError):
                impatient.setattr(jwt_auth, "FETCH_SECONDS", 0.2)
                principal(app, jwt(iss="https://slow.example"))
            assert principal(app, jwt()).role == "deploy"
        wait_until(lambda: hanging.fetches)
        # An unchanged issuer keeps its keys, and its pause after a failure, when all are read again.
        assert (hanging.fetches, healthy.fetches) == (1, 1)


def test_without_stored_issuers_only_the_settings_issuer_is_asked(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without stored issuers and roles, a JWT is checked as before, and refused without settings."""
    monkeypatch.setattr(JWKSCache, "__call__", None)
    with running_app(environment) as app:
        assert refused(app, jwt()) == ("malformed", "anonymous")
        assert refused(app, jwt(), "deploy") == ("issuer: unknown", "anonymous")
        make_token(app, "ci", role="reader")
        forget(app)
        assert refused(app, jwt()) == ("malformed", "anonymous")


def test_the_header_names_the_role(app: Flask, stored: Stored) -> None:
    """`X-Role` selects a role, and tokens ignore it; a refusal gives the caller no reason."""
    for name in ("a", "b"):
        make_role(app, name, "ci", claims={"sub": "job"})
    client: FlaskClient = app.test_client()

    def status(credential: str, **headers: str) -> int:
        reply = client.post("/vault/secret/fetch", json={}, headers=bearer(credential) | headers)
        assert (
            reply.status_code == 422 or reply.get_json(force=True)["detail"] == "The credential is invalid."
        )
        return reply.status_code

    assert status(jwt()) == 401
    assert status(jwt(), **{"X-Role": "a"}) == 422
    assert status(jwt(), **{"X-Role": "c"}) == 401
    assert status(make_token(app, "boss", role="admin"), **{"X-Role": "c"}) == 422
    entries = stored.audit_logs.find({"action": "fetch"})
    reasons = [entry.get("details", {}).get("reason") for entry in entries]
    assert reasons == ["several roles: a, b", None, "role: none", None]


@pytest.mark.promise("jwts")
def test_invented_jwts_leave_few_entries(app: Flask, stored: Stored) -> None:
    """Many different JWTs without rights leave few entries a minute, each with a short reason."""
    make_role(app, "deploy", "ci", claims={"sub": "job"})
    client = app.test_client()
    for number in range(60):
        credential = jwt(sub=f"job-{number}") if number % 2 else jwt(iss=f"https://{number}.example")
        client.post("/vault/secret/fetch", json={}, headers=bearer(credential))
    entries = list(stored.audit_logs.find({"action": "fetch"}))
    assert len(entries) <= 10
    assert {entry["details"]["reason"] for entry in entries} == {"issuer: unknown", "role deploy: claim sub"}


def findings(app: Flask, credential: str, role: str = "") -> list[Finding]:
    jwts: Any = services(app).of(JWTCredentials)
    return list(jwts.explain(credential, role))


def test_a_check_says_if_the_keys_are_unavailable(environment: dict[str, str]) -> None:
    """If the issuer's keys cannot be fetched, the check says so."""
    with running_app(environment) as app, Issuer() as idp:
        make_issuer(app, "ci", iss=ISS, keys=idp)
        idp.status = 500
        assert findings(app, jwt())[-1].text == "refused: credentials cannot be checked"


@pytest.mark.parametrize("ended", [{"iat": 1_700_000_000}, {"iat": None}])
def test_an_ended_role_leaves_no_wider_rights(app: Flask, ended: dict[str, Any]) -> None:
    """A JWT of the settings' issuer that is too old for its role does not act with its own scopes instead."""
    make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",), seconds=60)
    assert principal(app, sign(sub="build", scope="secret:fetch")).role == "limited"
    reason, _ = refused(app, sign(sub="build", scope="secret:fetch", **ended))
    assert reason in ("role limited: too old", "role limited: claim iat")
    assert principal(app, sign(sub="other", scope="secret:fetch", **ended)).role == ""


def alter(app: Flask, role: str, stored: Stored) -> None:
    """Change the stored *role*, as anyone with write access to MongoDB can."""
    stored.roles.update_one({"name": role}, {"$set": {"created_by": "someone"}})
    forget(app)


@pytest.mark.promise("jwts")
def test_an_altered_role_leaves_no_wider_rights(app: Flask, stored: Stored) -> None:
    """While any role is altered, no JWT of the settings' issuer acts with its own scopes."""
    make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",))
    make_role(app, "other", "default", claims={"sub": "test"}, paths=("acme/",))
    alter(app, "limited", stored)
    assert refused(app, sign(sub="build")) == ("role other: claim sub; altered: limited", "jwt:build")
    assert refused(app, sign(sub="deploy"))[0] == "role other: claim sub; altered: limited"
    assert principal(app, sign(sub="test")).role == "other"
    assert findings(app, sign(sub="build"))[-1].text == "refused: role other: claim sub; altered: limited"
    delete_role(app, "limited")
    assert principal(app, sign(sub="build")).role == ""


def test_an_altered_role_of_another_issuer_counts_too(app: Flask, stored: Stored) -> None:
    """No field of an altered role can be trusted, so neither can its issuer."""
    make_role(app, "deploy", "ci", claims={"sub": "job"})
    alter(app, "deploy", stored)
    assert refused(app, sign())[0] == "role: none; altered: deploy"


@pytest.mark.promise("jwts")
def test_without_the_token_key_all_roles_are_altered(
    app: Flask, environment: dict[str, str], stored: Stored
) -> None:
    """A process that finds roles and no token key to verify them gives no JWT its own scopes."""
    make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",))
    key = stored.token_keys.find_one()
    stored.token_keys.delete_many({})
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": SETTINGS_AUDIENCE}
    with running_app({**environment, **settings}) as another:
        assert refused(another, sign(sub="build"))[0] == "role: none; altered: limited"
        assert key is not None
        stored.token_keys.insert_one(key)
        forget(another)
        assert principal(another, sign(sub="build")).role == "limited"


@pytest.mark.promise("jwts")
def test_roles_that_were_not_read_leave_no_wider_rights(
    app: Flask, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If there are more documents than are read, no JWT of the settings' issuer has its own scopes."""
    make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",))
    monkeypatch.setattr(directory, "_MAX_READ", 3)
    monkeypatch.setitem(directory._PIPELINE[-1], "$limit", 3)
    forget(app)
    assert principal(app, sign(sub="other")).role == ""
    stored.issuers.insert_many([{"_id": name, "name": name, "issuer": name} for name in "abc"])
    forget(app)
    assert refused(app, sign(sub="build"))[0] == "role: none; not all roles were read"


@pytest.mark.promise("jwts")
def test_an_issuer_can_act_through_roles_only(environment: dict[str, str]) -> None:
    """With `JWT_ROLES_ONLY`, a JWT of the settings' issuer without a matching role is refused."""
    settings = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": SETTINGS_AUDIENCE}
    with running_app({**environment, **settings, "JWT_ROLES_ONLY": "true"}) as app:
        assert refused(app, sign()) == ("role: none", "jwt:build")
        make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",))
        assert principal(app, sign()).role == "limited"
        assert refused(app, sign(sub="other")) == ("role limited: claim sub", "jwt:other")
        # Also if MongoDB's administrator deletes it.
        delete_role(app, "limited")
        assert refused(app, sign()) == ("role: none", "jwt:build")


def test_a_role_stays_with_its_issuer_in_the_settings(app: Flask, environment: dict[str, str]) -> None:
    """If the settings name another issuer, it does not get the roles of the one before."""
    make_role(app, "limited", "default", claims={"sub": "build"}, paths=("acme/",))
    other = {"JWT_PUBLIC_KEY": public_pem(), "JWT_ISSUER": ISSUER, "JWT_AUDIENCE": "other"}
    with running_app({**environment, **other}) as changed:
        actor = principal(changed, sign(sub="build", aud="other", scope="secret:fetch"))
        assert (actor.role, actor.paths.texts) == ("", ())
        [info] = services(changed).of(Roles).list(attempt=operator(Action.ROLE_LIST))
        assert info.state == "orphaned"
