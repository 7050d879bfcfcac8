"""No secret appears where it must not, for any request and any refusal.

Every operation of the API document is brought to every answer that the document names. Everything sent and
configured contains marked secrets, credentials and keys. The tests then search all outputs for the marks:
replies, the log at its most verbose, tracebacks, metrics, the database, and the `repr` of every object in
use.
"""

import gc
import json
import logging
import re
import secrets
import sys
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import pytest
import requests
from flask import Flask, g
from pymongo.errors import PyMongoError
from werkzeug.exceptions import RequestTimeout

from tests.api.site.test_docs_page import content_of_body, of_rest, operations
from tests.conftest import running_app
from tests.support.access import make_token, revoke, services
from tests.support.issuer import AUDIENCE, ISSUER, STRANGER, public_pem, sign
from tests.support.leaks import Marks, Output, forms, shown
from tests.support.lifecycle import UNKNOWN_ID
from tests.support.metrics import exposition
from tests.support.rotation import Stored
from tests.support.service import Service
from vault.api.http import bodies as json_parser
from vault.api.http import errors, rate_limits, request_log
from vault.cli.dev.mongod import free_port
from vault.core.attempt import Outcome, attempts_finished
from vault.core.errors import AuditUnavailableError, KeyMissingError, StorageUnavailableError
from vault.crypto import MasterKey
from vault.documents import database
from vault.observability import logs
from vault.secrets.requests import NewSecret

#: No form of it can be mistaken for a name.
VALUE = f"a value § /+?{secrets.token_hex(12)}!\n".encode()
OTHER_VALUE = secrets.token_bytes(24)
KEYS = (secrets.token_bytes(32), secrets.token_bytes(32))
PASSWORD = secrets.token_urlsafe(18)
IDEMPOTENCY_KEY = secrets.token_urlsafe(18)
NAME = f"billing/{secrets.token_hex(12)}"
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
}

#: The values that only a reply of 200 may contain.
TOLD = {
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
    "/vault/role/list": {"name"},
}
#: Operations that need no secret of their own, each with a valid body.
QUERIES: dict[str, dict[str, Any]] = {
    "/vault/secret/list": {"name_prefix": NAME, "labels": {"mark": LABEL}},
    "/vault/audit/query": {},
    "/vault/token/list": {},
    "/vault/token/self": {},
    "/vault/token/renew": {},
    "/vault/role/list": {},
    "/vault/issuer/list": {},
}
#: The fields of changes, except those that identify the secret.
CHANGES: dict[str, dict[str, Any]] = {
    "update": {"secret": b64(OTHER_VALUE)},
    "update-metadata": {"labels": {"mark": LABEL}, "ttl_seconds": 60},
}
REVOKE_SELF = "/vault/token/revoke-self"
#: By operation, changes to its valid body, so that some body has each field; null removes a field.
REST: dict[str, list[dict[str, Any]]] = {
    "/vault/secret/create": [{"ttl_seconds": 60, "max_reads": 2}],
    "/vault/secret/create-batch": [{"secrets": [{"secret": b64(VALUE), "ttl_seconds": 60, "max_reads": 2}]}],
    "/vault/secret/fetch": [BY_NAME, {"version": 1, "delivery": DELIVERY}],
    "/vault/secret/fetch-batch": [
        {"secrets": [{"name": NAME, "version": 1, "delivery": DELIVERY}]},
        {"secrets": None, "name_prefix": NAME},
    ],
    **{f"/vault/secret/{action}": [BY_NAME] for action in ("update", "describe", "delete", "restore")},
    "/vault/secret/update-metadata": [BY_NAME, {"ttl_seconds": None, "never_expires": True}],
    "/vault/secret/purge": [BY_NAME, {"version": 1}],
    "/vault/secret/list": [{"limit": 1, "deleted": True}],
    "/vault/audit/query": [
        {"since": "2026-01-01T00:00:00Z", "action": "fetch", "principal": "admin", "limit": 1},
        {"until": "2126-01-01T00:00:00Z", "order": "newest_first"},
    ],
    "/vault/token/create": [
        {"scopes": ["secret:fetch"], "namespace": "default", "networks": ["127.0.0.1"], "paths": [NAME]},
        {"expires_in": 60, "renewable": True, "max_age": 120},
    ],
    "/vault/token/list": [{"limit": 1, "unused_for": 60, "state": "active"}],
    "/vault/token/revoke": [{"cascade": True}],
    "/vault/token/renew": [{"expires_in": 60}],
    REVOKE_SELF: [{"cascade": True}],
    "/vault/role/create": [
        {"namespace": "default", "networks": ["127.0.0.1"], "paths": [NAME], "max_age": 60},
        {"claim_globs": {"aud": "x*"}},
    ],
    "/vault/role/list": [{"state": "active"}],
    "/vault/issuer/create": [
        {"public_key": None, "jwks_url": "https://keys.example/jwks", "algorithms": ["RS256"]}
    ],
    "/vault/issuer/list": [{"state": "active"}],
    "/vault/issuer/delete": [{"force": True}],
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
        told = {200: TOLD.get(path, set()), 422: {"label"}}.get(status, set())
        if status == 200:
            reply = json.loads(text.partition("\n\n")[2])
            for secret in (reply, *reply.get("secrets", ())):
                if "secret_id" in secret:
                    self.marks.add("id", secret["secret_id"])
            if "token" in reply:
                self.marks.add("new token", reply["token"])
        self.outputs.append(Output(f"{status} of {path}", text, frozenset(told)))
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
        # Any valid credential is enough for an operation without a scope.
        refused = (401, 403) if "x-scope" in operation else (200, 401, 403, 409)
        kept = {"admin", "nothing"} if path == REVOKE_SELF else {"admin"}
        credentials = [
            *(token for kind, token in world.tokens.items() if kind not in kept),
            admin[:-1] + ("0" if admin[-1] != "0" else "1"),
            world.jwt(key=STRANGER, scope="secret:fetch"),
            world.jwt(iss=PASSWORD),
            world.jwt(scope=""),
            f"{admin}, {admin}",
            f"{admin}x",
        ]
        for credential in credentials:
            assert world.ask(send, path, good, credential) in refused, path
        assert world.ask(send, path, good) == 401
        assert world.ask(send, path, good, Authorization=f"Basic {b64(admin.encode())}") == 401
        for body in bad_bodies(good):
            # Some lack nothing: a field may be a string or be omitted.
            assert world.ask(send, path, body, admin) in (200, 400, 404, 409, 413, 422), (path, body)
        for headers in (
            {"Content-Type": "text/plain"},
            {"Content-Encoding": IDEMPOTENCY_KEY},
            {"Content-Type": f"application/json; charset={IDEMPOTENCY_KEY}"},
        ):
            assert world.ask(send, path, good, admin, **headers) == 415
        times = 100 if path.endswith("-batch") else 4
        large = b'{"secret": "%s"}' % (b64encode(VALUE * 3) * (times * BODY_LIMIT // 100))
        assert world.ask(send, path, large, admin) == 413
        for method in ("GET", "PUT", "DELETE", "TRACE"):
            _, text = send(method, f"{path}?secret={quote(VALUE)}&token={admin}", b"", {})
            world.outputs.append(Output(f"{method} of {path}", text))
        for name in ("secret_id", "name"):
            if name in good:
                nobody = UNKNOWN_ID if name == "secret_id" else f"n-{secrets.token_hex(4)}"
                assert world.ask(send, path, {**good, name: nobody}, admin) in (404, 200)
        assert world.ask(send, path, world.good_body(send, path), admin) == 200
    send("GET", f"/{quote(VALUE)}/{admin}", b"", {})
    conflicts(world, send)


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
    once = {"secret_id": world.create(send, max_reads=1)}
    assert [world.ask(send, "/vault/secret/fetch", once, admin) for _ in range(2)] == [200, 404]


class Dialect:
    """Requests in Vault's dialect, whose replies are kept with the marks that they may contain."""

    def __init__(self, world: World, send: Send) -> None:
        self.world = world
        self._send = send

    def __call__(
        self,
        request: str,
        body: object = None,
        *,
        token: str | None = None,
        may_hold: str = "",
        **headers: str,
    ) -> tuple[int, Any]:
        """Send *request*, a method and a path, as the administrator unless another *token* is given."""
        method, _, path = request.partition(" ")
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        credential = self.world.tokens["admin"] if token is None else token
        sent = {"X-Vault-Token": credential, **{key.replace("_", "-"): text for key, text in headers.items()}}
        status, text = self._send(method, f"/v1/{path}", data, sent)
        self.world.sent("POST" if method == "PUT" else method, f"/v1/{path}", body)
        may = frozenset(filter(None, may_hold.split(", ")))
        self.world.outputs.append(Output(f"{status} of {path.replace(NAME, 'NAME')}", text, may))
        content = text.partition("\n\n")[2]
        return status, json.loads(content) if content.strip() else None

    def wrapping_token(self, request: str, body: object = None) -> str:
        """Return a wrapping token for the reply to *request*."""
        status, reply = self(request, body, may_hold="wrapping token, name", X_Vault_Wrap_TTL="60")
        assert status == 200, reply
        token = str(reply["wrap_info"]["token"])
        self.world.marks.add("wrapping token", token)
        return token


def speak_dialect(world: World, send: Send) -> None:
    """Send every operation of Vault's dialect, with marks in every possible place."""
    ask, admin = Dialect(world, send), world.tokens["admin"]
    name = f"{NAME}/{secrets.token_hex(4)}"
    value = {"password": VALUE.decode(), "other": b64(OTHER_VALUE)}
    nothing, revoked = world.tokens["nothing"], world.tokens["revoked"]
    credentials = ("", "x", f"{admin}x", nothing, revoked, world.jwt(scope=""))
    data, metadata = f"secret/data/{name}", f"secret/metadata/{name}"
    assert ask(f"POST {data}", {"data": value})[0] == 200
    assert ask(f"PUT {data}", {"data": value, "options": {"cas": 7}})[0] == 400
    patch = {"Content_Type": "application/merge-patch+json"}
    assert ask(f"PATCH {data}", {"data": {"more": VALUE.decode()}}, **patch)[0] == 200
    assert ask(f"PATCH {data}", {"data": {"more": None}, "options": {"cas": 2}}, **patch)[0] == 200
    rules = {"custom_metadata": {"mark": LABEL}, "max_versions": 9, "delete_version_after": "0s"}
    rules |= {"cas_required": False, "metadata_cas_required": False}
    assert ask(f"PUT {metadata}", rules)[0] == 204
    assert ask(f"PATCH {metadata}", rules, **patch)[0] == 204
    for method, headers in (("PUT", {}), ("PATCH", patch)):
        assert ask(f"{method} {metadata}", rules | {"metadata_cas": 99}, **headers)[0] == 400
    assert ask(f"GET {data}", may_hold="value, other_value, label")[0] == 200
    assert ask(f"GET {metadata}", may_hold="label")[0] == 200
    assert ask(f"GET secret/subkeys/{name}", may_hold="label")[0] == 200
    assert ask("LIST secret/metadata/billing", may_hold="name")[0] == 200
    for body in (
        b64(VALUE).encode(),
        VALUE,
        {"data": VALUE.decode()},
        {"data": value, "options": VALUE.decode()},
    ):
        assert ask(f"POST {data}", body)[0] == 400
    for request in (
        f"GET {data}",
        f"POST {data}",
        f"LIST {metadata}",
        "POST auth/token/create",
        "GET nothing/x",
    ):
        for token in credentials:
            assert ask(request, {"data": value}, token=token)[0] == 403
    assert ask(f"GET kv/data/{name}", may_hold="name")[0] == 404
    assert ask(f"GET secret//data/{name}", may_hold="name")[0] == 307
    token = ask.wrapping_token(f"GET {data}")
    assert ask("POST sys/wrapping/lookup", {"token": token}, may_hold="name")[0] == 200
    assert ask("POST sys/wrapping/unwrap", token=token, may_hold="value, other_value, label")[0] == 200
    assert ask("POST sys/wrapping/unwrap", {"token": token})[0] == 400
    stolen = ask.wrapping_token("POST sys/wrapping/wrap", value)
    for _ in range(2):
        assert ask(f"GET {data}", token=stolen)[0] == 403
    _, login = ask(
        "POST auth/approle/login", {"role_id": "admin", "secret_id": admin}, may_hold="token of admin"
    )
    assert (
        ask("GET auth/token/lookup-self", token=login["auth"]["client_token"], may_hold="token of admin")[0]
        == 200
    )
    assert ask("POST auth/approle/login", {"role_id": "other", "secret_id": admin})[0] == 400
    jwt = world.jwt(scope="secret:fetch")
    status, login = ask("POST auth/jwt/login", {"jwt": jwt}, token="", may_hold="JWT")
    assert status == 200, login
    assert ask("GET auth/token/lookup-self", token=login["auth"]["client_token"], may_hold="JWT")[0] == 200
    assert ask("POST auth/jwt/login", {"jwt": world.jwt(key=STRANGER), "role": PASSWORD})[0] == 400
    assert ask("POST auth/token/renew-self", {"increment": "1h"}, may_hold="token of admin")[0] == 200
    speak_of_tokens(world, ask)
    assert ask("POST sys/capabilities-self", {"paths": [data]}, may_hold="name")[0] == 200
    assert ask(f"GET sys/internal/ui/mounts/{data}")[0] == 200
    assert ask(f"POST secret/delete/{name}", {"versions": [1]})[0] == 204
    assert ask(f"POST secret/undelete/{name}", {"versions": [1]})[0] == 204
    assert ask(f"POST secret/destroy/{name}", {"versions": [1]})[0] == 204
    assert ask(f"DELETE {data}")[0] == 204
    assert ask(f"GET {data}", may_hold="label")[0] == 404
    assert ask(f"DELETE {metadata}")[0] == 204


def speak_of_tokens(world: World, ask: Dialect) -> None:
    """Create, look up, renew and revoke tokens of Vault's dialect, with marks in every possible place."""
    new = {"policies": ["reader"], "ttl": "1h", "meta": {"mark": PASSWORD}, "display_name": "made"}
    new |= {"renewable": True, "explicit_max_ttl": "1h"}
    _, created = ask("POST auth/token/create", new, may_hold="new token")
    made = created["auth"]["client_token"]
    world.marks.add("new token", made)
    for operation in ("create", "create-orphan"):
        orphan = {**new, "policies": ["reader"], "period": "1h", "no_parent": True}
        status, reply = ask(f"POST auth/token/{operation}", orphan, may_hold="new token")
        assert status == 200, reply
        world.marks.add("new token", reply["auth"]["client_token"])
        revoked = {"token": reply["auth"]["client_token"]}
        assert ask("POST auth/token/revoke", revoked, may_hold="new token")[0] == 204
    accessor = {"accessor": created["auth"]["accessor"], "increment": "1h"}
    for operation in ("lookup", "renew"):
        for told in (made, PASSWORD, [made]):
            expected = 200 if told == made else 403 if operation == "lookup" else 400
            asked = ask(
                f"POST auth/token/{operation}", {"token": told, "increment": "1h"}, may_hold="new token"
            )[0]
            assert asked == expected
        assert ask(f"POST auth/token/{operation}-accessor", accessor)[0] == 200
        assert ask(f"POST auth/token/{operation}-accessor", {"accessor": made})[0] == 400
    assert ask("LIST auth/token/accessors")[0] == 200
    assert ask("POST auth/token/revoke-orphan", {"token": PASSWORD})[0] == 400
    assert ask("POST auth/token/revoke-accessor", {"accessor": made})[0] == 200
    assert ask("POST auth/token/revoke-self", token=created["auth"]["client_token"])[0] == 204
    assert ask("POST auth/token/create", {**new, "policies": [PASSWORD]})[0] == 400


def in_process(app: Flask) -> Send:
    """Return a function that sends requests to *app*."""
    client = app.test_client()

    def send(method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, str]:
        with client.open(path, method=method, data=data, headers=headers) as reply:
            return reply.status_code, f"{reply.headers}\n\n{reply.get_data(as_text=True)}"

    return send


def over_http(service: Service) -> Send:
    """Return a function that sends requests to *service*."""

    def send(method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, str]:
        reply = requests.request(
            method, service.url + path, data=data, headers=headers, timeout=60, allow_redirects=False
        )
        return reply.status_code, f"{reply.headers}\n\n{reply.text}"

    return send


class Lines(logging.Handler):
    """Handler that keeps log records as they are formatted."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.setFormatter(logs.JsonFormatter())
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep one line."""
        self.text += self.format(record) + "\n"


@contextmanager
def observed(world: World) -> Iterator[None]:
    """Keep the log lines of the block, and the `repr` of each object in use when an operation ends."""
    lines = Lines()
    root, own = logging.getLogger(), logging.getLogger("vault")
    level = own.level
    seen: set[str] = set()

    def look(_outcomes: Sequence[Outcome]) -> None:
        frame: FrameType | None = sys._getframe()
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("vault."):
                seen.add(shown(*frame.f_locals.values()))
            frame = frame.f_back

    root.addHandler(lines)
    own.setLevel(logging.DEBUG)
    attempts_finished.connect(look)
    try:
        yield
    finally:
        attempts_finished.disconnect(look)
        own.setLevel(level)
        root.removeHandler(lines)
        seen.add(shown(*gc.get_objects()))
        world.outputs.append(Output("the log", lines.text))
        world.outputs.append(Output("the metrics", exposition()))
        world.outputs.append(Output("a repr", "\n".join(seen), STORED))


def keep_database(world: World, stored: Stored) -> None:
    """Keep the contents of the database."""
    for name in stored.list_collection_names():
        text = b"".join(stored[name].find_raw_batches()).decode("latin-1")
        world.outputs.append(Output(f"the collection {name}", text, STORED))


@pytest.fixture
def settings(mongo_uri: str) -> dict[str, str]:
    """Return service settings that contain marks."""
    return {**SETTINGS, "MONGO_URI": mongo_uri}


@contextmanager
def made_world(settings: dict[str, str]) -> Iterator[tuple[World, Flask]]:
    """Create an application with *settings*, and its tokens."""
    with running_app(settings) as app:
        tokens = {
            "admin": make_token(app, "admin", role="admin", seconds=7_200, max_age=86_400),
            "nothing": make_token(app, "nothing", scopes=("no:scope",)),
            "elsewhere": make_token(app, "elsewhere", role="admin", networks=("192.0.2.0/24",)),
            "revoked": make_token(app, "revoked", role="admin"),
        }
        revoke(app, "revoked")
        yield World(app.test_client().get("/openapi.json").json, tokens), app


#: Failures of the layers below, each quoting everything it knows.
EVERYTHING = [VALUE, b64(VALUE), OTHER_VALUE, KEYS, MASTER_KEYS, PASSWORD, IDEMPOTENCY_KEY, NAME]
FAILURES = {
    RuntimeError: 500,
    StorageUnavailableError: 503,
    AuditUnavailableError: 503,
    KeyMissingError: 503,
}


@contextmanager
def failing(kind: type[Exception]) -> Iterator[None]:
    """Fail the next successful operation by *kind*, with a reason that quotes everything."""
    receivers = attempts_finished.receivers_for
    failed = False
    # Errors shown to callers have a fixed message and accept no other.
    quoting = [] if kind in (AuditUnavailableError, KeyMissingError) else [f"{EVERYTHING}"]

    def fail(outcomes: Sequence[Outcome]) -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise kind(*quoting) from PyMongoError(f"{EVERYTHING}")
        for receive in receivers(outcomes):
            receive(outcomes)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts_finished, "receivers_for", lambda _: [fail])
        yield


def too_late(_request: object) -> bytes:
    raise RequestTimeout("The body did not arrive in time.") from TimeoutError(f"{EVERYTHING}")


def everything(world: World, app: Flask, settings: dict[str, str]) -> None:
    """Bring each operation to each of its answers."""
    send = in_process(app)
    admin = world.tokens["admin"]
    exhaust(world, send)
    fill(world, send)
    speak_dialect(world, send)
    for path, _ in world.operations:
        for kind, status in FAILURES.items():
            body = world.good_body(send, path)
            with failing(kind):
                assert world.ask(send, path, body, admin) == status, path
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_parser, "_read", too_late)
            assert world.ask(send, path, {"secret": b64(VALUE)}, admin) == 408
    # Its checks would use the connection of the next application, which replaces this one's.
    services(app).guard.close()
    limited = {"RATE_LIMIT": "1/day", "RATE_LIMIT_STORAGE_URI": ELSEWHERE}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rate_limits, "_TIMEOUT_MILLISECONDS", 10)
        for more, status in (
            (limited, 429),
            ({"ALLOWED_NETWORKS": "192.0.2.0/24"}, 403),
            ({"ALLOWED_HOSTS": "elsewhere.example"}, 421),
        ):
            with running_app(settings | more) as other:
                send = in_process(other)
                for path, _ in world.operations:
                    world.ask(send, path, {"secret": b64(VALUE)}, admin)
                    assert world.ask(send, path, {"secret": b64(VALUE)}, admin) == status
    elsewhere = settings | {"MONGO_URI": ELSEWHERE}
    with pytest.MonkeyPatch.context() as patch, running_app(elsewhere) as lost:
        patch.setattr(database, "OPERATION_TIMEOUT_SECONDS", 0.1)
        send = in_process(lost)
        assert world.ask(send, "/vault/secret/create", {"secret": b64(VALUE)}, admin) == 503
        status, text = send("GET", "/health/ready", b"", {})
        assert status == 503
        world.outputs.append(Output("readiness", text))


@pytest.mark.promise(1, 2)
@pytest.mark.long
def test_no_secret_appears_where_it_must_not(settings: dict[str, str], stored: Stored) -> None:
    """Across every documented answer of every operation, no mark appears where it must not."""
    with made_world(settings) as (world, app):
        with observed(world):
            everything(world, app, settings)
        keep_database(world, stored)
    # A new field needs a body: in `REST`, in `speak_dialect`, or among those above.
    assert {which: fields for which, fields in world.unsent.items() if fields} == {}
    for path, operation in world.operations:
        assert world.seen[path] == {int(status) for status in operation["responses"].keys() - FIXED}, path
    assert world.marks.leaks(world.outputs) == set()
    # Required occurrences are found, so the search works on these outputs.
    found = {name for output in world.outputs for name in world.marks.found(output.text)}
    assert found >= {"value", "id", "name", "label", "new token", "wrapping token", "JWT", "token of admin"}


@pytest.mark.promise(2)
@pytest.mark.process
def test_no_secret_is_in_the_log_of_a_running_service(settings: dict[str, str], tmp_path: Path) -> None:
    """The most verbose log of the whole process, gunicorn and libraries included, contains no mark."""
    with made_world(settings) as (world, _):
        pass
    bind = f"127.0.0.1:{free_port()}"
    with Service({**settings, "METRICS_BIND": bind}, folder=tmp_path) as service:
        service.wait_until_started()
        exhaust(world, over_http(service))
        speak_dialect(world, over_http(service))
        metrics = requests.get(f"http://{bind}/metrics", timeout=60).text
        assert service.stop() == 0
    text = service.log.read_text()
    assert '"level": "debug"' in text
    assert 'secret_manager_requests_total{operation="create_secret"' in metrics
    world.outputs += [Output("the log", text), Output("the metrics", metrics)]
    assert world.marks.leaks(world.outputs) == set()


def log_the_body(patch: pytest.MonkeyPatch) -> None:
    """Write the request body to the log."""
    read = json_parser._read

    def leak(request: Any) -> bytes:
        body = read(request)
        logging.getLogger("vault.api.http.bodies").debug("read %s", body)
        return body

    patch.setattr(json_parser, "_read", leak)


def log_the_text(patch: pytest.MonkeyPatch) -> None:
    """Write exception messages to the log."""
    patch.setattr(logs, "_locations", lambda error: [str(error)])


def answer_the_text(patch: pytest.MonkeyPatch) -> None:
    """Return the exception message in a refusal."""
    patch.setattr(errors, "problem", lambda *_, **__: errors.Response(f"{EVERYTHING}", 500))


def show_the_new_secret(patch: pytest.MonkeyPatch) -> None:
    """Show the value in the `repr` of an object in use."""
    patch.setattr(NewSecret, "__repr__", lambda new_secret: f"<NewSecret {new_secret.plaintext}>")


def show_the_key(patch: pytest.MonkeyPatch) -> None:
    """Show the key in the `repr` of an object that lives as long as the process."""
    patch.setattr(MasterKey, "__repr__", lambda key: f"<MasterKey {key._material.hex()}>")


def store_the_key(patch: pytest.MonkeyPatch) -> None:
    """Store a credential in an audit entry."""
    receivers = attempts_finished.receivers_for

    def leak(outcomes: Sequence[Outcome]) -> None:
        for attempt, _ in outcomes:
            attempt.details["sent"] = b64(IDEMPOTENCY_KEY.encode())
        for receive in receivers(outcomes):
            receive(outcomes)

    patch.setattr(attempts_finished, "receivers_for", lambda _: [leak])


def label_the_id(patch: pytest.MonkeyPatch) -> None:
    """Put an ID in a metric label."""
    patch.setattr(request_log, "_operation", lambda _: g.attempt.secret_id if "attempt" in g else "none")


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("plant", "place", "name"),
    [
        (log_the_body, "the log", "value"),
        (log_the_text, "the log", "password"),
        (answer_the_text, "500 of /vault/secret/create", "key"),
        (show_the_new_secret, "a repr", "value"),
        (show_the_key, "a repr", "fallback"),
        (store_the_key, "the collection audit_logs", "idempotency_key"),
        (label_the_id, "the metrics", "id"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_injected_leak_is_found(
    settings: dict[str, str],
    stored: Stored,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[pytest.MonkeyPatch], None],
    place: str,
    name: str,
) -> None:
    """The check finds a deliberate leak of each kind in its place."""
    plant(monkeypatch)
    with made_world(settings) as (world, app):
        with observed(world):
            send = in_process(app)
            body = world.good_body(send, "/vault/secret/create")
            with failing(RuntimeError):
                assert world.ask(send, "/vault/secret/create", body, world.tokens["admin"]) == 500
            world.create(send)
        keep_database(world, stored)
    assert (place, name) in world.marks.leaks(world.outputs)


@pytest.mark.promise(2)
@pytest.mark.parametrize("around", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("secret", [VALUE, OTHER_VALUE, PASSWORD.encode()], ids=["text", "bytes", "letters"])
def test_a_mark_is_found_in_every_form(secret: bytes, around: str) -> None:
    """A mark is found within other text, truncated and in every encoding; other text is not found."""
    marks = Marks(it=secret, other=secrets.token_bytes(24))
    whole = around.encode() + secret + around.encode()
    texts = {around + form[:-3] + around for form in forms(secret)} | {
        b64(whole),
        whole.hex(),
        quote(whole),
        f"{whole!r}",
        json.dumps(whole.decode("latin-1")),
    }
    for text in texts:
        assert marks.found(text) == {"it"}, text
    for text in (b64(secrets.token_bytes(99)), UNKNOWN_ID, around * 99):
        assert marks.found(text) == set()


def test_a_mark_that_is_too_short_is_refused() -> None:
    """A mark that is too short to be distinctive is refused."""
    with pytest.raises(ValueError, match="too short"):
        Marks(it="short")
