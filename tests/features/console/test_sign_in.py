"""Signing in to the console, and the end of sessions."""

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from tests.console.person import OWN, Person
from tests.support.access import bearer, make_token, revoke, services
from tests.support.access_roles import delete_role, make_role
from tests.support.console import SignIn
from tests.support.features import requires
from tests.support.issuer import sign
from tests.support.lifecycle import in_past, trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.common.errors import InvalidCredentialError
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.features.console import sessions
from vault.features.console.documents import Session
from vault.features.console.sessions import Sessions

SECURE = {"Secure", "HttpOnly", "SameSite=Strict", "Path=/"}


@pytest.mark.parametrize(
    ("origin", "forwarded", "name", "attributes"),
    [
        ("http://localhost", {}, "session", {"HttpOnly", "SameSite=Strict", "Path=/"}),
        ("http://[::1]:8000", {}, "session", {"HttpOnly", "SameSite=Strict", "Path=/"}),
        ("https://vault.example", {}, "__Host-session", SECURE),
        # A proxy that receives HTTPS and sends HTTP.
        ("http://vault.example", {}, "__Host-session", SECURE),
        # One that also replaces the host.
        ("http://localhost", {"X-Forwarded-For": "192.0.2.1"}, "__Host-session", SECURE),
    ],
)
def test_a_cookie_is_for_this_host_only(
    app: Flask, origin: str, forwarded: dict[str, str], name: str, attributes: set[str]
) -> None:
    """No script reads the cookie, no other site sends it, and outside this machine it requires HTTPS."""
    person = Person(app, make_token(app, "alice", role="admin"), origin=origin)
    reply = person.sign_in(headers={**OWN, **forwarded})
    assert (reply.status_code, reply.headers["Location"]) == (303, "/console/status")
    cookie, *found = reply.headers["Set-Cookie"].split("; ")
    assert cookie.startswith(f"{name}=")
    assert set(found) == attributes


@requires("jwt")
def test_a_jwt_signs_in(app: Flask) -> None:
    """A JWT begins a session that acts with the rights of the JWT."""
    jwt = sign(sub="bob", scope="secret:list")
    person = Person(app, f" {jwt[:40]}\n{jwt[40:]}\n")
    assert person.sign_in().status_code == 303
    page = person.get()
    assert page.status_code == 200
    assert "jwt:bob" in page.text


@pytest.mark.parametrize(
    ("scopes", "home"),
    [
        (("secret:list", "audit:read"), "/console/status"),
        (("secret:list",), "/console/"),
        (("audit:read",), "/console/status"),
        (("token:manage",), "/console/tokens"),
        (("secret:fetch",), "/console/"),
    ],
)
def test_a_sign_in_leads_to_a_screen_that_the_person_may_see(
    app: Flask, scopes: tuple[str, ...], home: str
) -> None:
    """The first page after a sign-in is no refusal, if the person may see any screen."""
    person = Person(app, make_token(app, "bob", scopes=scopes))
    assert person.sign_in().headers["Location"] == home


def test_people_go_on_where_they_were(stored: Stored, signed_in: SignIn) -> None:
    """A sign-in leads back to the page that needed it, also after a mistake, and to no other host."""
    person = signed_in()
    stored.sessions.delete_many({})
    path = "/console/secret?name=a%26b"
    hidden = f'name="next" value="{path}"'
    assert hidden in person.get("secret", name="a&b").text
    assert hidden in person.get("sign-in", next=path).text
    assert hidden in person.post("sign-in", token="smt_x", next=path).text
    for given in (
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/docs",
        "/console/\\x",
        "/console/\r\nX: y",
    ):
        assert 'name="next"' not in person.get("sign-in", next=given).text
        reply = person.post("sign-in", token=person.token, next=given)
        assert reply.headers["Location"] == "/console/status"
    reply = person.post("sign-in", token=person.token, next="/console/new?folder=a/")
    assert reply.headers["Location"] == "/console/new?folder=a/"


@requires("jwt")
def test_a_role_can_be_necessary(app: Flask, stored: Stored) -> None:
    """A sign-in that needs a role is refused to a JWT with scopes of its own."""
    attempt = Attempt(action=Action.LOGIN)
    with pytest.raises(InvalidCredentialError) as caught:
        services(app).of(Sessions).begin(
            sign(scope="secret:list"), is_id_token=True, earlier="", attempt=attempt
        )
    assert caught.value.reason == "role: none"
    assert stored.sessions.count_documents({}) == 0


@requires("jwt")
def test_a_necessary_role_stays_necessary(app: Flask) -> None:
    """A person with several roles who has not chosen yet gets no scopes of the JWT when the roles end."""
    for name in ("one", "two"):
        make_role(app, name, "default", claims={"sub": "bob"})
    found, jwt = services(app).of(Sessions), sign(sub="bob", scope="secret:list")
    cookie = found.begin(jwt, is_id_token=True, earlier="", attempt=Attempt(action=Action.LOGIN))
    for name in ("one", "two"):
        delete_role(app, name)
    with pytest.raises(InvalidCredentialError) as caught:
        found.identify(cookie, attempt=Attempt(action=Action.LIST))
    assert caught.value.reason == "role: none"


def test_a_token_has_no_role_to_choose(signed_in: SignIn) -> None:
    """Only a session of a JWT gets a role."""
    person = signed_in()
    assert (person.submit("role", role="admin").status_code, person.cookie()) == (401, "")


def test_a_session_is_on_record(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """A sign-in, a page, a refused sign-in and a sign-out leave an entry each, with `via: console`."""
    person = signed_in()
    person.get()
    Person(app, "smt_x").sign_in()
    assert person.submit("sign-out").status_code == 303
    via = [(entry["action"], entry["status"], entry["details"].get("via")) for entry in trail(stored)[1:]]
    assert via == [
        ("login", "success", "console"),
        ("list", "success", "console"),
        ("login", "denied", "console"),
        # The page with the button.
        ("list", "success", "console"),
        ("logout", "success", "console"),
    ]


def test_no_api_accepts_a_session(signed_in: SignIn) -> None:
    """The cookie is no credential for the API, in none of the headers."""
    person = signed_in()
    value = person.cookie()
    assert len(value) == 43
    for headers in ({}, bearer(value), {"X-Vault-Token": value}):
        for path in ("/vault/secret/list", "/vault/token/self"):
            reply = person.client.post(path, json={}, headers=headers, base_url="http://localhost")
            assert reply.status_code == 401, headers


@requires("dialect")
def test_vaults_api_accepts_no_session(signed_in: SignIn) -> None:
    """Nor is the cookie a credential for Vault's API."""
    person = signed_in()
    value = person.cookie()
    for headers in ({}, bearer(value), {"X-Vault-Token": value}):
        listed = person.client.get(
            "/v1/secret/metadata/?list=true", headers=headers, base_url="http://localhost"
        )
        assert listed.status_code == 403


def test_an_altered_session_is_none_to_end(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """Offboarding ends the sessions that the service wrote; another one signs no one in."""
    person = signed_in()
    stored.sessions.update_one({}, {"$set": {"ends_at": datetime(2100, 1, 1, tzinfo=UTC)}})
    attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
    ended, _ = services(app).tokens.offboard("alice", is_plan=True, attempt=attempt)
    assert "session" not in dict(ended)
    assert person.get().status_code == 401


def test_the_database_has_neither_cookie_nor_credential(stored: Stored, signed_in: SignIn) -> None:
    """A stored session does not contain what a browser or a person sends, not even the principal's name."""
    person = signed_in()
    [document] = stored.sessions.find()
    assert set(document) == {"_id", "credential", "holder", "used_at", "ends_at", "seal"}
    for text in (person.cookie(), person.token, "alice"):
        assert text not in str(document)
    [index] = [index for index in stored.sessions.list_indexes() if "expireAfterSeconds" in index]
    assert (dict(index["key"]), index["expireAfterSeconds"]) == ({"ends_at": 1}, 0)


def test_a_session_ends_on_every_replica(app: Flask, signed_in: SignIn) -> None:
    """After a sign-out, no replica accepts the cookie; each session has a cookie of its own."""
    person, other = signed_in(), signed_in("bob")
    old = person.cookie()
    assert old != other.cookie()
    keys, authenticator = services(app).tokens._keys, services(app).authenticator
    replica = Sessions(TokenKeys(keys._keyring, keys._guard), authenticator)
    attempt = Attempt(action=Action.LIST)
    replica.identify(old, attempt=attempt)
    assert attempt.principal.name == "alice"
    reply = person.submit("sign-out")
    assert (reply.status_code, reply.headers["Location"], person.cookie()) == (303, "/console/sign-in", "")
    with pytest.raises(InvalidCredentialError):
        replica.identify(old, attempt=attempt)
    person.client.set_cookie("session", old, domain="localhost")
    page = person.get()
    assert (page.status_code, person.cookie()) == (401, "")
    assert "Your session has ended" in page.text
    assert other.get().status_code == 200


def test_a_sign_in_ends_the_session_before(stored: Stored, signed_in: SignIn) -> None:
    """A browser has one session at a time."""
    person, other = signed_in(), signed_in("bob")
    old = person.cookie()
    assert person.sign_in().status_code == 303
    assert person.cookie() not in ("", old)
    assert stored.sessions.count_documents({}) == 2
    assert {person.get().status_code, other.get().status_code} == {200}


def test_a_revoked_token_ends_its_sessions(app: Flask, signed_in: SignIn) -> None:
    """A session acts with the credential as it is now."""
    person = signed_in()
    revoke(app, "alice")
    # As after 3 seconds.
    services(app).authenticator._tokens._recent._values.clear()
    assert person.get().status_code == 401


@pytest.mark.parametrize(
    ("field", "moment", "status"),
    [
        ("used_at", sessions.MAX_IDLE - timedelta(minutes=1), 200),
        ("used_at", sessions.MAX_IDLE, 401),
        ("ends_at", timedelta(seconds=-60), 200),
        ("ends_at", timedelta(), 401),
    ],
)
def test_a_session_ends_by_itself(
    app: Flask, signed_in: SignIn, field: str, moment: timedelta, status: int
) -> None:
    """A session ends after 30 minutes without a request, and at its end in any case."""
    person = signed_in()
    session = Session.objects.get()
    assert abs(session.ends_at - session.used_at - timedelta(hours=8)) < timedelta(minutes=1)
    setattr(session, field, in_past(seconds=moment.total_seconds()))
    key = services(app).tokens._keys.find()
    assert key
    session.close(key)
    session.save()
    assert person.get().status_code == status
    if field == "used_at" and status == 200:
        # Stored, and sealed again.
        assert Session.objects.get().used_at > in_past(minutes=1)
        assert person.get().status_code == 200


@pytest.mark.parametrize("change", [{"ends_at": in_past(hours=-99)}, {"credential": "AA=="}, {"seal": "0"}])
def test_an_altered_session_is_refused(stored: Stored, signed_in: SignIn, change: dict[str, object]) -> None:
    """Write access to the database does not prolong or change a session."""
    person = signed_in()
    stored.sessions.update_one({}, {"$set": change})
    assert person.get().status_code == 401


def test_a_session_needs_a_durable_entry(app: Flask, stored: Stored) -> None:
    """Without the trail, no session begins."""
    person = Person(app, make_token(app, "alice", role="admin"))
    block_trail(stored)
    reply = person.sign_in()
    assert (reply.status_code, person.cookie()) == (503, "")
    assert "audit trail" in reply.text
    assert stored.sessions.count_documents({}) == 0


def test_a_planted_cookie_does_not_become_a_session(app: Flask) -> None:
    """The cookie of a session is always new, whatever the browser had."""
    person = Person(app, make_token(app, "alice", role="admin"))
    planted = "A" * 43
    person.client.set_cookie("session", planted, domain="localhost")
    person.sign_in()
    assert person.cookie() not in ("", planted)
