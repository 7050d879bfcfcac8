"""The console's pages, without scripts."""

from base64 import b64encode
from uuid import UUID

import pytest
from flask import Flask

from tests.console.person import Person, links
from tests.console.screens import SCREENS
from tests.support.access import services
from tests.support.console import HEADERS, VALUE, SignIn, create
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from tests.support.trail import block_trail
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import Reference


def test_every_reply_is_restricted(app: Flask, signed_in: SignIn) -> None:
    """Pages, refusals and values have the console's headers, and no cache keeps them; caches keep files."""
    person = signed_in()
    secret_id = create(app, "billing/db")
    page = person.get("secret", name="billing/db")
    replies = [
        *(page, person.get(), person.get(q="b"), Person(app).get()),
        *(person.reveal(secret_id), person.reveal("x"), Person(app).get("sign-in"), person.get(folder="x")),
        *(Person(app, "x").sign_in(), person.get("assets/none.css"), person.get("secret", name="none")),
        # Where there is no page.
        *(
            person.get("none"),
            person.get("sign-out"),
            person.client.options("/console/"),
            person.get("a/../b"),
        ),
    ]
    for reply in replies:
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS, reply.request.path
        assert reply.headers["Cache-Control"] == "no-store"
    assert "Referrer-Policy" not in person.client.get("/console-none").headers
    assets = [link for link in links(page) if link.startswith("/console/assets/")]
    assert [link.rpartition(".")[2] for link in assets] == ["css", "js"]
    for link in assets:
        reply = person.client.get(link)
        assert reply.status_code == 200
        assert reply.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert {name: reply.headers.get(name) for name in HEADERS} == HEADERS
    for reply in (page, person.get(), Person(app).get("sign-in")):
        assert len(reply.data) < 60_000
        for text in ("<style", "style=", "onclick=", "//"):
            assert text not in reply.text.replace("http://www.w3.org", "")


def test_every_screen_is_in_the_list_of_the_browser(app: Flask) -> None:
    """Each page has the checks of `test_browser`: for people who cannot see or point, and for kept values."""
    listed = {address.partition("?")[0] for address in SCREENS}
    paths = {
        rule.rule.removeprefix("/console/")
        for rule in app.url_map.iter_rules()
        if rule.endpoint.startswith("console.") and "GET" in (rule.methods or ())
    }
    assert paths - listed == {"assets/<name>", "oidc/start", "oidc/callback"}


def test_pages_without_a_session_lead_to_the_sign_in(someone: Person, stored: Stored) -> None:
    """Without a cookie, each page leads to the sign-in and leaves no entry; a reveal is a problem."""
    assert someone.get().headers["Location"] == "/console/sign-in"
    for path in ("secret", "audit"):
        reply = someone.get(path, name="a")
        address = f"/console/sign-in?next=/console/{path}?name%3Da"
        assert (reply.status_code, reply.headers["Location"]) == (303, address)
    assert someone.post("sign-out").status_code == 303
    assert trail(stored) == []
    reply = someone.client.post("/console/reveal", json={}, headers={"Origin": "http://localhost"})
    assert (reply.status_code, reply.mimetype) == (401, "application/problem+json")


def test_folders_and_search(app: Flask, signed_in: SignIn) -> None:
    """The list has folders and secrets; a search in a folder finds names and labels anywhere below it."""
    person = signed_in()
    for name in ("billing/db", "billing/eu/db", "top"):
        create(app, name, labels={"team": "Rocket"} if name == "billing/eu/db" else {})
    nameless = create(app)
    page = person.get()
    assert {"/console/?folder=billing/", "/console/secret?name=top"} <= set(links(page))
    assert "eu" not in page.text
    page = person.get(folder="billing/")
    assert {"/console/?folder=billing/eu/", "/console/secret?name=billing/db"} <= set(links(page))
    found = person.get(q="rOCK", folder="billing/")
    assert "/console/secret?name=billing/eu/db" in links(found)
    assert "/console/secret?name=billing/db" not in links(found)
    assert "Rocket" in found.text
    assert "in <bdi>billing/</bdi>" in found.text
    assert "/console/?q=rOCK" in links(found)
    for query, is_found in (("eu rocket  DB", True), ("rocket top", False)):
        assert ("/console/secret?name=billing/eu/db" in links(person.get(q=query))) == is_found
    assert nameless in person.get(q="").text
    for arguments in ({"folder": "billing"}, {"folder": "a*/"}, {"q": "a\nb"}, {"q": "a" * 201}):
        assert person.get(**arguments).status_code == 400


def test_an_address_without_a_page_is_a_page(app: Flask, someone: Person) -> None:
    """A wrong address below the console's is refused on a page, and elsewhere by a problem."""
    reply = someone.get("none")
    assert (reply.status_code, reply.mimetype) == (404, "text/html")
    assert "/console/" in links(reply)
    assert app.test_client().get("/none").mimetype == "application/problem+json"


def test_what_expires_first_is_first(app: Flask, signed_in: SignIn) -> None:
    """The page of what expires is in the order of the times, not of the names."""
    for name, days in (("a", 9), ("b", 1), ("c", 5), ("d", 60)):
        create(app, name, ttl_seconds=days * 86_400)
    listed = [link.partition("?name=")[2] for link in links(signed_in().get(show="expiring"))]
    assert [name for name in listed if name] == ["b", "c", "a"]


def test_pages_of_a_list_follow_each_other(stored: Stored, signed_in: SignIn) -> None:
    """A list of more than 100 rows has a next page; the one of a search is a form, as IDs are in no URL."""
    person = signed_in()
    stored.secrets.insert_many(
        [
            {"_id": str(UUID(int=number)), "namespace": "default", "name": f"s{number:03}"}
            for number in range(150)
        ]
    )
    first = person.get()
    assert "/console/?after=s099" in links(first)
    assert "Next page" not in person.get(after="s099").text
    found = person.get(q="s")
    assert "Next page" in found.text
    assert not any(str(UUID(int=99)) in link for link in links(found))
    following = person.submit("", q="s", cursor=f"{UUID(int=99)}/s099")
    assert "s100" in following.text
    assert "Next page" not in following.text


def test_the_page_of_a_secret(app: Flask, signed_in: SignIn) -> None:
    """The page has labels, limits and versions; no page has a value, and no URL an ID."""
    person = signed_in()
    secret_id = create(app, "billing/db", labels={"team": "billing"}, max_reads=3)
    attempt = Attempt(action=Action.UPDATE, principal=OPERATOR)
    services(app).changes.update(Reference(name="billing/db"), VALUE, expected_version=None, attempt=attempt)
    page = person.get("secret", name="billing/db")
    assert page.status_code == 200
    for text in (
        "billing",
        '<span id="reads-left">3</span> of 3',
        'data-version="2"',
        'data-version="1"',
        "current",
        "replaced",
    ):
        assert text in page.text
    person.reveal(secret_id, version=1)
    deletion = Attempt(action=Action.DELETE, principal=OPERATOR)
    services(app).versions.delete(Reference(name="billing/db"), [1], attempt=deletion)
    assert 'data-version="1"' not in person.get("secret", name="billing/db").text
    nameless = create(app)
    for reply in (page, person.submit("secret", secret_id=nameless), person.get(q="")):
        assert reply.status_code == 200
        assert "hunter2" not in reply.text
        assert not any(secret in link for link in links(reply) for secret in (secret_id, nameless))
    assert person.get("secret", secret_id=nameless).status_code == 400
    assert person.submit("secret", secret_id="x").status_code == 400
    assert person.get("secret", name="a//b").status_code == 400
    refused = person.get("secret", name="none")
    assert (refused.status_code, refused.mimetype) == (404, "text/html")
    assert "Secret not found" in refused.text


def test_each_reveal_is_one_entry(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """A reveal returns the value as JSON, exactly, and leaves one entry; a refused one does, too."""
    person = signed_in()
    text, binary = create(app, "billing/db"), create(app, value=b"\xff\x00")
    control = create(app, value=b"a\x1b[2J")
    stored.audit_logs.delete_many({})
    for secret_id, found in (
        (text, {"value": VALUE.decode(), "form": "text"}),
        (binary, {"value": "/wA=", "form": "base64"}),
        (control, {"value": b64encode(b"a\x1b[2J").decode(), "form": "base64"}),
    ):
        reply = person.reveal(secret_id, version=1)
        assert (reply.status_code, reply.mimetype, reply.json) == (200, "application/json", found)
    assert person.reveal(text).json == {"value": VALUE.decode(), "form": "text"}
    missing = person.reveal(text, version=2)
    assert (missing.status_code, missing.mimetype) == (404, "application/problem+json")
    assert person.reveal(text, version="1").status_code == 422
    fetches = [entry for entry in trail(stored) if entry["action"] == "fetch"]
    assert [entry["status"] for entry in fetches] == [*["success"] * 4, "not_found", "bad_request"]
    assert {entry["details"]["via"] for entry in fetches} == {"console"}
    assert fetches[0]["details"] == {
        "via": "console",
        "name": "billing/db",
        "namespace": "default",
        "version": 1,
    }


def test_without_the_trail_nothing_is_revealed(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """If the entry cannot be stored, neither a page nor a value is shown."""
    person = signed_in()
    secret_id = create(app, "billing/db")
    form_token = person.form_token
    block_trail(stored)
    assert person.get().status_code == 503
    body = {"secret_id": secret_id, "form_token": form_token}
    reply = person.client.post("/console/reveal", json=body, headers={"Origin": "http://localhost"})
    assert reply.status_code == 503
    assert "hunter2" not in reply.text


def test_what_a_person_may_not_do_is_not_shown(app: Flask, signed_in: SignIn) -> None:
    """Pages have no buttons for which the scope is missing, and their operations are refused."""
    secret_id = create(app, "billing/db")
    describer = signed_in("describer", scopes=("secret:list", "secret:describe"))
    page = describer.get("secret", name="billing/db")
    assert page.status_code == 200
    for text in ("Reveal", "Read history"):
        assert text not in page.text
    assert describer.reveal(secret_id).status_code == 403
    lister = signed_in("lister", scopes=("secret:list",))
    for listed in (lister.get(folder="billing/"), lister.get(q="db")):
        assert "db" in listed.text
        assert not any("/console/secret" in link for link in links(listed))
    fetcher = signed_in("fetcher", scopes=("secret:describe", "secret:fetch"))
    page = fetcher.get("secret", name="billing/db")
    assert page.status_code == 200
    assert not any(link.startswith("/console/?folder") for link in links(page))
    auditor = signed_in("auditor", scopes=("audit:read",))
    assert "/console/" not in links(auditor.get())
    none = signed_in("none", scopes=("audit:read",))
    refused = none.get()
    assert (refused.status_code, "Sign out" in refused.text, "Search" in refused.text) == (403, True, False)


@pytest.mark.promise("names")
def test_people_see_only_their_paths(app: Flask, signed_in: SignIn) -> None:
    """A person who is limited to paths finds and opens only secrets within them, also of other namespaces."""
    hidden = create(app, "private/db")
    create(app, "billing/db")
    person = signed_in("limited", role="reader", paths=("billing/",))
    for page in (person.get(), person.get(q="db"), person.get(q="")):
        assert "billing" in page.text
        assert "private" not in page.text
    assert person.get("secret", name="private/db").status_code == 404
    assert person.reveal(hidden).status_code == 404
    foreign = signed_in("foreign", role="admin", namespace="team")
    assert "billing" not in foreign.get(q="").text
    assert foreign.reveal(hidden).status_code == 404


def test_texts_of_others_are_only_text(app: Flask, signed_in: SignIn) -> None:
    """Names, labels and principals cannot add elements to a page."""
    evil = '"><img src=x onerror=alert(1)>'
    name = "a/" + evil.replace("/", "")
    create(app, name, labels={"k": evil})
    person = signed_in()
    person.get("secret", name=name)
    pages = [
        person.get(folder="a/"),
        person.get(q="img"),
        person.get(q=evil),
        person.get("secret", name=name),
    ]
    for page in pages:
        assert "<img" not in page.text
        assert "&lt;img" in page.text
