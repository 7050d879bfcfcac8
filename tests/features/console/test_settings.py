"""The console under the settings of a service."""

import pytest

from tests.conftest import running_app
from tests.console.person import Person
from tests.features.console.provider import Provider
from tests.support.access import age_token, make_token, revoke
from tests.support.console import create
from tests.support.issuer import sign
from tests.support.lifecycle import trail
from tests.support.rotation import Stored


@pytest.mark.parametrize("off", [{"CONSOLE_ENABLED": "false"}, {"FEATURES_OFF": "console"}], ids=str)
def test_there_is_a_console_by_the_setting(console_environment: dict[str, str], off: dict[str, str]) -> None:
    """It is on if `CONSOLE_ENABLED` is true, and `FEATURES_OFF` does not have it; else no page is there."""
    for settings, status in ((off, 404), ({}, 200)):
        with running_app(console_environment | settings) as app:
            assert app.test_client().get("/console/sign-in").status_code == status
            pages = [rule for rule in app.url_map.iter_rules() if rule.rule.startswith("/console")]
            assert bool(pages) == (status == 200)


def test_refused_sign_ins_look_alike_and_count(console_environment: dict[str, str], stored: Stored) -> None:
    """Each invalid credential gets the same page, and counts; beyond the limit, valid ones are accepted."""
    stored.sessions.delete_many({})
    with running_app({**console_environment, "FAILED_AUTH_LIMIT": "6/hour"}) as app:
        expired = make_token(app, "expired", role="admin", seconds=60)
        age_token(app, "expired", minutes=2)
        revoked = make_token(app, "revoked", role="admin")
        revoke(app, "revoked")
        elsewhere = make_token(app, "elsewhere", role="admin", networks=("192.0.2.0/24",))
        valid = make_token(app, "valid", role="admin")
        unknown = valid[:-7] + valid[-7:][::-1]
        refused = [
            Person(app, text).sign_in() for text in (expired, revoked, elsewhere, unknown, "", sign(aud="no"))
        ]
        assert {(reply.status_code, reply.text) for reply in refused} == {(401, refused[0].text)}
        assert "The sign-in failed" in refused[0].text
        limited = Person(app, unknown).sign_in()
        assert (limited.status_code, "Retry-After" in limited.headers) == (429, True)
        old = Person(app)
        old.client.set_cookie("session", "A" * 43, domain="localhost")
        assert (old.get().status_code, old.cookie()) == (429, "")
        assert Person(app, valid).sign_in().status_code == 303
    assert stored.sessions.count_documents({}) == 1


def test_refused_addresses_are_on_record(console_environment: dict[str, str], stored: Stored) -> None:
    """From an address that is not allowed there is nothing, and operations leave an entry."""
    with running_app({**console_environment, "ALLOWED_NETWORKS": "192.0.2.0/24"}) as app:
        person = Person(app, "x")
        replies = [person.get(path) for path in ("", "sign-in", "assets/none.css", "none")]
        replies.append(person.sign_in())
        person.client.set_cookie("session", "A" * 43, domain="localhost")
        replies += [person.get(), person.post("sign-out", headers={})]
        assert [reply.status_code for reply in replies] == [403] * 7
    refused = [entry["action"] for entry in trail(stored) if entry["details"].get("reason") == "address"]
    assert refused == ["login", "list", "logout"]


def test_without_a_token_key_there_are_no_sessions(
    mongo_uri: str, console_environment: dict[str, str]
) -> None:
    """A service that never had a token refuses every cookie."""
    with running_app({**console_environment, "MONGO_URI": mongo_uri}) as app:
        person = Person(app)
        person.client.set_cookie("session", "A" * 43, domain="localhost")
        assert person.get().status_code == 401


def test_the_console_counts_for_the_rate_limit(console_environment: dict[str, str]) -> None:
    """Pages count as requests of their principal, like those of the API; a sign-out is always possible."""
    with running_app({**console_environment, "RATE_LIMIT": "4/hour"}) as app:
        person = Person(app, make_token(app, "limited-person", role="admin"))
        person.sign_in()
        form_token = person.form_token
        statuses = [person.get().status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert person.post("sign-out", form_token=form_token).status_code == 303


def test_a_reveal_can_need_a_reason(console_environment: dict[str, str], stored: Stored) -> None:
    """With the setting, a reveal without a reason is refused; the entry of each keeps its reason."""
    for needed in ("true", "false"):
        with running_app({**console_environment, "CONSOLE_REASON_REQUIRED": needed}) as app:
            secret_id = create(app, f"reasons/{needed}")
            person = Person(app, make_token(app, f"revealer-{needed}", role="admin"))
            person.sign_in()
            page = person.get("secret", name=f"reasons/{needed}").text
            assert ('id="reason"' in page) == (needed == "true")
            refused = [person.reveal(secret_id, reason=text) for text in ("a\nb", "a" * 201)]
            assert {reply.status_code for reply in refused} == {422}
            assert all("hunter2" not in reply.text for reply in refused)
            bare = {
                person.reveal(secret_id, reason=text).status_code
                for text in ("", " ", "\u2800", "\u3164\u3164", "\u200b", "\u115f \ufe0f")
            }
            assert bare == ({422} if needed == "true" else {200})
            assert person.reveal(secret_id, reason=" INC-7 <b> ").status_code == 200
            kept = [entry["details"].get("reason") for entry in trail(stored) if entry["action"] == "fetch"]
            assert set(kept) <= {"INC-7 <b>", None}
            assert "INC-7 <b>" in kept


@pytest.mark.process
def test_refused_answers_of_a_provider_count(
    provider: Provider, console_environment: dict[str, str], stored: Stored
) -> None:
    """Refused answers count like invalid tokens; without the settings, the sign-in is not offered."""
    stored.sessions.delete_many({})
    settings = {**console_environment, **provider.environment, "FAILED_AUTH_LIMIT": "2/hour"}
    with running_app(settings) as app:
        person = Person(app)
        answer = provider.answer(person.get("oidc/start").headers["Location"], "nobody")
        path, _, query = answer.removeprefix("http://localhost/console/").partition("?")
        refused = [person.client.get(f"/console/{path}?{query}", base_url=person.origin) for _ in range(3)]
        assert [reply.status_code for reply in refused] == [401, 401, 429]
    with running_app(console_environment) as app:
        person = Person(app)
        assert "OpenID" not in person.get("sign-in").text
        for path in ("oidc/start", "oidc/callback"):
            assert person.get(path).status_code == 401
    assert stored.sessions.count_documents({}) == 0
