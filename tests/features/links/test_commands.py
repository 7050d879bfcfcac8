"""The commands `secret share` and `secret request`."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.support.access import post
from tests.support.people import Person
from vault.toolkit.client.http import Failure, HTTPClient, Reply, RequestFailedError
from vault.toolkit.client.service import Service

NAME = "billing/db-password"
PAGE = "http://localhost:8000/console/"


@pytest.fixture
def environment(environment: dict[str, str]) -> dict[str, str]:
    """Return the settings of a service with the console."""
    return environment | {"CONSOLE_ENABLED": "true"}


@pytest.fixture
def someone(app: Flask) -> FlaskClient:
    """Return the client of someone without a token."""
    return app.test_client()


def opened(someone: FlaskClient, link: str, **more: str) -> Any:
    """Return the value behind *link*."""
    assert link.startswith(f"{PAGE}share#smw_")
    return post(someone, "/vault/share/open", {"token": link.strip().partition("#")[2], **more})["secret"]


def test_a_secret_or_a_value_is_shared(person: Person, someone: FlaskClient) -> None:
    """`share` prints the link alone; with `--json`, also the token and its expiry."""
    person.does("secret", "set", NAME, "-q", send=b"hunter1")
    assert opened(someone, person.does("secret", "share", NAME)) == "aHVudGVyMQ=="
    [found] = person.sees("secret", "share", NAME, "--ttl", "15m")
    assert found["url"] == f"{PAGE}share#{found['token']}"
    assert found["expires_at"].endswith("Z")
    assert opened(someone, person.does("secret", "share", "-", send=b"\xff\n")) == "/wo="
    assert "none" in person.fails_to("secret", "share", "none", code=3)
    assert person.try_to("secret", "share", NAME, "--ttl", "31d").exit_code == 2
    assert person.try_to("secret", "share", "-", "--passphrase", send=b"x").exit_code == 2


def test_a_passphrase_is_never_an_argument(person: Person, someone: FlaskClient) -> None:
    """It is typed twice at a hidden prompt, or is the first line of standard input; not an empty one."""
    person.does("secret", "set", NAME, "-q", send=b"hunter1")
    link = person.does("secret", "share", NAME, "--passphrase", send=b"opensesame\nmore\n")
    assert opened(someone, link, passphrase="opensesame") == "aHVudGVyMQ=="
    person.fails_to("secret", "share", NAME, "--passphrase", code=1, send=b"\n")
    person.sit_at_terminal("<stdin>")
    asked = b"opensesame\nopensesame\nvalue\nvalue\n"
    done = person.try_to("secret", "share", "-", "--passphrase", send=asked)
    assert "opensesame" not in done.stdout + done.stderr
    assert opened(someone, done.stdout, passphrase="opensesame") == "dmFsdWU="
    person.fails_to("secret", "share", NAME, "--passphrase", code=1, send=b"one\nother\n")


def test_a_value_is_requested(person: Person, someone: FlaskClient) -> None:
    """`request` prints a link by which someone stores the value of a new secret."""
    link = person.does("secret", "request", NAME, "--max-bytes", 5).strip()
    assert link.startswith(f"{PAGE}request#smr_")
    filling = {"token": link.partition("#")[2], "secret": "aHVudA=="}
    post(someone, "/vault/request/fill", filling)
    assert person.does("secret", "get", NAME) == "hunt"
    assert NAME in person.fails_to("secret", "request", NAME, code=1)
    assert person.try_to("secret", "request", "550e8400-e29b-41d4-a716-446655440000").exit_code == 2


def test_a_reply_without_a_token_is_none(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A service that replies with something else is named as such."""
    monkeypatch.setattr("vault.toolkit.client.service.Service.call", lambda *_: {"token": 1})
    person.fails_to("secret", "share", NAME, code=5)


def test_the_public_address_comes_first(person: Person, app: Flask) -> None:
    """If the service knows the address for people, the link begins with that."""
    app.config["PUBLIC_URL"] = "https://secrets.example"
    link = person.does("secret", "request", "billing/public")
    assert link.startswith("https://secrets.example/console/request#smr_")
    assert "/console/request" not in person.calls


def test_without_a_console_there_is_no_link(
    person: Person, someone: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the service has no page for people, the token alone is printed, and the call that takes it."""
    request = HTTPClient.request
    broken = RequestFailedError(Failure.LATE)

    def without_pages(client: HTTPClient, method: str, target: str, **options: Any) -> Reply:
        if target == "/console/share":
            return Reply(404, b"")
        if target == "/console/request":
            raise broken
        return request(client, method, target, **options)

    monkeypatch.setattr(HTTPClient, "request", without_pages)
    done = person.try_to("secret", "share", "-", send=b"hunter1")
    assert done.stdout.startswith("smw_")
    assert "POST /vault/share/open" in done.stderr
    token = {"token": done.stdout.strip()}
    assert post(someone, "/vault/share/open", token)["secret"] == "aHVudGVyMQ=="
    assert person.does("secret", "request", NAME).startswith(f"{PAGE}request#smr_")


@pytest.mark.parametrize("odd", [{"url": 1}, {"token": None}])
def test_an_odd_link_is_an_error(
    person: Person, monkeypatch: pytest.MonkeyPatch, odd: dict[str, Any]
) -> None:
    """A link is a text."""
    link = {"token": "t", "expires_at": "2026-11-24T00:00:00Z", **odd}
    monkeypatch.setattr(Service, "call", lambda *_, **__: link)
    assert "not as this service does" in person.fails_to("secret", "share", NAME, code=5)
