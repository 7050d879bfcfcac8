"""The slots of the keyring file on the console's page of master keys."""

import pytest
from flask import Flask

from tests.support.access import services
from tests.support.console import SignIn
from vault.common.outcomes import Status
from vault.core.attempt import Action, Attempt
from vault.core.principal import SERVICE


def test_keys_are_shown_with_their_slots(
    app: Flask, signed_in: SignIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page has the slots, by the newest check, and the last drill."""
    person = signed_in()
    assert "there are no slots" in person.get("keys").text
    monkeypatch.setattr(services(app).keys, "has_file", True)
    assert "not tried within a year" in person.get("keys").text
    slots = [{"key_id": "0123", "slot": "hsm", "kek": "pkcs11:x", "state": "refused", "reason": "PIN"}]
    details = {"slots": slots, "recovery": True}
    Attempt(action=Action.CUSTODY_CHECKED, principal=SERVICE, details=details).finish(Status.SUCCESS)
    page = person.get("keys").text
    for text in ("0123", "hsm", "pkcs11:x", "refused PIN", "were last tried on"):
        assert text in page
