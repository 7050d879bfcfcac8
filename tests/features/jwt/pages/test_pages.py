"""The page of roles."""

from flask import Flask

from tests.support.access_roles import make_role
from tests.support.console import SignIn
from vault.features.jwt.directory import SETTINGS_ISSUER


def test_roles_are_listed_and_deleted(app: Flask, signed_in: SignIn) -> None:
    """Roles are shown with their conditions, and can be deleted."""
    person = signed_in()
    make_role(app, "deploy", SETTINGS_ISSUER, claims={"sub": "ci"})
    page = person.get("roles")
    for text in ("deploy", "sub=ci", "secret:fetch"):
        assert text in page.text
    assert person.submit("roles/delete", name="deploy").headers["Location"] == "/console/roles"
    assert "deploy" not in person.get("roles").text
