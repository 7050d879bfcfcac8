"""Requests with marked secrets, credentials and keys, for every answer of every operation."""

import json
import re
import secrets
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from tests.service.site.test_docs_page import content_of_body, of_rest, operations
from tests.support.features import merged, tables
from tests.support.leaks import LABEL, NAME, OTHER_VALUE, PASSWORD, VALUE, Marks, Output, b64
from tests.support.lifecycle import UNKNOWN_ID

KEYS = (secrets.token_bytes(32), secrets.token_bytes(32))
IDEMPOTENCY_KEY = secrets.token_urlsafe(18)
BODY_LIMIT = 64 * 1_024
#: Documented answers with fixed texts, given without reading a body: tests/server/test_worker.py.
FIXED = {"405", "414", "417", "431", "default"}

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
    **merged("LEAK_SETTINGS"),
}
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
    "/vault/audit/query": {"id", "name"},
    "/vault/token/create": {"new token"},
    # Their paths.
    "/vault/token/list": {"name"},
    **merged("RETURNED"),
}
REVOKE_SELF = "/vault/token/revoke-self"
#: Operations that need no secret of their own, each with a valid body.
QUERIES: dict[str, dict[str, Any]] = {
    "/vault/secret/list": {"name_prefix": NAME, "labels": {"mark": LABEL}},
    "/vault/audit/query": {},
    "/vault/token/list": {},
    "/vault/token/self": {},
    "/vault/token/renew": {},
    **merged("QUERIES"),
}
#: By operation, a function that stores what a valid body needs, and returns the body.
BODIES: dict[str, Callable[["World", "Send"], dict[str, Any]]] = merged("BODIES")
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
    "/vault/secret/fetch": [BY_NAME, {"version": 1, "delivery": DELIVERY}],
    "/vault/secret/fetch-batch": [
        {"secrets": [{"name": NAME, "version": 1, "delivery": DELIVERY}]},
        {"secrets": None, "name_prefix": NAME},
    ],
    **{f"/vault/secret/{action}": [BY_NAME] for action in ("update", "describe", "delete", "restore")},
    "/vault/secret/update-metadata": [BY_NAME, {"ttl_seconds": None, "never_expires": True}],
    "/vault/secret/purge": [BY_NAME, {"version": 1}],
    "/vault/secret/list": [{"limit": 1, "deleted": True}, {"search": LABEL, "expires_within": 60}],
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
}
for table in tables("QUERY_CHANGES"):
    for path, changes in table.items():
        REST[path] = [*REST.get(path, ()), *changes]
#: By kind, the scopes of further tokens; and the kind of token for an operation that no administrator has.
TOKENS: dict[str, tuple[str, ...]] = merged("TOKENS")
CALLERS: dict[str, str] = merged("CALLERS")
#: Fields that can be any text, are not secret, and are listed.
CONFIGURED = set[str]().union(*tables("CONFIGURED"))
#: The fields of replies that are credentials, of operations where it is not `token`.
CREDENTIALS: dict[str, str] = merged("CREDENTIALS")
#: Operations whose bodies can be much larger than a value.
LARGE = {"/vault/secret/create-batch", "/vault/secret/fetch-batch"}.union(*tables("LARGE"))
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

    def caller(self, path: str) -> str:
        """Return the token of those who may do the operation at *path*."""
        return self.tokens[CALLERS.get(path, "admin")]

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
            credential_field = CREDENTIALS.get(path, "token")
            if credential_field in reply:
                self.marks.add("new token", reply[credential_field])
        self.outputs.append(Output(f"{status} of {path}", text, frozenset(returned)))
        self.seen[path].add(status)
        return status

    def reply(self, send: Send, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to *body*, which the administrator sends with success."""
        assert self.ask(send, path, body, self.tokens["admin"]) == 200, path
        return dict(json.loads(self.outputs[-1].text.partition("\n\n")[2]))

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
        if path in BODIES:
            return BODIES[path](self, send)
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
                self.expendable = self.reply(send, "/vault/token/create", body)["token"]
                return {}
            case ["token", "revoke"]:
                name = f"t-{secrets.token_hex(4)}"
                body = {"name": name, "role": "reader"}
                assert self.ask(send, "/vault/token/create", body, self.tokens["admin"]) == 200
                return {"name": name}
        raise AssertionError(f"{path} has no body here")


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
    for path, operation in world.operations:
        admin = world.caller(path)
        good = world.good_body(send, path)
        # Any valid credential is enough for an operation without a scope; some need none.
        refused = (401, 403) if "x-scope" in operation else (200, 401, 403, 404, 409)
        kept = {"admin", "nothing", *TOKENS} if path == REVOKE_SELF else {CALLERS.get(path, "admin")}
        credentials = [
            *(token for kind, token in world.tokens.items() if kind not in kept),
            admin[:-1] + ("0" if admin[-1] != "0" else "1"),
            *(text for refused in tables("refused") for text in refused(world.marks)),
            f"{admin}, {admin}",
            f"{admin}x",
        ]
        for credential in credentials:
            assert world.ask(send, path, good, credential) in refused, path
        without_credential(world, send, path, operation, good)
        for body in bad_bodies(good):
            # Some lack nothing: a field may be a string or be omitted. A body can have a credential, too.
            statuses = {200, 400, 404, 409, 413, 422, *([403] if path in CALLERS else [])}
            status = world.ask(send, path, body, admin)
            assert status in statuses, (path, body, status)
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Encoding": IDEMPOTENCY_KEY},
            {"Content-Type": f"application/json; charset={IDEMPOTENCY_KEY}"},
        ):
            assert world.ask(send, path, good, admin, **headers) == 415
        times = 100 if path in LARGE else 4
        large = b'{"secret": "%s"}' % (b64encode(VALUE * 3) * (times * BODY_LIMIT // 100))
        assert world.ask(send, path, large, admin) == 413
        for method in ("GET", "PUT", "DELETE", "TRACE"):
            _, text = send(method, f"{path}?secret={quote(VALUE)}&token={admin}", b"", {})
            world.outputs.append(Output(f"{method} of {path}", text))
        unknown = {"secret_id": UNKNOWN_ID, "name": f"n-{secrets.token_hex(4)}", "token": f"smw_{'0' * 43}"}
        for name, nobody in (unknown | merged("UNKNOWN")).items():
            if name in good:
                assert world.ask(send, path, {**good, name: nobody}, admin) in (404, 200)
        status = world.ask(send, path, world.good_body(send, path), admin)
        assert status == 200, (path, status)
    send("GET", f"/{quote(VALUE)}/{world.tokens['admin']}", b"", {})
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
            assert world.ask(send, path, body, world.caller(path)) < 500, path


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
    once = {"secret_id": world.create(send, max_reads=1)}
    assert [world.ask(send, "/vault/secret/fetch", once, admin) for _ in range(2)] == [200, 404]
    for others in tables("conflicts"):
        others(world, send)


def speak(world: World, send: Send) -> None:
    """Send the requests of other interfaces than REST."""
    for others in tables("SPEAK"):
        others(world, send)
