"""Screens that depend on the settings of a service."""

import pytest

from tests.conftest import running_app
from tests.console.person import Person, links
from tests.console.test_pages import create
from tests.support.access import make_token
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.events.endpoint import Endpoint, UndeliveredError


def test_a_deleted_secret_can_be_restored(console_environment: dict[str, str], stored: Stored) -> None:
    """The console lists and restores deleted secrets, if they are kept."""
    with running_app({**console_environment, "DELETE_RECOVERY_DAYS": "30"}) as app:
        person = Person(app, make_token(app, "restorer", role="admin"))
        person.sign_in()
        secret_id, nameless = create(app, "billing/gone"), create(app)
        assert "For 30 days, it can be restored" in person.get("secret", name="billing/gone").text
        reply = person.submit("delete", secret_id=secret_id)
        assert (reply.status_code, reply.headers["Location"]) == (303, "/console/deleted")
        person.submit("delete", secret_id=nameless)
        page = person.get("deleted")
        assert "billing/gone" in page.text
        assert not any(secret_id in link for link in links(page))
        reply = person.submit("restore", secret_id=secret_id)
        assert reply.headers["Location"] == "/console/secret?name=billing/gone"
        assert person.get("secret", name="billing/gone").status_code == 200
        assert person.submit("restore", secret_id=nameless).headers["Location"] == "/console/deleted"
        assert person.submit("restore", secret_id=nameless).status_code == 404
    via = [entry for entry in trail(stored) if entry.get("details", {}).get("via") == "console"]
    actions = [entry["action"] for entry in via]
    assert (actions.count("delete"), actions.count("restore")) == (2, 3)


def test_webhooks_are_created_tested_and_deleted(
    console_environment: dict[str, str], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook's secret is in the answer to the script only; a test says whether the receiver accepts."""
    with running_app({**console_environment, "WEBHOOK_NETWORKS": "127.0.0.0/8"}) as app:
        person = Person(app, make_token(app, "hooks", role="admin"))
        person.sign_in()
        url = "http://127.0.0.1:9/hook"
        secret = person.send("webhooks/create", url=url, events=["secret.updated"]).json["value"]
        page = person.get("webhooks")
        assert url in page.text
        assert secret not in page.text
        [webhook] = stored.webhooks.find()
        for error, text in (("", "Accepted."), ("no", "Not accepted: no")):

            def send(*_: object, error: str = error) -> None:
                if error:
                    raise UndeliveredError(error)

            monkeypatch.setattr(Endpoint, "send", send)
            assert person.send("webhooks/test", webhook_id=webhook["_id"]).json == {"message": text}
        assert person.send("webhooks/test", webhook_id="x").status_code == 422
        for fields in ({"url": "ftp://x"}, {"events": []}, {"events": ["none"]}):
            body = {"url": url, "events": ["secret.updated"], **fields}
            assert person.send("webhooks/create", **body).status_code == 422
        assert person.submit("webhooks/delete", webhook_id=webhook["_id"]).status_code == 303
        assert url not in person.get("webhooks").text
