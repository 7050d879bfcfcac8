"""Requests that come from a page of the console, and requests that do not."""

import pytest
from flask import Flask

from tests.console.person import OWN, Person
from tests.support.access import make_token
from tests.support.console import SignIn
from tests.support.rotation import Stored

HERE = "http://localhost:8000"
AWAY = "https://vault.example"


@pytest.mark.parametrize(
    ("origin", "headers", "status"),
    [
        (HERE, {"Origin": HERE}, 303),
        (HERE, {"Origin": HERE, "Sec-Fetch-Site": "same-origin"}, 303),
        (HERE, {"Referer": f"{HERE}/console/sign-in"}, 303),
        (HERE, OWN, 303),
        (AWAY, {"Origin": AWAY}, 303),
        # A proxy that receives HTTPS, and removes the port.
        ("http://vault.example", {"Origin": f"{AWAY}:8443"}, 303),
        (HERE, {}, 400),
        (HERE, {"Origin": "null"}, 400),
        (HERE, {"Origin": "null", "Sec-Fetch-Site": "cross-site"}, 400),
        (HERE, {"Origin": HERE, "Sec-Fetch-Site": "same-site"}, 400),
        (HERE, {"Origin": "http://localhost:8001"}, 400),
        (HERE, {"Origin": "http://evil.example"}, 400),
        (HERE, {"Origin": "ftp://localhost:8000"}, 400),
        (HERE, {"Origin": "http://localhost:x"}, 400),
        (HERE, {"Referer": "https://evil.example/?http://localhost:8000/"}, 400),
        (AWAY, {"Origin": "https://vault.example.evil.example"}, 400),
        (AWAY, {"Origin": "http://vault.example"}, 400),
        ("http://vault.example", {"Origin": "http://vault.example"}, 400),
    ],
)
def test_a_form_comes_from_the_console(app: Flask, origin: str, headers: dict[str, str], status: int) -> None:
    """A sign-in requires the console's own origin: a page elsewhere cannot sign a person in as another."""
    person = Person(app, make_token(app, "alice", role="admin"), origin=origin)
    reply = person.sign_in(headers=headers)
    assert reply.status_code == status
    assert ("Set-Cookie" in reply.headers) == (status == 303)


@pytest.mark.parametrize(
    ("origin", "headers", "status"),
    [
        (HERE, {}, 200),
        (AWAY, {}, 200),
        # A proxy that receives HTTPS: browsers send these headers only over HTTPS, or within a machine.
        ("http://vault.example", {"Sec-Fetch-Mode": "navigate"}, 200),
        ("http://vault.example", {}, 400),
        # A proxy that replaces the host.
        (HERE, {"X-Forwarded-For": "192.0.2.1"}, 400),
    ],
)
def test_no_credential_is_asked_for_over_plain_http(
    someone: Person, origin: str, headers: dict[str, str], status: int
) -> None:
    """Over plain HTTP from another machine, there is no form for a token."""
    reply = someone.client.get("/console/sign-in", headers=headers, base_url=origin)
    assert (reply.status_code, "password" in reply.text) == (status, status == 200)


def test_a_form_is_of_its_session(stored: Stored, signed_in: SignIn) -> None:
    """Each form and each reveal needs the form token of its session, and the console's origin."""
    alice, bob = signed_in("alice"), signed_in("bob")
    for fields in ({"other": "field"}, {"form_token": "é"}, {"form_token": bob.form_token}):
        assert alice.post("sign-out", **fields).status_code == 400
    foreign = {"Origin": "https://evil.example"}
    assert alice.post("sign-out", headers=foreign, form_token=alice.form_token).status_code == 400
    assert stored.sessions.count_documents({}) == 2
    secret_id = "550e8400-e29b-41d4-a716-446655440000"
    assert alice.reveal(secret_id, form_token=bob.form_token).status_code == 400
    assert alice.reveal(secret_id, headers=foreign).status_code == 400
    assert alice.reveal(secret_id, form_token="\ud800").status_code == 400
    assert alice.reveal(secret_id).status_code == 404


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("none", "navigate", 200),
        ("same-origin", "no-cors", 200),
        ("same-site", "navigate", 200),
        ("same-site", "no-cors", 400),
        ("cross-site", "cors", 400),
    ],
)
def test_a_page_is_no_part_of_another_page(signed_in: SignIn, site: str, mode: str, status: int) -> None:
    """Pages elsewhere can lead to the console, and cannot load its pages as images or scripts."""
    person = signed_in()
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
    assert person.client.get("/console/", headers=headers, base_url="http://localhost").status_code == status


@pytest.mark.parametrize(
    ("data", "content_type", "status"),
    [
        (b"token", "application/x-www-form-urlencoded", 400),
        (b"token=%ff", "application/x-www-form-urlencoded", 400),
        (b"token=\xff", "application/x-www-form-urlencoded", 400),
        (b"&".join([b"a=b"] * 9), "application/x-www-form-urlencoded", 400),
        (b"token=" + b"a" * 40_000, "application/x-www-form-urlencoded", 413),
        (b"token=a", "multipart/form-data", 415),
        (b"{}", "application/json", 415),
    ],
)
def test_a_form_that_cannot_be_read_is_refused(
    someone: Person, data: bytes, content_type: str, status: int
) -> None:
    """Other bodies than short, valid forms get a page that says why."""
    reply = someone.client.post(
        "/console/sign-in", data=data, content_type=content_type, headers=OWN, base_url="http://localhost"
    )
    assert (reply.status_code, reply.mimetype) == (status, "text/html")
