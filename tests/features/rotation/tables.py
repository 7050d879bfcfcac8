"""The rows of rotation in the tables of general tests."""

import json
import secrets
from base64 import b64encode
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from flask import Flask

from tests.support.access import services
from tests.support.command_entries import of_mongodb
from tests.support.leaks import NAME, VALUE, b64
from vault.common.timestamps import to_milliseconds
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, Principal, Scope
from vault.core.secrets.requests import NewSecret
from vault.features.rotation.documents import Rotation
from vault.features.rotation.plans import NewRotation, Rotations
from vault.features.rotation.sources.source import SourceKind

if TYPE_CHECKING:
    from tests.system.leaks_world import Send, World

ENTRIES = {
    "rotation create": of_mongodb(
        *("app/db", "--kind", "command", "--admin", "app/admin"),
        *("--user", "a", "--user", "b", "--every", "30d"),
        own_test=True,
    ),
    "rotation delete": of_mongodb("app/db", own_test=True),
    "rotation list": of_mongodb(own_test=True),
    "rotation pause": of_mongodb("app/db", own_test=True),
    "rotation run": of_mongodb("app/db", own_test=True),
    "rotation show": of_mongodb("app/db", own_test=True),
}

#: The further scopes that operations require.
FURTHER_SCOPES = dict.fromkeys(
    ("/vault/rotation/create", "/vault/rotation/run"), (Scope.SECRET_FETCH, Scope.SECRET_UPDATE)
)

#: Programs that accept all passwords, and none.
LEAK_SETTINGS = {"ROTATION_COMMANDS": "/bin/true,/bin/false"}
#: What only a reply of 200 may contain, of secrets.
RETURNED = {
    **{
        f"/vault/rotation/{one}": {"name"}
        for one in ("create", "list", "show", "run", "pause", "delete", "release")
    },
    "/vault/rotation/waiting": {"id", "name"},
}
#: Operations that need nothing of their own, each with a valid body, and changes to valid bodies.
QUERIES: dict[str, dict[str, Any]] = {"/vault/rotation/list": {}, "/vault/rotation/waiting": {}}
QUERY_CHANGES = {"/vault/rotation/create": [{"field": "password", "grace_seconds": 60}]}


def _new_plan(world: "World", send: "Send", program: str = "/bin/true") -> dict[str, Any]:
    """Return a new plan with this *program* as its source."""
    name, admin = (f"{NAME}/{secrets.token_hex(4)}" for _ in range(2))
    # A user has one plan.
    users = [f"{one}{secrets.token_hex(4)}" for one in "ab"]
    value = json.dumps({"username": users[0], "password": b64(VALUE)}).encode()
    world.create(send, name=name, secret=b64(value))
    world.create(send, name=admin, secret=b64(program.encode()))
    return {"name": name, "kind": "command", "admin": admin, "users": users, "every_seconds": 60}


def _planned(world: "World", send: "Send", program: str = "/bin/true") -> dict[str, Any]:
    """Create a plan, and return the name of its secret."""
    new = _new_plan(world, send, program)
    world.reply(send, "/vault/rotation/create", new)
    return {"name": new["name"]}


def _waiting(world: "World", send: "Send") -> dict[str, Any]:
    """Run a plan, and return the body that releases its former password."""
    named = _planned(world, send)
    world.reply(send, "/vault/rotation/run", named)
    return {**named, "version": 2, "tasks": ["t1"]}


#: Valid bodies that need something.
BODIES: dict[str, Callable[["World", "Send"], dict[str, Any]]] = {
    **dict.fromkeys((f"/vault/rotation/{one}" for one in ("show", "run", "pause", "delete")), _planned),
    "/vault/rotation/create": _new_plan,
    "/vault/rotation/release": _waiting,
}


def conflicts(world: "World", send: "Send") -> None:
    """Make and run a plan twice, and run one whose source refuses."""
    admin = world.tokens["admin"]
    plan = _new_plan(world, send)
    assert [world.ask(send, "/vault/rotation/create", plan, admin) for _ in range(2)] == [200, 409]
    named = {"name": plan["name"]}
    assert [world.ask(send, "/vault/rotation/run", named, admin) for _ in range(2)] == [200, 409]
    failing = _planned(world, send, "/bin/false")
    assert world.ask(send, "/vault/rotation/run", failing, admin) == 424


SCREENS = {"rotations": ("rotation:manage", "rotation_list")}

#: A secret with a plan, which the console shows in a browser.
ROTATED = "shop/db"
#: The program accepts all passwords.
CONSOLE_SETTINGS = {"ROTATION_COMMANDS": "/bin/true"}
CONSOLE_ADDRESSES = (
    f"rotation?name={quote(ROTATED, safe='')}",
    "rotations",
    f"secret?name={quote(ROTATED, safe='')}",
)


def fill_console(app: Flask, mark: str) -> None:
    """Create a secret with *mark* as password and a plan, which waits for a holder after one run."""
    creation = Attempt(action=Action.CREATE, principal=OPERATOR)
    value = json.dumps({"username": "shop_a", "password": mark}).encode()
    for name, plaintext in ((ROTATED, value), ("shop/admin", b"/bin/true")):
        services(app).secrets.create(NewSecret(plaintext=plaintext, name=name), attempt=creation)
    new = NewRotation(
        name=ROTATED,
        kind=SourceKind.COMMAND,
        admin="shop/admin",
        users=("shop_a", "shop_b"),
        every_seconds=86_400,
    )
    attempt = Attempt(action=Action.ROTATION_CREATE, principal=OPERATOR)
    services(app).of(Rotations).create(new, attempt=attempt)


def use(call: Callable[..., Any], name: str) -> None:
    """Do all that MongoDB's user must be able to, with *call* for an operation, and *name* in new names."""
    source = b64encode(b"postgresql://127.0.0.1:1/").decode()
    admin = call("secret/create", {"secret": source, "name": f"{name}-admin"})
    value = b64encode(b'{"username": "a", "password": "p"}').decode()
    named = {"name": f"{name}-db"}
    call("secret/create", {"secret": value, **named})
    plan = {**named, "admin": f"{name}-admin", "kind": "postgresql", "users": ["a", "b"]}
    call("rotation/create", {**plan, "every_seconds": 60})
    call("rotation/list", {})
    call("rotation/run", named, 424)
    call("rotation/delete", named)
    call("secret/delete", admin)
    call("secret/delete", named)


def create(app: Flask, maker: Principal) -> set[tuple[str, str]]:
    """Store two plans of *maker*, one of them paused; return the kind and name of what its end concerns."""
    part = secrets.token_hex(4)
    for name in (f"plan-{part}", f"paused-{part}"):
        _plan(app, name, maker.name, is_paused=name.startswith("paused"))
    return {("rotation", f"plan-{part}")}


def _plan(app: Flask, name: str, created_by: str, *, is_paused: bool) -> None:
    """Store a plan, without a source."""
    key = services(app).tokens._keys.find_or_make()
    later = to_milliseconds(datetime.now(UTC) + timedelta(days=365))
    plan = Rotation(
        id=Rotation.id_of("default", name),
        namespace="default",
        name=name,
        kind="command",
        secret_id=name,
        admin="admin",
        server="none",
        users=["a", "b"],
        every_seconds=3_600,
        grace_seconds=0,
        created_at=to_milliseconds(datetime.now(UTC)),
        created_by=created_by,
        is_paused=is_paused or None,
        revision=0,
        next_at=later,
        check_at=later,
    )
    plan.close(key)
    plan.store()
    plan.activate()
