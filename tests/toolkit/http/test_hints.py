"""Hints in refusals: what the sender probably meant."""

from collections.abc import Iterator

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.access import bearer, make_token
from tests.support.problems import messages_of
from tests.support.rotation import Stored

CREATE, FETCH = "/vault/secret/create", "/vault/secret/fetch"


@pytest.fixture
def guarded_app(environment: dict[str, str]) -> Iterator[Flask]:
    """Run an application that requires a credential."""
    with running_app({**environment, "AUTH_ENABLED": "true"}) as app:
        yield app


def detail(client: FlaskClient, method: str, path: str, headers: dict[str, str] | None = None) -> str:
    """Return the reason for the refusal of a request without a body, in which nothing of it may be."""
    reply = client.open(path, method=method, headers=headers, json={} if method == "POST" else None)
    assert reply.status_code >= 400
    return str(reply.get_json(force=True)["detail"])


def test_a_token_without_its_scheme_gets_a_hint(guarded_app: Flask) -> None:
    """The refusal of a credential without `Bearer` names the form, valid or not, and does not repeat it."""
    client, token = guarded_app.test_client(), make_token(guarded_app, "ci", role="reader")
    for header in (token, f"Token {token}", f"Basic {token}", f"smt_{'0' * 38}", "eyJh.eyJz.c2ln"):
        text = detail(client, "POST", "/vault/token/self", {"Authorization": header})
        assert "`Bearer`" in text
        assert header.split()[-1] not in text
    for headers in ({}, bearer("smt_wrong"), {"Authorization": "Bearer"}):
        assert "Bearer" not in detail(client, "POST", "/vault/token/self", headers)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "TRACE"])
def test_another_method_gets_a_hint(client: FlaskClient, method: str) -> None:
    """Each path of the REST API has POST, and says so, as HTTP requires; others do not."""
    reply = client.open(FETCH, method=method)
    assert (reply.status_code, reply.content_type) == (405, "application/problem+json")
    assert reply.headers["Allow"] == "POST, OPTIONS"
    assert method == "HEAD" or "POST" in detail(client, method, FETCH)
    if method not in ("GET", "HEAD"):
        assert "POST" not in detail(client, method, "/health/live")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/vault/secrets/fetch", "Did you mean `/vault/secret/fetch`?"),
        ("/vault/secrets/fetch_batch/", "Did you mean `/vault/secret/fetch-batch`?"),
        ("/vault/tokens/revoke-self", "Did you mean `/vault/token/revoke-self`?"),
        ("/vault/secrets", "`/vault/secret/`"),
        ("/vault/secret", "`/vault/secret/`"),
        ("/vault/secrets/smt_550e8400", "`/vault/secret/`"),
    ],
)
def test_a_plural_path_gets_the_right_one(client: FlaskClient, path: str, expected: str) -> None:
    """The refusal of an unknown path below `/vault/` names one that exists, and repeats nothing."""
    for method in ("GET", "POST"):
        text = detail(client, method, path)
        assert expected in text
        assert "smt_" not in text


@pytest.mark.parametrize(
    "path",
    ["/vault/", "/vault/nothing/x", "/vault/s/x", "/secrets/fetch", "/v2/secret/x", "/vault//secret/fetch"],
)
def test_other_paths_get_no_hint(client: FlaskClient, path: str) -> None:
    """A path that is like no other one is only refused."""
    assert detail(client, "POST", path) == "No resource exists at this path."


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ("ttl", "ttl_seconds"),
        ("TTL", "ttl_seconds"),
        ("maxReads", "max_reads"),
        ("max-read", "max_reads"),
        ("label", "labels"),
        ("sekret", "secret"),
        ("hunter2hunter2", ""),
        ("x" * 100_000, ""),
        ("", ""),
    ],
)
def test_an_unknown_field_gets_a_similar_one(client: FlaskClient, field: str, meant: str) -> None:
    """A near miss of a field, on its own and in a batch, names that field and not its value."""
    hint = f"Unknown field. Did you mean `{meant}`?" if meant else "Unknown field."
    one = {"secret": "YQ==", field: "hunter2"}
    for path, body, place in (
        (CREATE, one, field),
        (f"{CREATE}-batch", {"secrets": [one]}, f"secrets.0.{field}"),
    ):
        reply = client.post(path, json=body)
        assert reply.status_code == 422
        assert messages_of(reply.json) == {place[:256]: [hint]}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("_-8=", ["URL-safe"]),
        ("_-8", ["URL-safe", "padding"]),
        ("aGk", ["padding"]),
        ("aGk=\n", ["line breaks"]),
        ("aGVs\r\nbG8h", ["line breaks"]),
        ("a Gk", ["line breaks", "padding"]),
        ("aGk==", ["standard alphabet"]),
        ("aGVsb", ["standard alphabet"]),
        ("p@ssword", ["standard alphabet"]),
        ("ü", ["standard alphabet"]),
        (" ", ["standard alphabet"]),
        *((text, ["standard alphabet"]) for text in ("YQ===", "YQ==YQ==", "\ud800")),
        *((text, []) for text in ("", "YR==")),
    ],
)
def test_base64_of_another_kind_is_named(
    client: FlaskClient, stored: Stored, text: str, named: list[str]
) -> None:
    """The refusal of a value says how it differs from canonical base64, repeats and stores nothing of it."""
    reply = client.post(CREATE, json={"secret": text})
    assert reply.status_code == 400
    found = reply.get_json(force=True)["detail"]
    assert found.startswith("invalid base64")
    for kind in ("URL-safe", "padding:", "line breaks", "standard alphabet"):
        assert (kind in found) == (kind.removesuffix(":") in named), kind
    assert text.strip() not in found or not text.strip()
    assert stored.secrets.count_documents({}) == 0
    [entry] = stored.audit_logs.find()
    assert (entry["action"], entry["status"]) == ("create", "bad_request")
