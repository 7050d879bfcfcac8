"""Each attribute of a secret is declared once; the API, commands, the console and Vault's API follow."""

import pytest
from flask import Flask

from tests.support.console import SignIn
from vault.cli.user.secret_records import list_secrets
from vault.cli.user.secret_values import set_value
from vault.core.attributes import ATTRIBUTES, Attribute, Description

_PATH = "/vault/secret/"


@pytest.mark.parametrize("one", ATTRIBUTES, ids=lambda one: one.name)
def test_an_attribute_is_declared_once(app: Flask, signed_in: SignIn, one: Attribute) -> None:
    """A create takes it, and descriptions, lists, options, the console and `custom_metadata` have it."""
    client, value = app.test_client(), one.example
    created = client.post(f"{_PATH}create", json={"secret": "YQ==", one.name: value}).get_json()
    reference = {"secret_id": created["secret_id"]}
    assert client.post(f"{_PATH}describe", json=reference).get_json()[one.name] == value
    description = Description.of({one.name: value})
    assert Description.of_pairs(description.pairs) == description
    assert not one.vault_key or description.pairs == {one.vault_key: value}
    assert f"--{one.option}" in [option for param in set_value.params for option in param.opts]
    person = signed_in()
    page = person.post("secret", **reference).text
    assert f"<dt>{one.label}</dt>" in page
    assert f'name="{one.name}"' in page
    assert f'name="{one.name}"' in person.get("new").text
    if one.filter:
        assert f"--{one.option}" in [option for param in list_secrets.params for option in param.opts]
