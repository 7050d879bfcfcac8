"""Valid settings of the console, and the messages for invalid ones."""

import json

import pytest

from tests.common.config.test_settings import load, message
from vault.common.config.summary import summary
from vault.features.console.settings import ConsoleSettings

OIDC = {"OIDC_ISSUER": "https://a.example", "OIDC_CLIENT_ID": "b", "OIDC_CLIENT_SECRET": "c"}


def test_every_setting_has_its_documented_default() -> None:
    """Without settings, there is no console."""
    assert load().of(ConsoleSettings) == ConsoleSettings(
        console_enabled=False,
        public_url=None,
        console_reason_required=False,
        oidc_issuer=None,
        oidc_client_id=None,
        oidc_client_secret=None,
    )


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"OIDC_CLIENT_ID": "a"}, "OIDC_ISSUER: is required with OIDC_CLIENT_ID."),
        (OIDC | {"OIDC_CLIENT_SECRET": ""}, "OIDC_CLIENT_SECRET: is required with OIDC_ISSUER."),
        (OIDC | {"OIDC_ISSUER": "http://a.example"}, "OIDC_ISSUER: must be https://"),
        (OIDC | {"OIDC_ISSUER": "https://a.example/?b"}, "OIDC_ISSUER: must not have a query"),
        (OIDC | {"OIDC_ISSUER": "https://hunter2@a.example"}, "OIDC_ISSUER: must not have a user name"),
        (OIDC | {"OIDC_CLIENT_SECRET": "hunter2 "}, "OIDC_CLIENT_SECRET: must have visible ASCII"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_contradiction_is_explained(environment: dict[str, str], text: str) -> None:
    """A part of the settings for sign-in, and addresses and credentials of a wrong form, are refused."""
    assert f"  {text}" in message(**environment)


@pytest.mark.promise(2)
def test_no_secret_is_logged() -> None:
    """The summary has the provider, and of the client's secret only that it is set."""
    result = summary(load(**OIDC))
    assert (result["OIDC_ISSUER"], result["OIDC_CLIENT_SECRET"]) == ("https://a.example", "set")
    assert "hunter2" not in json.dumps(summary(load(**OIDC | {"OIDC_CLIENT_SECRET": "hunter2"})))
