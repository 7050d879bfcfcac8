"""The entries of the console in the tables of general tests."""

from flask import Flask

from tests.console.person import Person


def visit(app: Flask, token: str) -> None:
    """Sign in with *token*, and out again."""
    person = Person(app, token)
    assert person.sign_in().status_code == person.submit("sign-out").status_code == 303


#: Settings with which the service would not start, and what `config check` says.
WRONG_SETTINGS = [
    ({"OIDC_ISSUER": "https://issuer.example"}, "OIDC_CLIENT_ID: is required with OIDC_ISSUER."),
]

#: Settings that look like a mistake, and what `config check` says.
DOUBTFUL_SETTINGS = [
    (
        {"OIDC_ISSUER": "https://issuer.example", "OIDC_CLIENT_ID": "a", "OIDC_CLIENT_SECRET": "b"},
        "OIDC_ISSUER has no effect",
    ),
    ({"CONSOLE_REASON_REQUIRED": "1"}, "CONSOLE_REASON_REQUIRED has no effect without CONSOLE_ENABLED=true"),
    ({"PUBLIC_URL": "https://vault.example"}, "PUBLIC_URL has no effect without CONSOLE_ENABLED=true"),
    (
        {"PUBLIC_URL": "https://a.example", "ALLOWED_HOSTS": "b.example", "CONSOLE_ENABLED": "1"},
        "ALLOWED_HOSTS lacks the host of PUBLIC_URL: requests for it get 421",
    ),
]

#: Settings of which some are in files that are not here.
SETTINGS_ELSEWHERE = [
    {
        "OIDC_ISSUER": "https://issuer.example",
        "OIDC_CLIENT_ID": "a",
        "OIDC_CLIENT_SECRET_FILE": "/run/secrets/oidc",
        "CONSOLE_ENABLED": "1",
    },
]
