"""The entries of links in the tables of general tests."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from flask import Flask

from tests.features.links.conftest import Sender
from tests.support.access import bearer, make_token, services
from tests.support.command_entries import Entry, Needs
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.core.secrets.wrapping import WrappingToken
from vault.features.links.requests import Requests
from vault.features.links.shares import Shares, Terms

ENTRIES = {
    "secret request": Entry(Needs.SERVICE, ("app/db",)),
    "secret share": Entry(Needs.SERVICE, ("app/db",)),
}

#: The operations for which the token of a link is enough.
OPEN_OPERATIONS = {
    *("/vault/share/describe", "/vault/share/open"),
    *("/vault/request/describe", "/vault/request/fill"),
}
#: Those whose example has a name, which requires a credential.
NAMED_OPERATIONS = {"/vault/secret/share", "/vault/secret/request"}


def use(call: Callable[..., Any], name: str) -> None:
    """Do all that MongoDB's user must be able to, with *call* for an operation, and *name* in new names."""
    filled = {"token": call("secret/request", {"name": f"asked/{name}"})["token"], "secret": "YQ=="}
    call("request/fill", filled)
    locked = {"token": call("secret/share", {"secret": "YQ==", "passphrase": "a"})["token"]}
    call("share/open", {**locked, "passphrase": "b"}, 403)
    call("share/open", {**locked, "passphrase": "a"})


def create(app: Flask, maker: Principal) -> set[tuple[str, str]]:
    """Make a request of *maker*, whose plain revocation it does not outlast."""
    attempt = Attempt(action=Action.REQUEST, principal=maker)
    services(app).of(Requests).create(f"request-{uuid4()}", seconds=3_600, attempt=attempt)
    return set()


def release(app: Flask) -> dict[str, set[tuple[str, ...]]]:
    """Store and give values by links; return who knows each secret by its name, and how."""
    client, headers = app.test_client(), bearer(make_token(app, "sender", role="admin"))

    def call(operation: str, body: dict[str, str]) -> dict[str, str]:
        reply = client.post(f"/vault/{operation}", json=body, headers=headers)
        assert reply.status_code == 200, reply.text
        return dict(reply.json)

    asked = call("secret/request", {"name": "links/asked"})["token"]
    assert client.post("/vault/request/fill", json={"token": asked, "secret": "YQ=="}).status_code == 200
    call("secret/create", {"name": "links/shared", "secret": "YQ=="})
    shared = call("secret/share", {"name": "links/shared"})["token"]
    assert client.post("/vault/share/open", json={"token": shared}).status_code == 200
    return {
        "links/asked": {("anonymous", "write")},
        "links/shared": {("sender", "write"), ("anonymous", "unwrap")},
    }


def wrap(app: Flask, maker: Principal) -> str:
    """Share a value of *maker*; return the accessor of the wrapped reply."""
    attempt = Attempt(action=Action.FETCH, principal=maker)
    share = services(app).of(Shares).share_value(b"a", Terms(seconds=60, passphrase=""), attempt=attempt)
    return WrappingToken(share.token).accessor


def make_events(app: Flask, folder: str, value: str) -> tuple[list[tuple[str, str | None]], list[str]]:
    """Open shares and fill a request; return the kinds and names of their events, and what these hide."""
    maker = Sender(app, f"maker-{folder[0]}", role="admin")
    name, asked = f"{folder}shared", f"{folder}asked"
    maker.ask("secret/create", {"name": name, "secret": value})
    shares = [maker.share(name=name), maker.share(name=name), maker.share(secret=value)]
    request = maker.request(asked)
    for token in shares[1:]:
        maker.open("share/open", {"token": token})
    maker.open("request/fill", {"token": request, "secret": value})
    maker.open("share/open", {"token": shares[1]}, 404)
    kinds: list[tuple[str, str | None]] = [
        *(("share.opened", name), ("share.opened", None), ("request.filled", asked))
    ]
    return kinds, [*shares, request]
