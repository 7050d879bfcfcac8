"""The entries of links in the tables of general tests."""

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from flask import Flask

from tests.features.links.conftest import Sender
from tests.support.access import bearer, make_token, services
from tests.support.command_entries import Entry, Needs
from tests.support.leaks import NAME, PASSWORD, VALUE, b64
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.core.secrets.wrapping import WrappingToken
from vault.features.links.requests import Requests
from vault.features.links.shares import Shares, Terms

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World

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
#: Operations on secrets that take a new name.
NEW_NAMES = {"request"}

_SHARE, _REQUEST = "/vault/secret/share", "/vault/secret/request"
#: What only a reply of 200 may contain.
RETURNED = {
    _SHARE: {"new token"},
    _REQUEST: {"new token"},
    "/vault/share/open": {"value"},
    "/vault/request/describe": {"name"},
}


def _link(path: str) -> Callable[["World", "Send"], dict[str, Any]]:
    """Return a function that makes a share or a request, and returns its token."""

    def make(world: "World", send: "Send") -> dict[str, Any]:
        return {"token": world.reply(send, path, world.good_body(send, path))["token"]}

    return make


#: Valid bodies that need something, and changes to valid bodies.
BODIES: dict[str, Callable[["World", "Send"], dict[str, Any]]] = {
    _REQUEST: lambda _world, _send: {"name": f"{NAME}/{secrets.token_hex(4)}"},
    "/vault/share/describe": _link(_SHARE),
    "/vault/share/open": _link(_SHARE),
    "/vault/request/describe": _link(_REQUEST),
    "/vault/request/fill": lambda world, send: {**_link(_REQUEST)(world, send), "secret": b64(VALUE)},
}
QUERY_CHANGES: dict[str, list[dict[str, Any]]] = {
    _SHARE: [
        {"ttl_seconds": 60, "passphrase": PASSWORD},
        {"secret_id": None, "secret": b64(VALUE)},
        {"secret_id": None, "name": NAME},
    ],
    _REQUEST: [{"ttl_seconds": 60, "max_bytes": 9}],
    "/vault/share/open": [{"passphrase": PASSWORD}],
}


def conflicts(world: "World", send: "Send") -> None:
    """Ask for a value of a secret that has one, and open a share with another passphrase."""
    admin = world.tokens["admin"]
    body = world.good_body(send, _REQUEST)
    token = world.reply(send, _REQUEST, body)["token"]
    world.reply(send, "/vault/secret/create", {**body, "secret": b64(VALUE)})
    assert world.ask(send, _REQUEST, body, admin) == 409
    assert world.ask(send, "/vault/request/fill", {"token": token, "secret": b64(VALUE)}) == 409
    share = {**world.good_body(send, _SHARE), "passphrase": PASSWORD}
    locked = {"token": world.reply(send, _SHARE, share)["token"], "passphrase": f"{PASSWORD}x"}
    assert world.ask(send, "/vault/share/open", locked) == 403


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
