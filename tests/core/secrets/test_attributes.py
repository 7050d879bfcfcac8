"""Each attribute of a secret is declared once; the API, commands and Vault's API follow."""

import click
import pytest
from marshmallow import ValidationError

from tests.support.lifecycle import Caller
from vault.clients.people.secret_records import list_secrets
from vault.clients.people.secret_values import set_value
from vault.common.attributes import ATTRIBUTES, Attribute, Description, Form
from vault.toolkit.cli import parameters
from vault.toolkit.document.fields import _ATTRIBUTE_FIELDS


def options(command: click.Command) -> set[str]:
    return {option for parameter in command.params for option in parameter.opts}


@pytest.mark.parametrize("one", ATTRIBUTES, ids=lambda one: one.name)
def test_an_attribute_is_declared_once(alice: Caller, one: Attribute) -> None:
    """A create takes it; descriptions, lists, options and `custom_metadata` have it."""
    secret_id = alice.create(name="a/b", **{one.name: one.example})
    alice.create(name="a/c")
    assert alice("describe", secret_id=secret_id)[one.name] == one.example
    wanted = {one.name: one.example} if one.filter else {}
    found = alice("list", name_prefix="a/b", **wanted)["secrets"]
    assert [secret[one.name] for secret in found] == [one.example]
    assert not one.filter or len(alice("list", **wanted)["secrets"]) == 1
    description = Description({one.name: one.example})
    assert Description.of_pairs(description.pairs) == description
    assert f"--{one.option}" in options(set_value)
    assert not one.filter or f"--{one.option}" in options(list_secrets)


def test_a_text_is_one_line() -> None:
    """An attribute that is a text is one line, in the API and for commands."""
    field = _ATTRIBUTE_FIELDS[Form.TEXT](load_default="", example="ops", description="Who owns it.")
    assert field.deserialize("ops") == parameters.label_text("ops") == "ops"
    with pytest.raises(ValidationError):
        field.deserialize("two\nlines")
    with pytest.raises(click.BadParameter):
        parameters.label_text("two\nlines")
