"""Signing in to the console by OpenID Connect."""

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import cache, partial

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.console.person import Person
from tests.features.console.provider import Provider, argument, changed, trust
from tests.support.access import bearer, services
from tests.support.features import requires
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.features.console import open_id, open_id_provider
from vault.features.console.documents import Session
from vault.features.console.open_id import OpenID

pytestmark = [pytest.mark.process, requires("jwt")]

HERE = "http://localhost"


@pytest.fixture(scope="module")
def trusting(provider: Provider, console_environment: dict[str, str]) -> Iterator[Flask]:
    """Run an application whose console offers the provider, with a role for each group."""
    with running_app({**console_environment, **provider.environment}) as app:
        app.extensions["secret-manager"].startup.attempt()
        trust(app, provider)
        yield app


@pytest.fixture
def person(trusting: Flask, stored: Stored) -> Person:
    """Return a person in front of the application, which has no entries and sessions."""
    for name in ("audit_logs", "sessions"):
        stored[name].delete_many({})
    services(trusting).startup._trail._refusals.take()
    return Person(trusting)


def begin(person: Person) -> str:
    """Return the address at the provider to which the console leads."""
    reply = person.get("oidc/start")
    assert (reply.status_code, person.cookie("sign-in") != "") == (303, True), reply.text
    return reply.headers["Location"]


def end(person: Person, address: str) -> TestResponse:
    """Return the reply to the browser that the provider sends back to *address*."""
    path, _, query = address.partition("/console/")[2].partition("?")
    headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    return person.client.get(f"/console/{path}?{query}", base_url=person.origin, headers=headers)


def reasons(stored: Stored) -> list[object]:
    """Return the reason of each refused sign-in on record."""
    return [entry["details"].get("reason") for entry in trail(stored) if entry["status"] == "denied"]


def test_a_person_signs_in_at_the_provider(person: Person, provider: Provider, stored: Stored) -> None:
    """The ID token begins a session with the role of its claims; until then, nothing is stored."""
    assert "/console/oidc/start" in person.get("sign-in").text
    address = begin(person)
    assert stored.sessions.count_documents({}) == 0
    assert [argument(address, name) for name in ("code_challenge_method", "scope", "redirect_uri")] == [
        "S256",
        "openid email",
        f"{HERE}/console/oidc/callback",
    ]
    flow = person.client.get_cookie("sign-in")
    assert flow
    assert (flow.same_site, flow.http_only, flow.max_age) == ("Lax", True, timedelta(minutes=10).seconds)
    assert flow.value not in address
    reply = end(person, provider.answer(address, "alice"))
    assert (reply.status_code, reply.headers["Cache-Control"]) == (200, "no-store")
    assert 'content="0; url=/console/"' in reply.text
    assert person.cookie("sign-in") == ""
    session = person.client.get_cookie("session")
    assert session
    assert session.same_site == "Strict"
    page = person.get()
    assert page.status_code == 200
    assert "idp/jwt:alice" in page.text
    [entry] = [entry for entry in trail(stored) if entry["action"] == "login"]
    assert (entry["status"], entry["principal"]) == ("success", "idp/jwt:alice")
    assert entry["details"]["via"] == "console"


def test_a_sign_in_ends_the_session_before(person: Person, provider: Provider, stored: Stored) -> None:
    """The session of the browser ends at the start: its cookie does not come back from the provider."""
    end(person, provider.answer(begin(person), "alice"))
    [before] = stored.sessions.find()
    answer = provider.answer(begin(person), "alice")
    person.client.delete_cookie("session")
    end(person, answer)
    [after] = stored.sessions.find()
    assert after["_id"] != before["_id"]
    assert person.get().status_code == 200


def test_behind_https_the_cookie_is_for_this_host(trusting: Flask, provider: Provider) -> None:
    """The redirect has the origin of the request, and the cookie of the sign-in requires HTTPS."""
    person = Person(trusting, origin="https://vault.example")
    reply = person.get("oidc/start")
    cookie, *attributes = reply.headers["Set-Cookie"].split("; ")
    assert cookie.startswith("__Host-sign-in=")
    assert {"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} <= set(attributes)
    answer = provider.answer(reply.headers["Location"], "alice")
    assert answer.startswith("https://vault.example/console/oidc/callback?")
    assert end(person, answer).status_code == 200


def test_of_several_roles_the_person_chooses_one(person: Person, provider: Provider, stored: Stored) -> None:
    """Until a role is chosen the session shows nothing; then it has that role, and another cookie."""
    assert end(person, provider.answer(begin(person), "both")).status_code == 200
    old = person.cookie()
    choice = person.get()
    assert choice.status_code == 401
    assert all(f'value="{name}"' in choice.text for name in ("admins", "readers"))
    assert person.get("audit", name="a").status_code == 401
    form_token = choice.text.partition('name="form_token" value="')[2][:64]
    assert person.post("role", role="readers").status_code == 400
    assert person.post("role", role="readers", form_token=form_token).status_code == 303
    assert person.cookie() not in ("", old)
    assert stored.sessions.count_documents({}) == 1
    assert person.get().status_code == 200
    assert person.get("audit", name="a").status_code == 403
    key = services(person.app).tokens._keys.find()
    assert key
    pasted = Person(person.app, Session.objects.get().held(person.cookie(), key).credential)
    assert pasted.sign_in().status_code == 303
    assert "Choose a role" in pasted.get().text
    details = [entry["details"] for entry in trail(stored) if entry["action"] == "login"]
    assert [entry.get("role") for entry in details] == [None, None, "readers", None]
    refused = person.post("role", role="none", form_token=person.form_token)
    assert (refused.status_code, person.cookie()) == (401, "")


def wrong_nonce(person: Person, provider: Provider) -> TestResponse:
    return end(person, provider.answer(changed(begin(person), nonce="other"), "alice"))


def wrong_verifier(person: Person, provider: Provider) -> TestResponse:
    return end(person, provider.answer(changed(begin(person), code_challenge="A" * 43), "alice"))


def wrong_state(person: Person, provider: Provider) -> TestResponse:
    return end(person, changed(provider.answer(begin(person), "alice"), state="é"))


def wrong_issuer(person: Person, provider: Provider) -> TestResponse:
    return end(person, changed(provider.answer(begin(person), "alice"), iss="http://evil.example"))


def no_issuer(person: Person, provider: Provider) -> TestResponse:
    return end(person, provider.answer(begin(person), "alice").replace("&iss=", "&other="))


def wrong_code(person: Person, provider: Provider) -> TestResponse:
    return end(person, changed(provider.answer(begin(person), "alice"), code="other"))


def unreadable_code(person: Person, provider: Provider) -> TestResponse:
    return end(person, changed(provider.answer(begin(person), "alice"), code="\n"))


def refused_there(person: Person, provider: Provider) -> TestResponse:
    answer = provider.answer(changed(begin(person), prompt="none"), "alice")
    return end(person, answer)


def other_error(person: Person, provider: Provider) -> TestResponse:
    return end(person, changed(provider.answer(begin(person), "alice"), error="<b>"))


def replayed(person: Person, provider: Provider) -> TestResponse:
    answer = provider.answer(begin(person), "alice")
    cookie = person.cookie("sign-in")
    assert end(person, answer).status_code == 200
    person.client.set_cookie("sign-in", cookie, domain="localhost")
    return end(person, answer)


def of_another_browser(person: Person, provider: Provider) -> TestResponse:
    """Another person's answer, as a link: it would sign the victim in as that person."""
    answer = provider.answer(begin(Person(person.app)), "mallory")
    begin(person)
    return end(person, answer)


def replayed_at_a_lenient_provider(person: Person, provider: Provider) -> TestResponse:
    """The provider returns an ID token for a code that was used, too."""
    answer = provider.answer(begin(person), "alice")
    cookie = person.cookie("sign-in")
    known = services(person.app).of(OpenID)._provider
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(known, "id_token", cache(partial(known.id_token)))
        assert end(person, answer).status_code == 200
        person.client.set_cookie("sign-in", cookie, domain="localhost")
        return end(person, answer)


def without_cookie(person: Person, provider: Provider) -> TestResponse:
    return end(person, provider.answer(begin(Person(person.app)), "mallory"))


def without_role(person: Person, provider: Provider) -> TestResponse:
    return end(person, provider.answer(begin(person), "nobody"))


def clock_ahead(person: Person, provider: Provider) -> TestResponse:
    return with_clock(person, provider, 50)


def clock_behind(person: Person, provider: Provider) -> TestResponse:
    return with_clock(person, provider, -7_200)


def with_clock(person: Person, provider: Provider, seconds: int) -> TestResponse:
    answer = provider.answer(begin(person), "alice")
    provider.set_clock(seconds)
    try:
        return end(person, answer)
    finally:
        provider.set_clock(0)


@pytest.mark.parametrize(
    ("attempt", "reason"),
    [
        (wrong_nonce, "openid: claim nonce"),
        (wrong_verifier, "openid: invalid_grant"),
        (wrong_state, "openid: state"),
        (wrong_issuer, "openid: issuer of the answer"),
        (no_issuer, "openid: issuer of the answer"),
        (wrong_code, "openid: invalid_grant"),
        (unreadable_code, "openid: code"),
        (refused_there, "openid: login_required"),
        (other_error, "openid: other"),
        (replayed, "openid: invalid_grant"),
        (replayed_at_a_lenient_provider, "openid: used"),
        (of_another_browser, "openid: state"),
        (without_cookie, "openid: no cookie"),
        (without_role, "role admins: claim groups"),
        (clock_ahead, "openid: claim iat"),
        (clock_behind, "openid: claim exp"),
    ],
    ids=lambda case: getattr(case, "__name__", None),
)
def test_refused_sign_ins_look_alike(
    person: Person,
    provider: Provider,
    stored: Stored,
    attempt: Callable[[Person, Provider], TestResponse],
    reason: str,
) -> None:
    """A refused sign-in begins no session, and has the page of every other; the trail has the reason."""
    reply = attempt(person, provider)
    assert reply.status_code == 401
    assert reply.text == person.post("sign-in", token="x").text
    assert stored.sessions.count_documents({}) == (attempt in (replayed, replayed_at_a_lenient_provider))
    assert reasons(stored) == [reason, "malformed"]


def test_a_sign_in_begins_in_the_console(person: Person, stored: Stored) -> None:
    """No page elsewhere can send a person to the provider, and the console does so only over HTTPS."""
    for site in ("same-site", "cross-site"):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
        reply = person.client.get("/console/oidc/start", headers=headers, base_url=HERE)
        assert (reply.status_code, person.cookie("sign-in")) == (400, "")
    for host in ("vault.example", "a b"):
        headers = {"Sec-Fetch-Mode": "navigate"} if " " in host else {}
        reply = person.client.get("/console/oidc/start", headers=headers, base_url=f"http://{host}")
        assert (reply.status_code, "Location" in reply.headers) == (400, False)
    assert stored.sessions.count_documents({}) == 0


def test_a_sign_in_takes_at_most_ten_minutes(
    person: Person, provider: Provider, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that comes later is refused, however the browser has changed the cookie."""
    answer = provider.answer(begin(person), "alice")
    with monkeypatch.context() as patch:
        patch.setattr(open_id, "time", lambda: time.time() + 601)
        assert end(person, answer).status_code == 401
    _, _, rest = person.cookie("sign-in").partition(".")
    person.client.set_cookie("sign-in", f"{int(time.time()) + 9}.{rest}", domain="localhost")
    assert end(person, answer).status_code == 401
    assert reasons(stored) == ["openid: too late", "openid: state"]


def test_a_provider_that_does_not_answer_has_a_page(
    person: Person, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the provider people see that, at once after the first wait."""
    answer = provider.answer(begin(person), "alice")
    monkeypatch.setattr(open_id_provider, "FETCH_SECONDS", 0.2)
    with provider.silent():
        for _ in range(2):
            reply = end(person, answer)
            assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
            assert "The identity provider does not answer" in reply.text
            assert 'name="token"' in reply.text
    services(person.app).of(OpenID)._provider._calls._failed = -float("inf")  # type: ignore[union-attr]


def test_offboarding_ends_a_session_at_once(person: Person, provider: Provider, stored: Stored) -> None:
    """There is no token to revoke, and the provider is not asked: the session ends, with its entry."""
    assert end(person, provider.answer(begin(person), "alice")).status_code == 200
    assert person.get().status_code == 200
    for is_plan in (True, False):
        attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
        ended, _ = services(person.app).tokens.offboard("idp/jwt:alice", is_plan=is_plan, attempt=attempt)
        assert ended == [("session", "idp/jwt:alice")]
        assert stored.sessions.count_documents({}) == is_plan
    assert person.get().status_code == 401
    [entry] = [entry for entry in trail(stored) if entry["action"] == "logout"]
    assert entry["details"] == {"session_of": "idp/jwt:alice"}


def test_a_session_can_outlast_its_id_token(
    person: Person, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is valid after the expiry of its ID token, as long as its role allows; the token is not."""
    answer = provider.answer(begin(person), "both")
    provider.set_clock(-3_700)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(open_id_provider, "LEEWAY_SECONDS", 7_200)
            patch.setattr("vault.features.jwt.verification.LEEWAY_SECONDS", 7_200)
            assert end(person, answer).status_code == 200
    finally:
        provider.set_clock(0)
    choice = person.get()
    assert "Choose a role" in choice.text
    ends_at = Session.objects.get().ends_at
    form_token = choice.text.partition('name="form_token" value="')[2][:64]
    assert person.post("role", role="admins", form_token=form_token).status_code == 303
    assert person.get().status_code == 200
    assert Session.objects.get().ends_at == ends_at
    key = services(person.app).tokens._keys.find()
    assert key
    [token, *_] = Session.objects.get().held(person.cookie(), key)
    api = person.client.post("/vault/token/self", json={}, headers=bearer(token) | {"X-Role": "admins"})
    assert api.status_code == 401
    latest_use = "vault.features.jwt.directory.KnownRole.latest_use"
    monkeypatch.setattr(latest_use, lambda _role, issued_at: issued_at)
    assert person.get().status_code == 401
