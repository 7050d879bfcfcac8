"""Requests with marked secrets, credentials and keys, for every answer of every operation."""

import json
import re
import secrets
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import takewhile
from typing import Any
from urllib.parse import quote

from tests.service.site.test_docs_page import content_of_body, of_rest, operations
from tests.support.features import tables
from tests.support.issuer import AUDIENCE, ISSUER, UNPUBLISHED_KEY, public_pem, sign
from tests.support.leaks import NAME, Marks, Output
from tests.support.lifecycle import UNKNOWN_ID

#: No form of it can be mistaken for a name.
VALUE = f"a value § /+?{secrets.token_hex(12)}!\n".encode()
OTHER_VALUE = secrets.token_bytes(24)
KEYS = (secrets.token_bytes(32), secrets.token_bytes(32))
PASSWORD = secrets.token_urlsafe(18)
IDEMPOTENCY_KEY = secrets.token_urlsafe(18)
LABEL = secrets.token_hex(12)
BODY_LIMIT = 64 * 1_024
#: Documented answers with fixed texts, given without reading a body: tests/server/test_worker.py.
FIXED = {"405", "414", "417", "431", "default"}


def b64(value: bytes) -> str:
    return b64encode(value).decode()


BY_NAME = {"secret_id": None, "name": NAME}
#: The task of a fetch, and its refusal.
DELIVERY = {
    "service": "shop_api",
    "service_id": "s1",
    "task": "shop_api.1.t1",
    "task_id": "t1",
    "node": "n1",
    "image": "api:1",
    "refusal": "policy",
}
MASTER_KEYS = {"MASTER_KEY": b64(KEYS[0]), "MASTER_KEY_FALLBACKS": b64(KEYS[1])}
#: No server listens there: each worker counts alone and logs that.
ELSEWHERE = f"mongodb://{quote(PASSWORD)}:{quote(PASSWORD)}@127.0.0.1:1/?serverSelectionTimeoutMS=10"
SETTINGS = {
    **MASTER_KEYS,
    "FAILED_AUTH_LIMIT": "100000/second",
    "AUTH_ENABLED": "true",
    "DELETE_RECOVERY_DAYS": "1",
    "MAX_SECRET_BYTES": "1024",
    "LOG_LEVEL": "debug",
    "JWT_PUBLIC_KEY": public_pem(),
    "JWT_ISSUER": ISSUER,
    "JWT_AUDIENCE": AUDIENCE,
    "PKCS11_PIN": PASSWORD,
    "TRANSIT_TOKEN": PASSWORD,
    "ROTATION_COMMANDS": "/bin/true,/bin/false",
}

SHARE, REQUEST = "/vault/secret/share", "/vault/secret/request"
#: The values that only a reply of 200 may contain.
RETURNED = {
    "/vault/secret/create": {"id"},
    "/vault/secret/create-batch": {"id"},
    "/vault/secret/fetch": {"value"},
    "/vault/secret/fetch-batch": {"id", "name", "value"},
    "/vault/secret/update": {"id"},
    "/vault/secret/update-metadata": {"id"},
    "/vault/secret/describe": {"id", "name", "label"},
    "/vault/secret/delete": {"id"},
    "/vault/secret/restore": {"id"},
    "/vault/secret/purge": {"id"},
    "/vault/secret/list": {"id", "name", "label"},
    SHARE: {"new token"},
    "/vault/share/open": {"value"},
    REQUEST: {"new token"},
    "/vault/request/describe": {"name"},
    "/vault/audit/query": {"id", "name"},
    "/vault/token/create": {"new token"},
    # Their paths.
    "/vault/token/list": {"name"},
    "/vault/role/list": {"name"},
    "/vault/webhook/create": {"new token"},
    "/vault/webhook/list": {"name"},
    # Of their secrets.
    **{
        f"/vault/rotation/{one}": {"name"}
        for one in ("create", "list", "show", "run", "pause", "delete", "release")
    },
    "/vault/rotation/waiting": {"id", "name"},
    **{path: kinds for some in tables("RETURNED") for path, kinds in some.items()},
}
REVOKE_SELF = "/vault/token/revoke-self"
WEBHOOK_CREATE = "/vault/webhook/create"
#: Operations that need no secret of their own, each with a valid body.
QUERIES: dict[str, dict[str, Any]] = {
    "/vault/secret/list": {"name_prefix": NAME, "labels": {"mark": LABEL}},
    "/vault/audit/query": {},
    "/vault/token/list": {},
    "/vault/token/self": {},
    "/vault/token/renew": {},
    "/vault/role/list": {},
    "/vault/issuer/list": {},
    "/vault/webhook/list": {},
    "/vault/rotation/list": {},
    "/vault/rotation/waiting": {},
    WEBHOOK_CREATE: {"url": "https://hooks.invalid/x", "events": ["secret.updated"]},
    **{path: body for some in tables("QUERIES") for path, body in some.items()},
}
#: The fields of changes, except those that identify the secret.
CHANGES: dict[str, dict[str, Any]] = {
    "update": {"secret": b64(OTHER_VALUE)},
    "update-metadata": {"labels": {"mark": LABEL}, "ttl_seconds": 60},
}
#: Some operations, if a process is searched in which the others differ in nothing.
FEW = ("/vault/secret/create", "/vault/secret/fetch-batch", "/vault/token/create", REVOKE_SELF)
#: By operation, changes to its valid body, so that some body has each field; null removes a field.
REST: dict[str, list[dict[str, Any]]] = {
    "/vault/secret/create": [{"ttl_seconds": 60, "max_reads": 2, "canary": True}],
    "/vault/secret/create-batch": [
        {"secrets": [{"secret": b64(VALUE), "ttl_seconds": 60, "max_reads": 2, "canary": True}]}
    ],
    "/vault/rotation/create": [{"field": "password", "grace_seconds": 60}],
    "/vault/secret/fetch": [BY_NAME, {"version": 1, "delivery": DELIVERY}],
    "/vault/secret/fetch-batch": [
        {"secrets": [{"name": NAME, "version": 1, "delivery": DELIVERY}]},
        {"secrets": None, "name_prefix": NAME},
    ],
    **{f"/vault/secret/{action}": [BY_NAME] for action in ("update", "describe", "delete", "restore")},
    "/vault/secret/update-metadata": [BY_NAME, {"ttl_seconds": None, "never_expires": True}],
    "/vault/secret/purge": [BY_NAME, {"version": 1}],
    "/vault/secret/list": [{"limit": 1, "deleted": True}, {"search": LABEL, "expires_within": 60}],
    SHARE: [{"ttl_seconds": 60, "passphrase": PASSWORD}, {"secret_id": None, "secret": b64(VALUE)}, BY_NAME],
    REQUEST: [{"ttl_seconds": 60, "max_bytes": 9}],
    "/vault/share/open": [{"passphrase": PASSWORD}],
    "/vault/audit/query": [
        {"since": "2026-01-01T00:00:00Z", "action": "fetch", "principal": "admin", "limit": 1},
        {"until": "2126-01-01T00:00:00Z", "order": "newest_first"},
        {"name": NAME, "namespace": "default", "status": "success"},
    ],
    "/vault/token/create": [
        {"scopes": ["secret:fetch"], "namespace": "default", "networks": ["127.0.0.1"], "paths": [NAME]},
        {"expires_in": 60, "renewable": True, "max_age": 120},
        {"role": "auditor", "all_namespaces": True},
    ],
    "/vault/token/list": [{"limit": 1, "unused_for": 60, "state": "active"}],
    "/vault/token/revoke": [{"cascade": True}],
    "/vault/token/renew": [{"expires_in": 60}],
    REVOKE_SELF: [{"cascade": True}],
    "/vault/role/create": [
        {"namespace": "default", "networks": ["127.0.0.1"], "paths": [NAME], "max_age": 60},
        {"claim_globs": {"aud": "x*"}},
        {"scopes": ["audit:read"], "all_namespaces": True},
    ],
    "/vault/role/list": [{"state": "active"}],
    "/vault/issuer/create": [
        {"public_key": None, "jwks_url": "https://keys.example/jwks", "algorithms": ["RS256"]}
    ],
    "/vault/issuer/list": [{"state": "active"}],
    "/vault/issuer/delete": [{"force": True}],
    WEBHOOK_CREATE: [{"paths": [NAME]}],
    **{path: changes for some in tables("QUERY_CHANGES") for path, changes in some.items()},
}
#: Fields of issuers and roles that can be any text, are not secret, and are listed.
CONFIGURED = {"issuer", "audience"}
#: Stored in the database unencrypted. Contains no values, credentials or keys.
STORED = frozenset({"id", "name", "label"})

Send = Callable[..., tuple[int, str]]


class World:
    """The inputs of the requests, their outputs, and the marks to search for."""

    def __init__(self, document: dict[str, Any], tokens: dict[str, str]) -> None:
        self.tokens = tokens
        self.operations = [
            (path, operation)
            for path, method, operation in of_rest(document)
            if method == "post" and "requestBody" in operation
        ]
        self.marks = Marks(
            value=VALUE,
            other_value=OTHER_VALUE,
            key=KEYS[0],
            fallback=KEYS[1],
            password=PASSWORD,
            idempotency_key=IDEMPOTENCY_KEY,
            name=NAME,
            label=LABEL,
        )
        for kind, token in tokens.items():
            self.marks.add(f"token of {kind}", token)
        #: The token that revokes itself next.
        self.expendable = ""
        self.outputs: list[Output] = []
        self.seen: dict[str, set[int]] = defaultdict(set)
        self._schemas = document["components"]["schemas"]
        #: By method and path, the fields of a body that no request has had yet.
        self.unsent = {
            (method.upper(), path): set(self._fields(content_of_body(operation)["schema"]))
            for path, method, operation in operations(document)
            if "requestBody" in operation
        }

    def _fields(self, schema: dict[str, Any], prefix: str = "") -> Iterator[str]:
        """Yield the fields of *schema* and of the objects in it, with dots between their names."""
        if "$ref" in schema:
            schema = self._schemas[schema["$ref"].rpartition("/")[2]]
        for part in (*schema.get("allOf", ()), *filter(None, [schema.get("items")])):
            yield from self._fields(part, prefix)
        for name, inner in schema.get("properties", {}).items():
            yield f"{prefix}{name}"
            yield from self._fields(inner, f"{prefix}{name}.")

    def sent(self, method: str, path: str, body: Any) -> None:
        """Take note of the fields of *body*."""
        for (its_method, template), fields in self.unsent.items():
            pattern = re.sub(r"\\{\w+\\}", ".+", re.escape(template))
            if its_method == method and re.fullmatch(pattern, path):
                fields.difference_update(names_in(body))

    def jwt(self, **changes: Any) -> str:
        """Return a JWT and add it to the marks."""
        made = sign(jti=secrets.token_hex(12), **changes)
        # Only the unique part: names of algorithms are not secret.
        _, body, signature = made.split(".")
        self.marks.add("JWT", body[24:])
        self.marks.add("JWT", signature)
        return made

    def ask(self, send: Send, path: str, body: Any, credential: str | None = None, **headers: str) -> int:
        """Send *body*, as JSON unless it is bytes; keep the reply and return its status."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        if path == REVOKE_SELF and credential == self.tokens["admin"]:
            credential = self.expendable
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        status, text = send("POST", path, data, {"Content-Type": "application/json", **headers})
        self.sent("POST", path, body)
        # Errors are reported by field and by label.
        returned = {200: RETURNED.get(path, set()), 422: {"label"}}.get(status, set())
        if status == 200:
            reply = json.loads(text.partition("\n\n")[2])
            for secret in (reply, *reply.get("secrets", ())):
                if "secret_id" in secret:
                    self.marks.add("id", secret["secret_id"])
            if "token" in reply:
                self.marks.add("new token", reply["token"])
            if path == WEBHOOK_CREATE:
                self.marks.add("new token", reply["secret"])
        self.outputs.append(Output(f"{status} of {path}", text, frozenset(returned)))
        self.seen[path].add(status)
        return status

    def create(self, send: Send, **more: Any) -> str:
        """Create a secret with the marked value and return its ID."""
        body = {"secret": b64(VALUE), "labels": {"mark": LABEL}, **more}
        headers = {"Idempotency-Key": IDEMPOTENCY_KEY + secrets.token_hex(4)}
        assert self.ask(send, "/vault/secret/create", body, self.tokens["admin"], **headers) == 200
        return str(json.loads(self.outputs[-1].text.partition("\n\n")[2])["secret_id"])

    def good_body(self, send: Send, path: str) -> dict[str, Any]:
        """Return a body that is valid for *path*."""
        if path == "/vault/secret/create-batch":
            return {"secrets": [self.good_body(send, "/vault/secret/create"), {"secret": b64(OTHER_VALUE)}]}
        if path == "/vault/secret/fetch-batch":
            name = f"{NAME}/{secrets.token_hex(4)}"
            ids = [self.create(send, name=name), self.create(send)]
            return {"secrets": [{"name": name}, *({"secret_id": secret_id} for secret_id in ids)]}
        if path.startswith(("/vault/role/", "/vault/issuer/")) and path not in QUERIES:
            return self._trusted(send, path)
        if path.startswith(("/vault/share/", "/vault/request/")) or path == REQUEST:
            return self._linked(send, path)
        if path.startswith("/vault/webhook/") and path not in QUERIES:
            return {"webhook_id": self.webhook(send)}
        if path.startswith("/vault/rotation/") and path not in QUERIES:
            return self._rotation(send, path)
        return dict(QUERIES[path]) if path in QUERIES else self._body(send, path)

    def _body(self, send: Send, path: str) -> dict[str, Any]:
        match path.strip("/").split("/")[1:]:
            case ["secret", "create"]:
                name = f"{NAME}/{secrets.token_hex(4)}"
                return {"secret": b64(VALUE), "name": name, "labels": {"mark": LABEL}}
            case ["secret", "update" | "update-metadata" as action]:
                return {"secret_id": self.create(send), **CHANGES[action]}
            case ["secret", "restore" | "purge"]:
                body = {"secret_id": self.create(send)}
                assert self.ask(send, "/vault/secret/delete", body, self.tokens["admin"]) == 200
                return body
            case ["secret", _]:
                return {"secret_id": self.create(send)}
            case ["token", "create"]:
                return {"name": f"t-{secrets.token_hex(4)}", "role": "reader"}
            case ["token", "revoke-self"]:
                body = {"name": f"t-{secrets.token_hex(4)}", "role": "reader"}
                assert self.ask(send, "/vault/token/create", body, self.tokens["admin"]) == 200
                self.expendable = json.loads(self.outputs[-1].text.partition("\n\n")[2])["token"]
                return {}
            case ["token", "revoke"]:
                name = f"t-{secrets.token_hex(4)}"
                body = {"name": name, "role": "reader"}
                assert self.ask(send, "/vault/token/create", body, self.tokens["admin"]) == 200
                return {"name": name}
        raise AssertionError(f"{path} has no body here")

    def _linked(self, send: Send, path: str) -> dict[str, Any]:
        """Return the name of a new request, or the token of a new link."""
        if path == REQUEST:
            return {"name": f"{NAME}/{secrets.token_hex(4)}"}
        token = {"token": self.link(send, SHARE if path.startswith("/vault/share/") else REQUEST)}
        return token | ({"secret": b64(VALUE)} if path.endswith("/fill") else {})

    def link(self, send: Send, path: str, **more: Any) -> str:
        """Return the token of a new share or request."""
        assert self.ask(send, path, self.good_body(send, path) | more, self.tokens["admin"]) == 200
        return str(json.loads(self.outputs[-1].text.partition("\n\n")[2])["token"])

    def _rotation(self, send: Send, path: str) -> dict[str, Any]:
        """Return a new rotation plan, or the name of one."""
        if path.endswith("/create"):
            return self.plan(send, "/bin/true")
        named = {"name": self.planned(send, "/bin/true")}
        if path.endswith("/release"):
            assert self.ask(send, "/vault/rotation/run", named, self.tokens["admin"]) == 200
            return {**named, "version": 2, "tasks": [DELIVERY["task_id"]]}
        return named

    def plan(self, send: Send, program: str) -> dict[str, Any]:
        """Return a new rotation plan with this *program* as its source."""
        name, admin = (f"{NAME}/{secrets.token_hex(4)}" for _ in range(2))
        # A user has one plan.
        users = [f"{one}{secrets.token_hex(4)}" for one in "ab"]
        value = json.dumps({"username": users[0], "password": b64(VALUE)}).encode()
        self.create(send, name=name, secret=b64(value))
        self.create(send, name=admin, secret=b64(program.encode()))
        return {"name": name, "kind": "command", "admin": admin, "users": users, "every_seconds": 60}

    def planned(self, send: Send, program: str) -> str:
        """Create a rotation plan, and return the name of its secret."""
        new = self.plan(send, program)
        assert self.ask(send, "/vault/rotation/create", new, self.tokens["admin"]) == 200
        return str(new["name"])

    def webhook(self, send: Send) -> str:
        """Create a webhook and return its ID; empty if there are as many as there can be."""
        status = self.ask(send, WEBHOOK_CREATE, QUERIES[WEBHOOK_CREATE], self.tokens["admin"])
        assert status in (200, 409)
        reply = json.loads(self.outputs[-1].text.partition("\n\n")[2])
        return str(reply["webhook_id"]) if status == 200 else ""

    def _trusted(self, send: Send, path: str) -> dict[str, Any]:
        """Return a new issuer or role, or the name of one to delete."""
        name = f"n-{secrets.token_hex(4)}"
        new: dict[str, Any] = {"name": name, "issuer": name, "audience": AUDIENCE, "public_key": public_pem()}
        if path.startswith("/vault/role/"):
            new = {"name": name, "issuer": "default", "claims": {"sub": "a"}, "scopes": ["secret:list"]}
        if path.endswith("/create"):
            return new
        assert self.ask(send, path.replace("delete", "create"), new, self.tokens["admin"]) == 200
        return {"name": name}


def names_in(body: Any, prefix: str = "") -> Iterator[str]:
    """Yield the names of all fields in *body*, with dots between those of objects in it."""
    for part in body if isinstance(body, list) else [body]:
        for name, inner in part.items() if isinstance(part, dict) else ():
            yield f"{prefix}{name}"
            yield from names_in(inner, f"{prefix}{name}.")


def bad_bodies(good: dict[str, Any]) -> Iterator[Any]:
    """Yield bodies that are refused for every credential, with marks in every possible place."""
    whole = json.dumps({**good, "secret": b64(VALUE)}).encode()
    yield from (whole[:-1], whole + b"}", b"\xff" + whole, VALUE, b'{"secret": NaN, "a": "%s"}' % VALUE[:9])
    yield b'{"secret": "%s", "secret": "%s"}' % (b64encode(VALUE), b64encode(OTHER_VALUE))
    yield from ([b64(VALUE)], b64(VALUE), [good])
    for field in {*good, "secret", "secret_id", "labels", "cursor"} - CONFIGURED:
        # Base64 alone could be a name.
        for wrong in (VALUE.decode(), f"{b64(VALUE)}*", {LABEL: VALUE.decode()}, [VALUE.decode()]):
            yield {**good, field: wrong}
            if "secrets" in good:
                yield {"secrets": [*good["secrets"], {**good["secrets"][0], field: wrong}]}


def exhaust(world: World, send: Send) -> None:
    """Send every variant of each operation that needs only one request."""
    admin = world.tokens["admin"]
    for path, operation in world.operations:
        good = world.good_body(send, path)
        # Any valid credential is enough for an operation without a scope; some need none.
        refused = (401, 403) if "x-scope" in operation else (200, 401, 403, 404, 409)
        kept = {"admin", "nothing"} if path == REVOKE_SELF else {"admin"}
        credentials = [
            *(token for kind, token in world.tokens.items() if kind not in kept),
            admin[:-1] + ("0" if admin[-1] != "0" else "1"),
            world.jwt(key=UNPUBLISHED_KEY, scope="secret:fetch"),
            world.jwt(iss=PASSWORD),
            world.jwt(scope=""),
            f"{admin}, {admin}",
            f"{admin}x",
        ]
        for credential in credentials:
            assert world.ask(send, path, good, credential) in refused, path
        without_credential(world, send, path, operation, good)
        for body in bad_bodies(good):
            # Some lack nothing: a field may be a string or be omitted.
            assert world.ask(send, path, body, admin) in (200, 400, 404, 409, 413, 422), (path, body)
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Encoding": IDEMPOTENCY_KEY},
            {"Content-Type": f"application/json; charset={IDEMPOTENCY_KEY}"},
        ):
            assert world.ask(send, path, good, admin, **headers) == 415
        times = 100 if path.endswith(("-batch", "/checkpoint")) else 4
        large = b'{"secret": "%s"}' % (b64encode(VALUE * 3) * (times * BODY_LIMIT // 100))
        assert world.ask(send, path, large, admin) == 413
        for method in ("GET", "PUT", "DELETE", "TRACE"):
            _, text = send(method, f"{path}?secret={quote(VALUE)}&token={admin}", b"", {})
            world.outputs.append(Output(f"{method} of {path}", text))
        unknown = {"secret_id": UNKNOWN_ID, "name": f"n-{secrets.token_hex(4)}", "webhook_id": "0" * 16}
        unknown["token"] = f"smw_{'0' * 43}"
        for name, nobody in unknown.items():
            if name in good:
                assert world.ask(send, path, {**good, name: nobody}, admin) in (404, 200)
        assert world.ask(send, path, world.good_body(send, path), admin) == 200
    send("GET", f"/{quote(VALUE)}/{admin}", b"", {})
    conflicts(world, send)


def without_credential(
    world: World, send: Send, path: str, operation: dict[str, Any], good: dict[str, Any]
) -> None:
    """Send a *good* body without a credential of this service."""
    # The token in the body is the right to some operations.
    is_open = "x-scope" not in operation and {} in operation["security"]
    for headers in ({}, {"Authorization": f"Basic {b64(world.tokens['admin'].encode())}"}):
        assert world.ask(send, path, good, **headers) in ((200, 404) if is_open else (401,))


def fill(world: World, send: Send) -> None:
    """Send the bodies of `REST`."""
    for path, bodies in REST.items():
        for changes in bodies:
            body = world.good_body(send, path) | changes
            assert world.ask(send, path, body, world.tokens["admin"]) < 500, path


def conflicts(world: World, send: Send) -> None:
    """Request names, versions and idempotency keys that conflict with existing ones."""
    admin = world.tokens["admin"]
    path = "/vault/secret/create"
    body = {"secret": b64(VALUE), "name": f"{NAME}/{secrets.token_hex(4)}"}
    assert [world.ask(send, path, body, admin) for _ in range(2)] == [200, 409]
    key = {"Idempotency-Key": IDEMPOTENCY_KEY}
    values = [{"secret": b64(value)} for value in (VALUE, VALUE, OTHER_VALUE)]
    statuses = [world.ask(send, path, value, admin, **key) for value in values]
    assert statuses in ([200, 200, 422], [422, 422, 200])
    assert (
        world.ask(send, path, body, admin, **{"Idempotency-Key": f"{IDEMPOTENCY_KEY} {IDEMPOTENCY_KEY}"})
        == 422
    )
    stale = {"secret_id": world.create(send), "secret": b64(OTHER_VALUE), "expected_version": 7}
    assert world.ask(send, "/vault/secret/update", stale, admin) == 409
    assert world.ask(send, "/vault/secret/purge", {"secret_id": world.create(send)}, admin) == 409
    token = {"name": f"t-{secrets.token_hex(4)}", "role": "reader"}
    assert [world.ask(send, "/vault/token/create", token, admin) for _ in range(2)] == [200, 409]
    issuer = world.good_body(send, "/vault/issuer/create")
    assert [world.ask(send, "/vault/issuer/create", issuer, admin) for _ in range(2)] == [200, 409]
    role = world.good_body(send, "/vault/role/create") | {"issuer": issuer["name"]}
    assert [world.ask(send, "/vault/role/create", role, admin) for _ in range(2)] == [200, 409]
    assert world.ask(send, "/vault/role/create", role | {"issuer": "unknown"}, admin) == 404
    assert world.ask(send, "/vault/issuer/delete", {"name": issuer["name"]}, admin) == 409
    plan = world.good_body(send, "/vault/rotation/create")
    assert [world.ask(send, "/vault/rotation/create", plan, admin) for _ in range(2)] == [200, 409]
    assert [world.ask(send, "/vault/rotation/run", {"name": plan["name"]}, admin) for _ in range(2)] == [
        200,
        409,
    ]
    failing = {"name": world.planned(send, "/bin/false")}
    assert world.ask(send, "/vault/rotation/run", failing, admin) == 424
    webhooks = [*takewhile(bool, (world.webhook(send) for _ in range(100)))]
    assert 0 < len(webhooks) < 100
    for webhook_id in webhooks:
        assert world.ask(send, "/vault/webhook/delete", {"webhook_id": webhook_id}, admin) == 200
    body = world.good_body(send, REQUEST)
    request = world.link(send, REQUEST, **body)
    assert world.ask(send, "/vault/secret/create", {**body, "secret": b64(VALUE)}, admin) == 200
    assert world.ask(send, REQUEST, body, admin) == 409
    assert world.ask(send, "/vault/request/fill", {"token": request, "secret": b64(VALUE)}) == 409
    locked = {"token": world.link(send, SHARE, passphrase=PASSWORD), "passphrase": f"{PASSWORD}x"}
    assert world.ask(send, "/vault/share/open", locked) == 403
    once = {"secret_id": world.create(send, max_reads=1)}
    assert [world.ask(send, "/vault/secret/fetch", once, admin) for _ in range(2)] == [200, 404]
