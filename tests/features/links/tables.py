"""The entries of links in the tables of general tests."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import Entry, Needs
from vault.core.attempt import Action, Attempt
from vault.core.principal import Principal
from vault.features.links.requests import Requests

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
