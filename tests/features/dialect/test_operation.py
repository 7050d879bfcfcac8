"""Vault's dialect: credentials, bodies, replies, refusals and paths of all its operations."""

import json
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

import pytest
from flask import Flask
from flask.testing import FlaskClient
from gunicorn.util import split_request_uri
from werkzeug.exceptions import NotFound

from tests.conftest import running_app
from tests.service.site.test_docs_page import operations
from tests.support.access import make_token
from tests.support.dialect import DENIED, FORBIDDEN, DialectClient
from tests.support.features import requires
from tests.support.issuer import Issuer, sign
from tests.support.lifecycle import trail
from tests.support.rotation import Stored
from vault.common import errors
from vault.common.errors import VaultError
from vault.core.crypto.token import new_token
from vault.core.trail.refusal_counter import MAX_SINGLE_OF_KIND
from vault.core.trail.writer import AuditTrail
from vault.features.dialect import refusals
from vault.toolkit.http.refusals import REFUSALS

SELF = "auth/token/lookup-self"
ENVELOPE = {
    "request_id",
    "lease_id",
    "renewable",
    "lease_duration",
    "data",
    "wrap_info",
    "warnings",
    "auth",
}


def test_a_reply_has_the_envelope_of_vault(root: DialectClient) -> None:
    """A reply has Vault's envelope with the request's ID, and a content type without a charset."""
    reply = root.ask("GET", SELF)
    body = reply.json
    assert set(body) == ENVELOPE
    assert body["request_id"] == reply.headers["X-Request-ID"]
    assert (body["lease_id"], body["renewable"], body["lease_duration"]) == ("", False, 0)
    assert reply.headers["Content-Type"] == "application/json"
    assert reply.headers["Cache-Control"] == "no-store"


def test_the_header_of_vault_wins_over_a_bearer_token(root: DialectClient) -> None:
    """A token is read from `X-Vault-Token`, or else from `Authorization: Bearer`."""
    bearer = root.having(None)
    assert bearer("GET", SELF, Authorization=f"Bearer {root.token}")["data"]["display_name"] == "root"
    assert root("GET", SELF, Authorization="Bearer wrong")["data"]["display_name"] == "root"
    both = root.having("wrong")
    assert both.refused("GET", SELF, Authorization=f"Bearer {root.token}") == (403, DENIED)
    empty = root.having("")
    assert empty("GET", SELF, Authorization=f"Bearer {root.token}")["data"]["display_name"] == "root"


@requires("jwt")
def test_a_jwt_is_a_credential(environment: dict[str, str]) -> None:
    """A JWT of a configured issuer is a credential as it is, without a login."""
    with Issuer() as issuer, running_app({**environment, **issuer.environment}) as app:
        ci = DialectClient(app.test_client(), sign(scope="secret:fetch"))
        assert ci("GET", SELF)["data"]["policies"] == ["secret:fetch"]


@pytest.mark.promise("vault")
@pytest.mark.parametrize("setting", ["true", "false"])
def test_a_credential_is_always_required(environment: dict[str, str], stored: Stored, setting: str) -> None:
    """Without a credential, every operation is 403, whatever `AUTH_ENABLED` says, and has its entry."""
    with running_app({**environment, "AUTH_ENABLED": setting}) as app:
        anonymous = DialectClient(app.test_client())
        found = [
            anonymous.refused(method.upper(), path.removeprefix("/v1/").replace("{path}", "x"), b"{}")
            for path, method, operation in dialect_operations(app)
            if operation["security"]
        ]
        assert len(found) > 10
        assert found == [(403, DENIED)] * len(found)
    entries = trail(stored)
    assert len(entries) == len(found)
    assert {(entry["status"], entry["principal"]) for entry in entries} == {("denied", "anonymous")}


def dialect_operations(app: Flask) -> Iterator[tuple[str, str, Any]]:
    """Yield path, method and description of each documented operation."""
    document = app.test_client().get("/openapi.json").json
    return (found for found in operations(document) if found[0].startswith("/v1/"))


@pytest.mark.promise("vault")
def test_invalid_credentials_are_counted(environment: dict[str, str], stored: Stored) -> None:
    """Invalid credentials are refused alike, on record, and limited by `FAILED_AUTH_LIMIT`."""
    with running_app({**environment, "FAILED_AUTH_LIMIT": "3/hour"}) as app:
        root = DialectClient.of(app)
        start = len(trail(stored))
        for wrong in ("wrong", new_token(), "smw_wrong"):
            assert root.having(wrong).refused("GET", "secret/data/x") == (403, DENIED)
        status, body = root.having("wrong").refused("GET", "nothing/here")
        assert (status, body) == (429, {"errors": ["Too many requests. Try again later."]})
        assert root("GET", SELF)
    denied = [(entry["status"], entry["details"]["reason"]) for entry in trail(stored)[start:-1]]
    assert denied == [
        ("denied", "malformed"),
        ("denied", "unknown"),
        ("denied", "wrapping token"),
        ("denied", "rate limit"),
    ]


def test_a_namespace_must_be_the_own_one(app: Flask, stored: Stored) -> None:
    """`X-Vault-Namespace` names the credential's own namespace, with or without a slash, or nothing."""
    abroad = DialectClient.of(app, "abroad", role="reader", namespace="team")
    for own in ("team", "team/", "/", ""):
        assert abroad("GET", SELF, X_Vault_Namespace=own)
    for other in ("default", "team/sub", "root"):
        assert abroad.refused("GET", SELF, X_Vault_Namespace=other) == (
            404,
            {"errors": ["namespace not found"]},
        )
    entry = trail(stored)[-1]
    assert (entry["status"], entry["principal"]) == ("denied", "team/abroad")
    assert entry["details"] == {"namespace": "team", "reason": "another namespace"}
    at_home = DialectClient.of(app, "at-home", role="reader")
    for own in ("default", "root", "root/"):
        assert at_home("GET", SELF, X_Vault_Namespace=own)


@pytest.mark.promise("vault")
def test_a_missing_scope_is_403(app: Flask, stored: Stored) -> None:
    """A valid credential without the scope gets Vault's text, which does not say what is missing."""
    auditor = DialectClient.of(app, "auditor", role="auditor")
    assert auditor.refused("GET", "secret/data/x") == (403, FORBIDDEN)
    assert trail(stored)[-1]["details"] == {"reason": "needs secret:fetch"}


def test_a_body_may_be_declared_as_anything(root: DialectClient) -> None:
    """A body is JSON whatever its content type says, because Vault's clients send none."""
    for content_type in [None, "text/plain"]:
        headers = {"Content_Type": content_type} if content_type else {}
        body = b'{"paths": ["sys/mounts"]}'
        found = root("PUT", "sys/capabilities-self", body, **headers)["data"]
        assert found["sys/mounts"] == ["root"], content_type


@pytest.mark.parametrize("method", ["GET", "LIST", "DELETE"])
def test_bodies_without_a_meaning_are_ignored(root: DialectClient, method: str) -> None:
    """The body of a GET, a LIST or a DELETE is not read, so it can be anything."""
    path = "secret/metadata/" if method == "LIST" else SELF if method == "GET" else "secret/data/x"
    reply = root.ask(method, path, b"{" + b"x" * 200_000)
    assert reply.status_code in (200, 204, 404)
    assert reply.status_code == root.ask(method, path).status_code


def test_a_malformed_body_is_400(root: DialectClient, stored: Stored) -> None:
    """A body that is not an object, or not the same to all readers, is 400 with a reason, on record."""
    for body in [
        b"{",
        b"[]",
        b'{"a": NaN}',
        b'{"a": 1, "a": 2}',
        b'{"a": "\xff"}',
        b'{"a":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    ]:
        status, found = root.refused("POST", "sys/wrapping/wrap", body, X_Vault_Wrap_TTL="60")
        [text] = found["errors"]
        assert status == 400, body
        assert text.startswith("failed to decode JSON input: "), body
        assert trail(stored)[-1]["status"] == "bad_request", body


def test_a_large_or_compressed_body_is_refused(root: DialectClient) -> None:
    """A body beyond the limit is 413, and a compressed one is 415."""
    assert root.refused("POST", "sys/wrapping/wrap", b" " * 2_000_000)[0] == 413
    assert root.refused("POST", "sys/wrapping/wrap", b"{}", Content_Encoding="gzip")[0] == 415


def test_a_body_of_too_many_values_is_refused(environment: dict[str, str]) -> None:
    """A body that would take far more memory than its size is 413."""
    with running_app({**environment, "MAX_SECRET_BYTES": "1000000"}) as app:
        client, body = DialectClient.of(app), b"[" + b"0," * 300_000
        status, reply = client.refused("POST", "sys/wrapping/wrap", body, X_Vault_Wrap_TTL="60")
        assert (status, reply) == (413, {"errors": ["The body has too many values."]})


@pytest.mark.promise("vault")
def test_an_unclean_path_is_redirected(client: FlaskClient) -> None:
    """A path with empty or relative parts is redirected to the clean one in any form; the query stays."""
    for path, clean in [
        ("a//b", "/v1/a/b"),
        ("a/./b", "/v1/a/b"),
        ("a/../b", "/v1/b"),
        ("a/..", "/v1"),
        ("a//b?version=2&x=//", "/v1/a/b?version=2&x=//"),
        ("../../..", "/"),
        ("..//evil.example/", "/evil.example/"),
    ]:
        reply = client.post(f"/v1/{path}")
        assert (reply.status_code, reply.headers["Location"]) == (307, clean), path
        assert reply.content_type == "application/json", path
    # A whole address, slashes before the path and escapes in its prefix change nothing about that.
    for raw, clean in [
        ("http://localhost/v1/a/../b", "/v1/b"),
        ("http://evil.example//v1/a//b?x=//", "/v1/a/b?x=//"),
        ("//v1/../evil.example", "/evil.example"),
        ("//v1/a", "/v1/a"),
        ("/%761/a/../b", "/%761/b"),
    ]:
        path = unquote(split_request_uri(raw).path)
        reply = client.get("/v1/", environ_overrides={"RAW_URI": raw, "PATH_INFO": path})
        assert (reply.status_code, reply.headers.get("Location")) == (307, clean), raw


@pytest.mark.promise("vault")
def test_an_escaped_relative_path_is_400(client: FlaskClient, root: DialectClient) -> None:
    """A relative part that is escaped is refused: no proxy understands it. Other dots are part of a path."""
    for path in ["a%2Fb", "..a/b."]:
        assert root.refused("GET", f"nothing/{path}")[0] == 404, path
    for path in ["a/%2e%2e/b", "a/%2E/b", "a%2f..%2fb", "%2e%2e"]:
        reply = client.get(f"/v1/{path}")
        assert (reply.status_code, reply.json) == (400, {"errors": ["relative paths not supported"]}), path


@pytest.mark.promise("vault")
@pytest.mark.parametrize("method", ["GET", "PATCH", "LIST"])
def test_an_unknown_path_is_404_for_those_with_all_rights(
    app: Flask, root: DialectClient, stored: Stored, method: str
) -> None:
    """At an unknown path, who may do everything learns that there is nothing; for all others it is 403."""
    route = "kv/data/x/" if method == "LIST" else "kv/data/x"
    text = f'no handler for route "{route}". route entry not found.'
    assert root.refused(method, "kv/data/x") == (404, {"errors": [text]})
    unsupported = {"errors": ["1 error occurred:\n\t* unsupported path\n\n"]}
    assert root.refused(method, "sys/policies") == (404, unsupported)
    for number, grant in enumerate(({"role": "writer"}, {"role": "admin", "paths": ("in/",)})):
        less = DialectClient.of(app, f"less-{number}", **grant)
        assert less.refused(method, "kv/data/x") == (403, FORBIDDEN)
    assert root.having(None).refused(method, "kv/data/x") == (403, DENIED)
    last = trail(stored)[-2]
    assert (last["action"], last["status"]) == ("unknown_path", "denied")
    assert last["details"] == {"reason": "unknown path"}


def test_other_methods_are_405(root: DialectClient) -> None:
    """A method that Vault does not have is 405, as is HEAD of an operation; OPTIONS names the methods."""
    for method, path in (("FOO", "x"), ("FOO", SELF)):
        assert root.refused(method, path) == (405, {"errors": []})
    assert root.ask("HEAD", SELF).status_code == 405
    assert root.ask("OPTIONS", SELF).status_code == 204


def test_the_log_has_the_route(
    root: DialectClient, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names of secrets, tokens and wrapping tokens are in no log line."""
    with caplog.at_level(logging.INFO, "vault"):
        token = root.wrap({"a": 1})
        root.ask("GET", "secret/data/hidden/name")
        root.ask("POST", "sys/wrapping/unwrap", {"token": token})
        root.ask("GET", "nothing/hidden/name")
        root.ask("GET", "nothing//hidden/name")
    lines = capsys.readouterr().out
    assert "/v1/secret/data/<path:path>" in lines
    assert "hidden" not in lines
    assert token not in lines
    assert (root.token or "-") not in lines


#: Status and texts of refusals that Vault has in its own way.
OWN: dict[str, tuple[int, list[str]]] = {
    "secret_not_found": (404, []),
    "version_conflict": (400, ["check-and-set parameter did not match the current version"]),
    "expected_version_required": (400, ["check-and-set parameter required for this call"]),
    "token_not_found": (403, ["bad token"]),
    "token_not_renewable": (400, ["lease is not renewable"]),
    "token_required": (400, ["only tokens of this service can be renewed or revoked"]),
    "credential_required": (403, DENIED["errors"]),
    "invalid_credential": (403, DENIED["errors"]),
}


def test_every_refusal_has_the_status_of_rest_or_that_of_vault() -> None:
    """A refusal has the status of REST, except where Vault has its own; the text of 403 says nothing."""
    for kind in subclasses(VaultError):
        code = kind.kind
        if code not in REFUSALS:
            continue
        error = kind.__new__(kind)
        error.args = ("The text.",)
        reply = refusals.reply(error)
        found = (reply.status_code, json.loads(reply.get_data())["errors"])
        status = REFUSALS[code].status
        if code in OWN:
            assert found == OWN[code], code
        elif status == 403 and code != "mount_forbidden":
            assert found == (403, FORBIDDEN["errors"]), code
        else:
            assert found == (status, [REFUSALS[code].detail or "The text."]), code
        assert ("Retry-After" in reply.headers) == (status in (429, 503)), code
    assert refusals._OWN.keys() <= REFUSALS.keys()
    assert refusals.reply(NotFound()).get_json() == {"errors": []}
    assert refusals.reply(NotFound("this")).get_json() == {"errors": ["this"]}
    assert refusals.reply(RuntimeError("hidden")).get_json() == {
        "errors": ["The request could not be completed."]
    }


@pytest.mark.promise("network")
def test_another_host_is_refused_in_vaults_form(environment: dict[str, str], stored: Stored) -> None:
    """Under the name of another host, nothing is looked at or recorded."""
    with running_app({**environment, "ALLOWED_HOSTS": "localhost"}) as app:
        client = DialectClient(app.test_client(), "wrong")
        for text in ("another.example", "localhost.example:8000"):
            status, body = client.refused("GET", "secret/data/x", Host=text)
            assert (status, len(body["errors"])) == (421, 1)
            assert "ALLOWED_HOSTS" in body["errors"][0]
    assert stored.audit_logs.count_documents({}) == 0


def test_a_token_without_its_scheme_gets_no_hint(root: DialectClient) -> None:
    """A credential without `Bearer` is refused as any other: hints are for senders of problem details."""
    token = root.token
    assert token
    assert root.having(None).refused("GET", SELF, Authorization=token) == (403, DENIED)


def subclasses(kind: type[VaultError]) -> Iterator[type[VaultError]]:
    """Yield the errors that derive from *kind*."""
    for below in kind.__subclasses__():
        yield below
        yield from subclasses(below)


def test_a_failure_is_in_the_form_of_vault(
    root: DialectClient, monkeypatch: pytest.MonkeyPatch, stored: Stored
) -> None:
    """A defect is 500 with a general text, and an unavailable trail is 503 with `Retry-After`."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("hidden")

    with monkeypatch.context() as patch:
        patch.setattr("vault.core.access.tokens.own_credential.OwnCredential.describe", fail)
        assert root.refused("GET", SELF) == (500, {"errors": ["The request could not be completed."]})
    assert trail(stored)[-1]["status"] == "error"

    def unavailable(*_: object, **__: object) -> None:
        raise errors.AuditUnavailableError

    with monkeypatch.context() as patch:
        patch.setattr(AuditTrail, "_start", unavailable)
        reply = root.ask("GET", SELF)
        assert (reply.status_code, reply.headers["Retry-After"]) == (503, "2")
        assert reply.json == {"errors": ["The service cannot write its audit trail. Try again shortly."]}


def test_the_document_describes_the_operations(app: Flask) -> None:
    """Each operation has its credential in the document; LIST and PUT are not there."""
    found = list(dialect_operations(app))
    open_ones = {path for path, _, operation in found if not operation["security"]}
    assert open_ones == {
        "/v1/auth/approle/login",
        "/v1/auth/jwt/login",
        "/v1/sys/health",
        "/v1/sys/init",
        "/v1/sys/internal/ui/mounts",
        "/v1/sys/leader",
        "/v1/sys/seal-status",
        "/v1/sys/wrapping/lookup",
    }
    assert {method for _, method, _ in found} == {"get", "post", "patch", "delete"}
    for _, _, operation in found:
        assert operation["security"] in ([], [{"token": []}])
        assert operation["responses"]["default"] == {"$ref": "#/components/responses/DialectRefusal"}


def test_a_client_sees_a_refused_address(environment: dict[str, str], stored: Stored) -> None:
    """A refused address is 403 and on record, before any credential is read."""
    with running_app({**environment, "ALLOWED_NETWORKS": "10.0.0.0/8"}) as app:
        token = make_token(app, "root", role="admin")
        assert DialectClient(app.test_client(), token).refused("GET", SELF) == (403, FORBIDDEN)
    entry = trail(stored)[-1]
    assert (entry["principal"], entry["details"]) == ("anonymous", {"reason": "address"})


def test_bodies_without_a_value_are_small(root: DialectClient) -> None:
    """Only a body with a value can be large: decoded, others could take many times their size."""
    for method, path, limit in [
        ("POST", "auth/approle/login", 16_384),
        ("POST", "sys/wrapping/lookup", 16_384),
        ("POST", "sys/capabilities-self", 32_768),
        ("POST", "secret/metadata/a", 131_072),
    ]:
        assert root.ask(method, path, b" " * limit).status_code != 413, method
        assert root.ask(method, path, b" " * (limit + 1)).status_code == 413, method


@pytest.mark.promise(3)
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("auth/approle/login", {}, {}),
        ("auth/approle/login", b"[", {}),
        ("auth/approle/login", b" " * 17_000, {}),
        ("auth/approle/login", {}, {"X_Vault_Wrap_TTL": "x"}),
        ("sys/wrapping/lookup", {}, {"X_Vault_Wrap_TTL": "x"}),
        ("sys/wrapping/unwrap", {}, {"X_Vault_Token": "smw_x", "X_Vault_Wrap_TTL": "x"}),
    ],
    ids=lambda value: str(value)[:40],
)
def test_strangers_do_not_fill_the_trail(
    root: DialectClient, stored: Stored, path: str, body: object, headers: dict[str, str]
) -> None:
    """Only the first few malformed requests of a stranger have entries of their own; all are counted."""
    stranger = root.having(None)
    for _ in range(20):
        assert stranger.ask("POST", path, body, **headers).status_code in (400, 413, 415)
    assert stored.audit_logs.count_documents({"action": {"$ne": "token_create"}}) <= MAX_SINGLE_OF_KIND
