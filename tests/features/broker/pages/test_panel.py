"""The panel about uses on the page of a secret."""

import pytest
from flask import Flask

from tests.features.broker.conftest import NAME, VALUE, Sides
from tests.support.console import SignIn, create
from tests.support.features import requires

pytestmark = requires("console")


@pytest.fixture
def ruled(sides: Sides) -> Sides:
    """Return the sides of a secret with a rule."""
    sides.create()
    return sides


def test_it_shows_rules_and_last_uses(ruled: Sides, signed_in: SignIn) -> None:
    """It has where the value may go and who used it, not the value."""
    person = signed_in()
    assert "None is on record." in person.get("secret", name=NAME).text
    ruled.use()
    page = person.get("secret", name=NAME).text
    for text in ("api.stripe.com", "/v1/refunds/", "Authorization: Bearer {}", "agent-7", "via_broker: gate"):
        assert text in page
    assert VALUE not in page


def test_a_user_of_basic_authentication_is_shown(sides: Sides, signed_in: SignIn) -> None:
    """The rule has the user's name in place of a format."""
    sides.create(rules=[{"hosts": ["a.test"], "methods": ["GET"], "paths": ["/"], "basic": "deploy"}])
    assert "Basic of deploy:" in signed_in().get("secret", name=NAME).text


def test_uses_need_the_scope_of_the_trail(ruled: Sides, signed_in: SignIn) -> None:
    """Those who may not read the trail see the rules only."""
    ruled.use()
    page = signed_in("describer", scopes=("secret:list", "secret:describe")).get("secret", name=NAME).text
    assert "Use rules" in page
    assert "agent-7" not in page


def test_a_secret_without_rules_has_no_panel(app: Flask, signed_in: SignIn) -> None:
    """It is not there where nothing can be used."""
    create(app, "billing/db")
    assert "Use rules" not in signed_in().get("secret", name="billing/db").text
