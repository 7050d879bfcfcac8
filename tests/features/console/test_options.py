"""Screens that depend on the settings of a service."""

from tests.conftest import running_app
from tests.console.person import Person, links
from tests.support.access import make_token
from tests.support.console import create
from tests.support.lifecycle import trail
from tests.support.rotation import Stored


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
