"""Create and fetch over HTTP, with each of their refusals."""

import io
import json
import re
from base64 import b64encode
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.database import Database as MongoDatabase
from werkzeug.test import TestResponse

from tests.conftest import running_app, start
from tests.support.problems import fields_of
from tests.support.trail import block_trail
from vault.common.errors import InvalidBase64Error
from vault.core.documents.stored_secret import StoredSecret
from vault.toolkit.document.fields import BASE64_PATTERN, Base64

CREATE = "/vault/secret/create/"
FETCH = "/vault/secret/fetch"
UNKNOWN_ID = "550e8400-e29b-41d4-a716-446655440000"


def post(client: FlaskClient, path: str, body: object, **headers: str) -> TestResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(path, data=data, headers={"Content-Type": "application/json", **headers})


def assert_refused(reply: TestResponse, status: int, detail: str) -> dict[str, Any]:
    assert reply.status_code == status
    assert reply.content_type == "application/problem+json"
    problem: dict[str, Any] = json.loads(reply.data)
    assert problem["type"] == f"/problems/{problem['code'].replace('_', '-')}"
    assert problem["request_id"] == reply.headers["X-Request-ID"]
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"].startswith(detail)
    return problem


def entries(stored: MongoDatabase[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(entry["action"], entry["status"]) for entry in stored.audit_logs.find().sort("_id")]


@pytest.mark.parametrize(
    "plaintext", [b"a", b"my_secret_password", b"\x00\xff" * 500, bytes(65_536)], ids=len
)
def test_a_secret_comes_back_unchanged(client: FlaskClient, plaintext: bytes) -> None:
    """A secret of any bytes, up to the limit, comes back as the same string."""
    secret = b64encode(plaintext).decode()
    created = post(client, CREATE, {"secret": secret})
    assert created.status_code == 200
    assert str(UUID(created.json["secret_id"], version=4)) == created.json["secret_id"]
    fetched = post(client, FETCH, created.json)
    assert (fetched.status_code, fetched.json) == (200, {"secret": secret})


@pytest.mark.parametrize("slash", ["", "/"])
def test_paths_answer_with_and_without_slash(client: FlaskClient, slash: str) -> None:
    """No path redirects, because curl would not follow."""
    created = post(client, CREATE.rstrip("/") + slash, {"secret": "YQ=="})
    assert created.status_code == 200
    assert post(client, FETCH + slash, created.json).status_code == 200


@pytest.mark.promise(2)
def test_replies_are_not_kept_by_caches(client: FlaskClient) -> None:
    """Every reply below `/vault/`, including refusals, forbids caching."""
    for path in (CREATE, FETCH, "/vault/nowhere"):
        assert post(client, path, {}).headers["Cache-Control"] == "no-store"


@given(
    text=st.text()
    | st.text("abAZ019+/=-_ \n", max_size=12)
    | st.binary(max_size=9).map(lambda raw: b64encode(raw).decode())
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_only_the_output_of_an_encoder_is_accepted(text: str) -> None:
    """Base64 is accepted only if encoding its bytes gives the same text, exactly as the document says."""
    # As in JSON Schema, `$` is the very end.
    is_documented = bool(re.fullmatch(BASE64_PATTERN, text))
    try:
        decoded = Base64().deserialize(text)
    except InvalidBase64Error:
        assert not is_documented
    else:
        assert is_documented
        assert b64encode(decoded).decode() == text


def test_malformed_json_is_400(client: FlaskClient, stored: MongoDatabase[dict[str, Any]]) -> None:
    """A body that is not JSON, or is ambiguous JSON, is refused and recorded."""
    for body in [
        b"",
        b"{",
        b'{"secret": "YQ==",}',
        b'{"secret": "YQ==", "secret": "YQ=="}',
        b'{"secret": {"a": 1, "a": 1}}',
        b'{"secret": NaN}',
        b'{"secret": "YQ=="}\x00',
        b'{"secret": "Y\x00Q=="}',
        b'\xef\xbb\xbf{"secret": "YQ=="}',
        '{"secret": "YQ=="}'.encode("utf-16"),
        b'{"secret": "\xff\xfe"}',
        b'{"secret": ' + b"1" * 5000 + b"}",
        b"[" * 50_000,
    ]:
        assert_refused(post(client, CREATE, body), 400, "The body is malformed JSON")
    assert set(entries(stored)) == {("create", "bad_request")}


def test_an_invalid_body_is_422_and_names_each_field(
    client: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """JSON with wrong types or unknown fields is refused by the name of each field."""
    for path, body, fields in [
        (CREATE, {}, ["secret"]),
        (CREATE, {"secret": 5}, ["secret"]),
        (CREATE, {"secret": {"$ne": None}}, ["secret"]),
        (CREATE, {"secret": "YQ==", "other": 1, "more": 2}, ["more", "other"]),
        (FETCH, {"secret_id": f"{{{UNKNOWN_ID}}}"}, ["secret_id"]),
        (FETCH, {"secret_id": f"urn:uuid:{UNKNOWN_ID}"}, ["secret_id"]),
        (FETCH, {"secret_id": UNKNOWN_ID.replace("-", "")}, ["secret_id"]),
        (FETCH, {"secret_id": UNKNOWN_ID + "\n"}, ["secret_id"]),
        (FETCH, {"secret_id": UNKNOWN_ID[:-1] + "\u0660"}, ["secret_id"]),
    ]:
        problem = assert_refused(post(client, path, body), 422, "")
        assert sorted(fields_of(problem)) == fields
    assert {status for _, status in entries(stored)} == {"bad_request"}
    assert stored.secrets.count_documents({}) == 0


def test_a_name_in_place_of_an_id_is_422_and_says_where_names_go(client: FlaskClient) -> None:
    """A name in the field of the ID is refused with the field for names."""
    problem = assert_refused(post(client, FETCH, {"secret_id": "billing/db-password"}), 422, "")
    [error] = problem["errors"]
    assert error == {
        "field": "secret_id",
        "message": "Not a valid UUID. To use a name, send it as `name`.",
    }


def test_another_content_type_is_415(client: FlaskClient, stored: MongoDatabase[dict[str, Any]]) -> None:
    """Any body except plain JSON in UTF-8, including compressed ones, is refused unread."""
    for headers in [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Encoding": "gzip"},
    ]:
        assert_refused(post(client, CREATE, {"secret": "YQ=="}, **headers), 415, "The ")
    assert entries(stored) == [("create", "bad_request")] * 4


def test_a_utf_8_charset_is_accepted(client: FlaskClient) -> None:
    """A content type with UTF-8 as its charset equals one without a charset."""
    reply = post(client, CREATE, {"secret": "YQ=="}, **{"Content-Type": "application/json; charset=UTF-8"})
    assert reply.status_code == 200


def test_a_secret_over_the_limit_is_413(client: FlaskClient, stored: MongoDatabase[dict[str, Any]]) -> None:
    """A secret one byte over the limit is refused with the limit, and nothing is stored."""
    secret = b64encode(bytes(65_537)).decode()
    assert_refused(post(client, CREATE, {"secret": secret}), 413, "A secret may have at most 65536 bytes.")
    assert stored.secrets.count_documents({}) == 0
    assert entries(stored) == [("create", "bad_request")]


def test_the_limit_is_a_setting(environment: dict[str, str]) -> None:
    """`MAX_SECRET_BYTES` sets the limit of secrets, and with it the limit of bodies."""
    with running_app({**environment, "MAX_SECRET_BYTES": "200000"}) as app:
        client = app.test_client()
        assert post(client, CREATE, {"secret": b64encode(bytes(200_000)).decode()}).status_code == 200
        assert post(client, CREATE, {"secret": b64encode(bytes(200_001)).decode()}).status_code == 413


@pytest.mark.parametrize("declared", [True, False], ids=["with Content-Length", "without"])
def test_a_body_over_the_limit_is_413_and_not_read(client: FlaskClient, declared: bool) -> None:
    """A body is refused by its declared length, or as soon as it exceeds the limit."""
    body = CountingStream(100_000_000)
    length = {"CONTENT_LENGTH": "100000000"} if declared else {"wsgi.input_terminated": True}
    reply = client.post(
        CREATE, content_type="application/json", environ_overrides={"wsgi.input": body, **length}
    )
    assert_refused(
        reply, 413, f"The body may have at most {client.application.config['MAX_CONTENT_LENGTH']} bytes."
    )
    assert body.read_so_far <= (0 if declared else 65_536 * 4)


def test_a_short_chunked_body_is_accepted(client: FlaskClient) -> None:
    """A chunked body within the limit is read like any other."""
    body = json.dumps({"secret": "YQ=="}).encode()
    reply = client.post(
        CREATE, data=body, content_type="application/json", environ_overrides={"wsgi.input_terminated": True}
    )
    assert reply.status_code == 200


class CountingStream:
    """A body of white space that records how much of it was read."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.read_so_far = 0

    def read(self, size: int = -1) -> bytes:
        """Return up to *size* bytes."""
        size = min(size if size >= 0 else self.size, self.size - self.read_so_far)
        self.read_so_far += size
        return b" " * size


def test_a_truncated_body_is_400(client: FlaskClient, stored: MongoDatabase[dict[str, Any]]) -> None:
    """A body shorter than declared is refused, even if the received part is JSON."""
    body = io.BytesIO(b'{"secret":"YQ=="}')
    overrides = {"wsgi.input": body, "wsgi.input_terminated": True, "CONTENT_LENGTH": "500"}
    reply = client.post(CREATE, content_type="application/json", environ_overrides=overrides)
    assert_refused(reply, 400, "The body is shorter than its Content-Length.")
    assert stored.secrets.count_documents({}) == 0


def test_a_body_with_broken_framing_is_400(client: FlaskClient) -> None:
    """A body with broken framing is refused as the client's mistake."""

    class Broken:
        def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - a stream's signature
            raise OSError("gone")

    reply = client.post(
        CREATE,
        content_type="application/json",
        environ_overrides={"wsgi.input": Broken(), "CONTENT_LENGTH": "5"},
    )
    assert_refused(reply, 400, "The body's framing violates HTTP.")


def test_an_altered_secret_is_500_and_reveals_nothing(
    client: FlaskClient,
    stored: MongoDatabase[dict[str, Any]],
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stored value that does not verify returns only the status, and is recorded."""
    created = post(client, CREATE, {"secret": "YQ=="}).json
    stored.secrets.update_one({}, {"$set": {"version": 2}})
    problem = assert_refused(post(client, FETCH, created), 500, "The request could not be completed.")
    assert set(problem) == {"type", "title", "status", "detail", "code", "request_id"}
    assert entries(stored)[-1] == ("fetch", "error")
    [line] = capsys.readouterr().out.splitlines()
    assert '"status": 500' in line
    assert created["secret_id"] not in line + caplog.text


@pytest.mark.promise(2)
def test_a_defect_is_500_and_leaks_nothing(
    client: FlaskClient, stored: MongoDatabase[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error returns the same reply as a value that does not verify, and is recorded."""

    def fail(*_: object) -> None:
        raise RuntimeError("quoting hunter2")

    monkeypatch.setattr(StoredSecret, "decrypt_version", fail)
    created = post(client, CREATE, {"secret": "YQ=="}).json
    reply = post(client, FETCH, created)
    assert_refused(reply, 500, "The request could not be completed.")
    assert b"hunter2" not in reply.data
    assert entries(stored)[-1] == ("fetch", "error")


@pytest.mark.usefixtures("own_timeouts")
def test_without_mongodb_the_answer_is_503(environment: dict[str, str]) -> None:
    """Without MongoDB, the service returns a retry time and no detail of the failure."""
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as app:
        for path, body in ((CREATE, {"secret": "YQ=="}), (FETCH, {"secret_id": UNKNOWN_ID})):
            reply = post(app.test_client(), path, body)
            assert_refused(reply, 503, "The service cannot reach its storage.")
            assert int(reply.headers["Retry-After"]) > 0
            assert b"127.0.0.1" not in reply.data


@pytest.mark.parametrize("body", [{"secret_id": UNKNOWN_ID}, b"{"], ids=str)
def test_a_refusal_that_cannot_be_recorded_is_503(
    client: FlaskClient, stored: MongoDatabase[dict[str, Any]], body: object
) -> None:
    """Even a refusal is not answered without its audit entry."""
    block_trail(stored)
    assert_refused(post(client, FETCH, body), 503, "The service cannot write its audit trail.")


def test_a_secret_that_cannot_be_stored_leaves_nothing(
    client: FlaskClient, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """If MongoDB refuses only the secrets, the answer is 503, and neither a secret nor an entry is stored."""
    start(client.application)
    stored.command("collMod", "secrets", validator={"never": {"$exists": True}})
    assert post(client, CREATE, {"secret": "YQ=="}).status_code == 503
    assert entries(stored) == []
    assert stored.secrets.count_documents({}) == 0
    block_trail(stored)
    assert_refused(post(client, CREATE, {"secret": "YQ=="}), 503, "The service cannot write its audit trail.")
