"""An application with the console, and people in front of it: fixtures that a `conftest.py` imports."""

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from pymongo import MongoClient

from tests.conftest import running_app
from tests.console.person import Person
from tests.support.access import make_token, services
from tests.support.databases import new_database
from tests.support.issuer import AUDIENCE, ISSUER, public_pem
from tests.support.rotation import Stored
from tests.support.trail import restore_trail
from vault.clients.dev.mongod import Mongod
from vault.common import feature
from vault.common.attributes import ATTRIBUTES, Description
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR
from vault.core.secrets.requests import NewSecret

#: A person with this role or these scopes, signed in.
SignIn = Callable[..., Person]


#: A value that a page must escape.
VALUE = b"hunter2 <b>&amp;\r\nsecond line"
#: The headers of each reply of the console.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "X-Content-Type-Options": "nosniff",
}


def create(app: Flask, name: str | None = None, value: bytes = VALUE, **options: object) -> str:
    """Create a secret, and return its ID."""
    attempt = Attempt(action=Action.CREATE, principal=OPERATOR)
    described = Description.of({one.name: options.pop(one.name, None) for one in ATTRIBUTES})
    new = NewSecret(plaintext=value, name=name, description=described, **options)  # type: ignore[arg-type]
    return services(app).secrets.create(new, attempt=attempt)


@pytest.fixture(scope="module")
def console_environment(mongod: Mongod, master_key: str) -> Iterator[dict[str, str]]:
    """Return the settings of a service with the console."""
    with new_database(mongod) as uri:
        yield {
            "MASTER_KEY": master_key,
            "MONGO_URI": uri,
            "AUTH_ENABLED": "true",
            "CONSOLE_ENABLED": "true",
            "JWT_PUBLIC_KEY": public_pem(),
            "JWT_ISSUER": ISSUER,
            "JWT_AUDIENCE": AUDIENCE,
            "FAILED_AUTH_LIMIT": "1000/minute",
        }


@pytest.fixture(scope="module")
def console_app(console_environment: dict[str, str]) -> Iterator[Flask]:
    """Run an application for all tests of a module."""
    with running_app(console_environment) as app:
        app.extensions["secret-manager"].startup.attempt()
        yield app


@pytest.fixture
def stored(console_environment: dict[str, str]) -> Iterator[Stored]:
    """Return the database of `app` as stored."""
    with MongoClient(console_environment["MONGO_URI"], tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture
def app(console_app: Flask, stored: Stored) -> Iterator[Flask]:
    """Return the application of the module, without secrets, entries, tokens, sessions and plans."""
    for name in ("secrets", "audit_logs", "tokens", "sessions", *feature.collections()):
        stored[name].delete_many({})
    console_app.extensions["secret-manager"].startup._trail._refusals.take()
    yield console_app
    restore_trail(stored)


@pytest.fixture
def someone(app: Flask) -> Person:
    """Return a person who has not signed in."""
    return Person(app)


@pytest.fixture
def signed_in(app: Flask) -> SignIn:
    """Return the function that makes a token, and signs a person in with it."""

    def sign_in(name: str = "alice", **grant: object) -> Person:
        person = Person(app, make_token(app, name, **(grant or {"role": "admin"})))  # type: ignore[arg-type]
        person.sign_in()
        return person

    return sign_in
