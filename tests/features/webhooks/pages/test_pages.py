"""The page of webhooks."""

import pytest

from tests.conftest import running_app
from tests.console.person import Person
from tests.support.access import make_token
from tests.support.rotation import Stored
from vault.features.webhooks.endpoint import Endpoint, UndeliveredError


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
