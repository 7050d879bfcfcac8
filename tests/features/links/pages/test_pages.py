"""The pages of links, without scripts: what previews, other sites and attackers can do with them."""

import json
from base64 import b64encode
from typing import Any

import pytest
from flask import Flask
from werkzeug.test import TestResponse

from tests.conftest import running_app
from tests.console.person import Person
from tests.support.access import bearer, make_token
from tests.support.console import HEADERS, SignIn, create
from tests.support.lifecycle import trail
from tests.support.rotation import Stored

OWN = {"Origin": "http://localhost", "Sec-Fetch-Site": "same-origin"}
NAME = "billing/<img src=x onerror=alert(1)>"
VALUE = "hunter2 <b>"


def send(person: Person, path: str, body: object, **headers: str) -> TestResponse:
    """Return the answer to a script of a page of the console."""
    return person.client.post(
        f"/console/{path}", json=body, headers=headers or OWN, base_url="http://localhost"
    )


def ask(person: Person, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    """Return the answer to a script, after checking its status."""
    reply = send(person, path, body)
    assert reply.status_code == status, reply.text
    assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
    assert reply.headers["Cache-Control"] == "no-store"
    found: dict[str, Any] = reply.get_json(force=True)
    return found


def new_link(person: Person, path: str, **body: Any) -> str:
    """Return the token of a new link, which is in its fragment alone."""
    answer = ask(person, f"{path}/new", form_token=person.form_token, **body)
    page, _, token = answer["link"].partition("#")
    assert page == f"/console/{path}"
    return str(token)


def test_a_person_shares_and_another_opens(app: Flask, signed_in: SignIn, stored: Stored) -> None:
    """A link from the secret's page opens once, without a session; its entries are the API's, by console."""
    secret_id = create(app, NAME, VALUE.encode())
    token = new_link(signed_in(), "share", secret_id=secret_id, seconds=60, passphrase="opén")
    someone = Person(app)
    described = ask(someone, "share/describe", token=token)
    assert (described["by"], described["has_passphrase"]) == ("alice", True)
    assert ask(someone, "share/open", 403, token=token, passphrase="x")["code"] == "wrong_passphrase"
    assert ask(someone, "share/open", token=token, passphrase="opén") == {"value": VALUE, "form": "text"}
    assert ask(someone, "share/open", 404, token=token, passphrase="opén")["code"] == "invalid_link"
    assert someone.cookie() == ""
    entries = [entry for entry in trail(stored) if entry["details"].get("share")]
    assert [entry["action"] for entry in entries] == ["fetch", "wrap_lookup", "unwrap", "unwrap"]
    assert {entry["details"]["via"] for entry in entries} == {"console"}
    binary = new_link(signed_in("bob"), "share", secret_id=create(app, value=b"\xff\0"))
    assert ask(someone, "share/open", token=binary) == {"value": "/wA=", "form": "base64"}


def test_a_person_asks_and_another_sends(app: Flask, signed_in: SignIn, stored: Stored) -> None:
    """A link from the list stores one text of up to the service's limit, once, without a session."""
    person, someone = signed_in(), Person(app)
    token = new_link(person, "request", name=NAME, seconds=60)
    described = ask(someone, "request/describe", token=token)
    assert (described["by"], described["name"], described["max_bytes"]) == ("alice", NAME, 65_536)
    large = "é" * 32_768
    assert ask(someone, "request/fill", 413, token=token, value=f"{large}a")["code"] == "secret_too_large"
    ask(someone, "request/fill", 422, token=token, value="")
    ask(someone, "request/fill", token=token, value=large)
    ask(someone, "request/fill", 404, token=token, value="other")
    [secret] = stored.secrets.find()
    assert secret["name"] == NAME
    assert person.reveal(secret["_id"]).json["value"] == large
    assert ask(person, "request/new", 409, form_token=person.form_token, name=NAME)["code"] == "name_taken"


@pytest.mark.parametrize("page", ["share", "request"])
def test_a_preview_spends_nothing(app: Flask, signed_in: SignIn, stored: Stored, page: str) -> None:
    """However a link is loaded, the page is the same and reads nothing; only its button counts."""
    person, someone = signed_in(), Person(app)
    body = {"name": NAME} if page == "request" else {"secret_id": create(app, NAME, VALUE.encode())}
    token = new_link(person, page, **body)
    before = trail(stored)
    for headers in ({}, {"Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}):
        for method in ("GET", "HEAD"):
            reply = someone.client.open(f"/console/{page}", method=method, headers=headers)
            assert reply.status_code == 200
            assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
            for text in ("alice", "billing", token):
                assert text not in reply.text
    # A server that gets the token in the path or the query does nothing with it.
    assert someone.get(page, token=token).text == someone.get(page).text
    assert "needs JavaScript" in someone.get(page).text
    for path in (f"{page}/describe", f"{page}/open", f"{page}/fill"):
        assert someone.get(path, token=token).status_code in (404, 405)
    assert trail(stored) == before
    assert ask(someone, f"{page}/describe", token=token)["by"] == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        {"User-Agent": "curl"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost", "Sec-Fetch-Site": "cross-site"},
        {"Referer": "https://elsewhere.example/console/share"},
    ],
    ids=str,
)
def test_another_page_cannot_use_a_link(
    app: Flask, signed_in: SignIn, stored: Stored, headers: dict[str, str]
) -> None:
    """A request without `Origin` and `Referer`, or of another page, is refused and spends nothing."""
    person, someone = signed_in(), Person(app)
    share = new_link(person, "share", secret_id=create(app, NAME, VALUE.encode()))
    request = new_link(person, "request", name="billing/new")
    for path, body in (
        ("share/describe", {"token": share}),
        ("share/open", {"token": share}),
        ("request/describe", {"token": request}),
        ("request/fill", {"token": request, "value": "x"}),
        ("share/new", {"form_token": person.form_token, "secret_id": "x"}),
        ("request/new", {"form_token": person.form_token, "name": "billing/c"}),
    ):
        assert send(person, path, body, **headers).status_code == 400
    assert ask(someone, "share/open", token=share)["value"] == VALUE
    ask(someone, "request/fill", token=request, value="x")
    assert stored.requests.count_documents({}) == 0


def test_what_is_no_request_of_the_script_is_refused(app: Flask, signed_in: SignIn) -> None:
    """Forms, other types, large bodies, and links without their proof of the session are refused."""
    person, someone = signed_in(), Person(app)
    token = new_link(person, "request", name="billing/new")
    body = json.dumps({"token": token, "value": "x"})
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        reply = someone.client.post(
            "/console/request/fill",
            data=body,
            headers=OWN | {"Content-Type": kind},
            base_url="http://localhost",
        )
        assert reply.status_code == 415
    ask(someone, "request/fill", 413, token=token, value="x" * 300_000)
    ask(someone, "share/open", 413, token="x" * 40_000)
    for unknown in ("", "x" * 65, "ä", None, ["x"]):
        ask(someone, "share/open", 422, token=unknown)
    ask(someone, "share/open", 404, token="x")
    ask(person, "share/new", 400, form_token="0" * 64, secret_id=create(app))
    ask(someone, "request/new", 401, form_token=person.form_token, name="billing/c")
    for role, path in (("auditor", "share/new"), ("reader", "request/new")):
        other = signed_in(role, role=role)
        page_token = signed_in("x" + role).form_token
        more = {"secret_id": create(app)} if path == "share/new" else {"name": "billing/c"}
        assert ask(other, path, 403, form_token=page_token, **more)["code"] == "scope_missing"
    ask(someone, "request/fill", token=token, value=b64encode(b"x").decode())


def test_buttons_are_for_those_who_may(app: Flask, signed_in: SignIn) -> None:
    """The forms are on the pages of people who may share and ask, and on no others."""
    create(app, "billing/db")
    for scopes, has_share, has_request in (
        (("secret:list", "secret:describe"), False, False),
        (("secret:list", "secret:describe", "secret:fetch"), True, False),
        (("secret:list", "secret:describe", "secret:create"), False, True),
    ):
        person = signed_in("-".join(scopes).replace(":", "."), scopes=scopes)
        assert (">Share<" in person.get("secret", name="billing/db").text) == has_share
        assert (">Request<" in person.get().text) == has_request


def test_links_follow_the_settings_of_the_console(console_environment: dict[str, str]) -> None:
    """The API names a link's page only if there is one, and a share needs a reason if a reveal does."""
    link = {**console_environment, "PUBLIC_URL": "https://secrets.example"}
    for enabled in ("false", "true"):
        is_on = enabled == "true"
        with running_app({**link, "CONSOLE_ENABLED": enabled, "CONSOLE_REASON_REQUIRED": enabled}) as app:
            token = make_token(app, f"maker-{enabled}", role="admin")
            new = app.test_client().post(
                "/vault/secret/share", json={"secret": "YQ=="}, headers=bearer(token)
            )
            assert ("url" in new.json) == is_on
            assert app.test_client().get("/console/share").status_code == (200 if is_on else 404)
            if is_on:
                person = Person(app, token)
                person.sign_in()
                body = {"form_token": person.form_token, "secret_id": create(app, "why")}
                assert send(person, "share/new", body).status_code == 422
                assert send(person, "share/new", {**body, "reason": "INC-7"}).status_code == 200
