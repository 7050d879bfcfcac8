"""Changes of secrets in the console, without scripts: their requests are sent as the scripts send them."""

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.console import SignIn, create
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import Reference


def fetch(app: Flask, **reference: str) -> bytes:
    attempt = Attempt(action=Action.FETCH, principal=OPERATOR)
    return services(app).secrets.fetch(Reference(**reference), attempt=attempt)


def test_a_new_secret_is_stored_with_its_limits(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """A person stores a text exactly, with labels and limits; the answer leads to the page of the secret."""
    person = signed_in()
    assert 'value="billing/"' in person.get("new", folder="billing/").text
    value = "pass wörd\r\n<b>"
    reply = person.send(
        "create",
        name="billing/db",
        value=value,
        labels=" team = billing ,, env=prod",
        days=30,
        max_reads=2,
    )
    assert reply.json == {"message": "Stored.", "location": "/console/secret?name=billing/db&stored=1"}
    page = person.get("secret", name="billing/db").text
    for text in ("team", "prod", "2</span> of 2"):
        assert text in page
    assert fetch(app, name="billing/db") == value.encode()
    [entry] = [entry for entry in trail(stored) if entry["action"] == "create"]
    assert (entry["principal"], entry["details"]["via"]) == ("alice", "console")
    again = person.send("create", name="billing/db", value="x")
    assert (again.status_code, again.mimetype) == (409, "application/problem+json")
    assert again.json["detail"] == "Another secret has this name, or had it and can be restored."


@pytest.mark.parametrize(
    "fields",
    [
        {"value": ""},
        {"value": "\ud800"},
        {"name": "a//b"},
        {"labels": "no text"},
        {"labels": "=text"},
        {"days": 0},
        {"max_reads": 1_001},
        {"other": "x"},
    ],
)
def test_a_secret_with_invalid_fields_is_refused(signed_in: SignIn, fields: dict[str, object]) -> None:
    """A refusal names the field, and never has the value."""
    reply = signed_in().send("create", **{"name": "a", "value": "hunter2", **fields})
    assert reply.status_code == 422
    assert [error["field"] for error in reply.json["errors"]] == [*fields]
    assert "hunter2" not in reply.text


def test_a_version_is_stored_unless_another_came_first(app: Flask, signed_in: SignIn) -> None:
    """The next version names the version that the person saw; a conflict changes nothing, and says so."""
    person = signed_in()
    secret_id = create(app, "billing/db")
    page = person.get("secret", name="billing/db").text
    assert 'name="expected_version" value="1"' in page
    reply = person.send("update", secret_id=secret_id, value="second", expected_version=1)
    assert reply.json == {
        "message": "Stored as version 2.",
        "location": "/console/secret?name=billing/db&stored=2",
    }
    late = person.send("update", secret_id=secret_id, value="third", expected_version=1)
    assert (late.status_code, late.json["code"]) == (409, "version_conflict")
    assert fetch(app, secret_id=secret_id) == b"second"
    nameless = create(app)
    assert person.send("update", secret_id=nameless, value="x").json == {"message": "Stored as version 2."}
    updater = signed_in("updater", scopes=("secret:update", "secret:delete"))
    assert updater.send("update", secret_id=secret_id, value="x").json == {"message": "Stored as version 3."}
    deleted = updater.submit("delete", secret_id=secret_id)
    assert (deleted.status_code, "Deleted" in deleted.text) == (200, True)


def test_without_a_recovery_period_a_deletion_is_final(app: Flask, signed_in: SignIn) -> None:
    """Otherwise the page says that a deletion is final, and leads back to the folder."""
    person = signed_in()
    secret_id = create(app, "billing/db")
    assert "It cannot be restored" in person.get("secret", name="billing/db").text
    reply = person.submit("delete", secret_id=secret_id)
    assert reply.headers["Location"] == "/console/?folder=billing/"
    assert person.submit("delete", secret_id=create(app, "top")).headers["Location"] == "/console/"
    assert person.get("secret", name="billing/db").status_code == 404


def test_labels_are_replaced(app: Flask, stored: Stored, signed_in: SignIn) -> None:
    """A person edits labels, one a line, unless another has; others lack the form, flaws are refused."""
    person = signed_in()
    secret_id = create(app, "billing/db", labels={"team": "a, b=c", "old": ""})
    page = person.get("secret", name="billing/db").text
    assert "old=\nteam=a, b=c\n</textarea>" in page
    assert 'name="metadata_version" value="0" data-number' in page
    reply = person.send(
        "labels", secret_id=secret_id, labels="team = a, b=c\r\n\nenv=prod\n", metadata_version=0
    )
    assert reply.json == {"message": "Stored.", "location": "/console/secret?name=billing/db"}
    document = stored.secrets.find_one({"_id": secret_id})
    assert document
    assert document["labels"] == ["env=prod", "team=a, b=c"]
    [entry] = [entry for entry in trail(stored) if entry["action"] == "update_metadata"]
    assert (entry["principal"], entry["details"]["via"]) == ("alice", "console")
    for labels in ("no text", "a=1\na=2", "=x"):
        refused = person.send("labels", secret_id=secret_id, labels=labels, metadata_version=1)
        assert (refused.status_code, refused.json["errors"][0]["field"]) == (422, "labels")
    late = person.send("labels", secret_id=secret_id, labels="", metadata_version=0)
    assert (late.status_code, late.json["code"]) == (409, "version_conflict")
    assert late.json["detail"].startswith("Someone has changed the secret since you opened this page.")
    assert stored.secrets.find_one({"_id": secret_id}) == document
    assert person.send("labels", secret_id=secret_id, metadata_version=1).status_code == 200
    assert "labels" not in (stored.secrets.find_one({"_id": secret_id}) or {})
    reader = signed_in("reader", role="reader")
    assert "Store labels" not in reader.get("secret", name="billing/db").text
    assert reader.send("labels", secret_id=secret_id, labels="a=b", metadata_version=2).status_code == 403
