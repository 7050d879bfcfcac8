"""The console shows and takes each attribute of a secret."""

import pytest
from flask import Flask
from werkzeug.exceptions import BadRequest

from tests.support.console import SignIn, create
from vault.common.attributes import ATTRIBUTES, Attribute
from vault.features.console.secrets import _text


@pytest.mark.parametrize("one", ATTRIBUTES, ids=lambda one: one.name)
def test_pages_have_each_attribute(app: Flask, signed_in: SignIn, one: Attribute) -> None:
    """An attribute is a fact of the page, and a field of the forms for a new secret and for a change."""
    create(app, "billing/db", **{one.name: one.example})
    person = signed_in()
    page = person.get("secret", name="billing/db").text
    assert f"<dt>{one.label}</dt>" in page
    assert f'name="{one.name}"' in page
    assert f'name="{one.name}"' in person.get("new").text


def test_a_search_for_a_text_is_one_line() -> None:
    """A filter by an attribute that is a text takes one line."""
    assert _text("ops") == "ops"
    with pytest.raises(BadRequest):
        _text("two\nlines")
