"""Each attribute of a secret is declared once; the API, commands and Vault's API follow."""

import click
import pytest

from tests.support.lifecycle import Caller
from vault.cli.user.secret_records import list_secrets
from vault.cli.user.secret_values import set_value
from vault.core.attributes import ATTRIBUTES, Attribute, Description


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
