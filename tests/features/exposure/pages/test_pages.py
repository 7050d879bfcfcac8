"""The page of those who know a secret, and the link to it."""

from flask import Flask

from tests.console.person import Person, links
from tests.features.exposure.uses import record_use
from tests.support.access import services
from tests.support.console import HEADERS, SignIn, create
from tests.support.features import requires
from tests.support.issuer import sign
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import Reference


def test_a_page_shows_who_knows_a_secret(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """It is restricted and on record, has neither a value nor an ID in an address, and is linked."""
    person = signed_in()
    secret_id, nameless = create(app, "billing/db"), create(app)
    person.reveal(secret_id)
    stored.audit_logs.delete_many({"action": "audit_exposure"})
    known = person.get("known", name="billing/db")
    assert known.status_code == 200
    assert "By the audit trail" in known.text
    assert {name: known.headers.get(name) for name in HEADERS} == HEADERS
    assert known.headers["Cache-Control"] == "no-store"
    entries = [entry for entry in trail(stored) if entry["action"] == "audit_exposure"]
    assert [entry["details"]["via"] for entry in entries] == ["console"]
    assert "/console/known?name=billing/db" in links(person.get("secret", name="billing/db"))
    button = person.submit("secret", secret_id=nameless)
    assert 'action="/console/known"' in button.text
    for reply in (known, button, person.submit("known", secret_id=nameless)):
        assert reply.status_code == 200
        assert "hunter2" not in reply.text
        assert not any(secret in link for link in links(reply) for secret in (secret_id, nameless))


def test_a_page_shows_who_used_a_secret(app: Flask, signed_in: SignIn) -> None:
    """Who used it through a broker is in a table of its own, below the broker, which holds it."""
    person = signed_in()
    record_use("agent-7", create(app, "billing/db"), "billing/db")
    known = person.get("known", name="billing/db").text
    assert known.index("gate") < known.index("Who used it") < known.index("agent-7")
    assert "api.example.com" in known


def test_the_link_is_before_the_history(app: Flask, signed_in: SignIn) -> None:
    """Both are in one line of the page of a secret."""
    create(app, "billing/db")
    page = signed_in().get("secret", name="billing/db").text
    assert "Who knows it</a> <a" in page
    assert page.index("Who knows it") < page.index("Read history")


def test_it_needs_the_scope_of_the_trail(app: Flask, someone: Person, signed_in: SignIn) -> None:
    """Those without it see neither the page nor a link to it; with nothing else, the page has no links."""
    create(app, "billing/db")
    describer = signed_in("describer", scopes=("secret:list", "secret:describe"))
    assert "Who knows it" not in describer.get("secret", name="billing/db").text
    assert describer.get("known", name="billing/db").status_code == 403
    known = signed_in("auditor", scopes=("audit:read",)).get("known", name="billing/db")
    assert known.status_code == 200
    assert {"/console/", "/console/secret?name=billing/db"}.isdisjoint(links(known))
    address = "/console/sign-in?next=/console/known?name%3Da"
    assert someone.get("known", name="a").headers["Location"] == address


@requires("jwt")
def test_those_who_know_a_secret_are_shown_by_their_whole_names(app: Flask, signed_in: SignIn) -> None:
    """Principals whose names begin alike are separate rows, each with its name."""
    secret_id = create(app, "billing/db")
    names = [f"jwt:{'n' * 100}{number}" for number in range(2)]
    for name in names:
        scopes = "secret:list secret:describe secret:fetch"
        person = Person(app, sign(sub=name.removeprefix("jwt:"), scope=scopes))
        person.sign_in()
        assert person.reveal(secret_id).status_code == 200
    known = signed_in().get("known", name="billing/db")
    assert all(f"{name}<" in known.text for name in names)


def test_those_who_know_an_earlier_secret_of_the_name_are_marked(
    app: Flask, stored: Stored, signed_in: SignIn
) -> None:
    """The writer and the reader of a deleted secret do not know the new one of its name."""
    person = signed_in()
    first = create(app, "billing/db")
    person.reveal(first)
    stored.secrets.delete_one({"_id": first})
    person.reveal(create(app, "billing/db"))
    update = Attempt(action=Action.UPDATE, principal=OPERATOR)
    services(app).changes.update(Reference(name="billing/db"), b"v", expected_version=None, attempt=update)
    known = person.get("known", name="billing/db").text
    assert (known.count("(an earlier secret)"), known.count("(replaced)")) == (2, 2)
