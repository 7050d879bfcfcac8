"""The rows of the broker in the tables of general tests."""

import secrets
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask

from tests.features.broker.conftest import NAME, Sides
from tests.support.leaks import VALUE, b64
from vault.features.broker import uses

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World
from tests.support.command_entries import Entry, Needs

ENTRIES = {"secret rules": Entry(Needs.SERVICE, ("app/db",))}

#: The refusals of operations on secrets to an administrator, who is no broker.
OUTSIDE = {"use": {"403"}, "usable": {"403"}}


def release(app: Flask) -> dict[str, set[tuple[str, ...]]]:
    """Use a secret; return who knows it, and how."""
    sides = Sides(app, app.test_client())
    sides.create()
    sides.use()
    return {NAME: {("boss", "write"), ("gate", "broker")}}


_USE, _USABLE = "/vault/secret/use", "/vault/secret/usable"
#: Tokens of both sides, and the operations of brokers.
TOKENS = {"broker": ("secret:broker",), "session": ("secret:use",)}
CALLERS = {_USE: "broker", _USABLE: "broker"}
#: What only a reply of 200 may contain.
RETURNED = {_USE: {"name", "value"}, _USABLE: {"name"}}
_RULES = {
    "use_rules": [
        {"hosts": ["a.test"], "methods": ["GET"], "paths": ["/"], "header": "X-Key", "format": "{}"},
        {"hosts": ["a.test"], "methods": ["PUT"], "paths": ["/"], "basic": "user"},
    ]
}
QUERY_CHANGES: dict[str, list[dict[str, Any]]] = {
    "/vault/secret/create": [_RULES],
    "/vault/secret/create-batch": [{"secrets": [{"secret": b64(VALUE), "name": "leaks/batch", **_RULES}]}],
    "/vault/secret/update-metadata": [_RULES],
    _USE: [{"name": NAME, "client": "192.0.2.7"}],
    _USABLE: [{"client": "192.0.2.7"}],
}


def _usable(world: "World", _send: "Send") -> dict[str, Any]:
    return {"session": world.tokens["session"]}


def _use(world: "World", send: "Send") -> dict[str, Any]:
    """Create a secret with a rule of its own; return the body of its use."""
    host = f"{secrets.token_hex(4)}.test"
    rule = {**_RULES["use_rules"][0], "hosts": [host]}
    # A header has no line end.
    value = b64(VALUE.rstrip())
    world.create(send, secret=value, name=f"leaks/{host}", use_rules=[rule])
    return {**_usable(world, send), "host": host, "method": "GET", "path": "/"}


BODIES = {_USE: _use, _USABLE: _usable}


def conflicts(world: "World", send: "Send") -> None:
    """Use what two secrets have a rule for, and list too many."""
    body = _use(world, send)
    rule = {**_RULES["use_rules"][0], "hosts": [body["host"]]}
    world.create(send, name=f"leaks/{body['host']}/other", use_rules=[rule])
    # The rules of a host are cached for some seconds.
    assert world.ask(send, _USE, {**body, "path": "/b"}, world.caller(_USE)) == 409
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uses, "MAX_USABLE", 1)
        # A service in another process has its own limit.
        assert world.ask(send, _USABLE, _usable(world, send), world.caller(_USABLE)) in (200, 409)
