"""The document and the page's files: compressed once, revalidated by tag. Nothing else is compressed."""

import gzip
from typing import Any

import pytest
from flask.testing import FlaskClient

from vault.toolkit.http import assets

PATHS = ["/openapi.json", "/docs/ui/swagger-ui-bundle.js", "/docs/ui/swagger-ui.css", "/docs/page/docs.js"]


def test_content_is_compressed_for_clients_that_accept_it(client: FlaskClient) -> None:
    """Both forms are the same content, each with its own tag, and a cache keeps them separately."""
    for path in PATHS:
        plain = client.get(path)
        compressed = client.get(path, headers={"Accept-Encoding": "gzip, deflate, br"})
        assert "Content-Encoding" not in plain.headers, path
        assert compressed.headers["Content-Encoding"] == "gzip", path
        assert gzip.decompress(compressed.data) == plain.data, path
        assert len(compressed.data) < len(plain.data) / 2 + 100, path
        assert compressed.content_length == len(compressed.data), path
        assert compressed.content_type == plain.content_type, path
        assert compressed.headers["ETag"] != plain.headers["ETag"], path
        for reply in (plain, compressed):
            assert reply.headers["Vary"] == "Accept-Encoding"
            assert reply.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("path", PATHS[:2])
@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_a_current_copy_is_not_sent_again(client: FlaskClient, path: str, encoding: str) -> None:
    """A client that has the current form gets 304 without a body; one that has another gets all of it."""
    accepted = {"Accept-Encoding": encoding}
    etag = client.get(path, headers=accepted).headers["ETag"]
    for known in (etag, f'"other", W/{etag}', "*"):
        for method in ("GET", "HEAD"):
            reply = client.open(path, method=method, headers={**accepted, "If-None-Match": known})
            assert (reply.status_code, reply.data) == (304, b"")
            assert reply.headers["ETag"] == etag
            assert reply.headers["Vary"] == "Accept-Encoding"
            assert reply.headers["Cache-Control"] == "no-cache"
            assert "Content-Type" not in reply.headers
    other = {"gzip": "identity", "identity": "gzip"}[encoding]
    for headers in ({"Accept-Encoding": other, "If-None-Match": etag}, {**accepted, "If-None-Match": '"x"'}):
        assert client.get(path, headers=headers).status_code == 200


def test_the_client_chooses_the_form(client: FlaskClient) -> None:
    """Only a client that accepts gzip, and does not prefer the plain form, gets it."""
    for accepted, is_compressed in [
        *(("gzip", True), ("GZIP", True), ("*", True), ("br;q=1.0, gzip;q=0.8", True)),
        *((None, False), ("", False), ("gzip;q=0", False), ("br", False), ("gzip;q=0.1, identity", False)),
    ]:
        headers = {} if accepted is None else {"Accept-Encoding": accepted}
        reply = client.get("/openapi.json", headers=headers)
        assert reply.headers.get("Content-Encoding") == ("gzip" if is_compressed else None), accepted


def test_content_is_compressed_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request compresses the document, and no later one compresses anything."""
    accepted = {"Accept-Encoding": "gzip"}
    client.get("/openapi.json", headers=accepted)
    monkeypatch.setattr(assets.gzip, "compress", None)
    for path in PATHS:
        assert client.get(path, headers=accepted).status_code == 200


def test_what_does_not_get_smaller_stays_plain(client: FlaskClient) -> None:
    """Content that compression does not shorten has one form for all clients."""
    asset = assets.Asset(b"x", "text/plain")
    with client.application.test_request_context(headers={"Accept-Encoding": "gzip"}):
        reply = asset.reply()
    assert (reply.get_data(), reply.headers.get("Content-Encoding")) == (b"x", None)


@pytest.mark.promise("network")
def test_replies_with_secrets_are_never_compressed(client: FlaskClient) -> None:
    """A reply that contains a value, a refusal and a health check are plain, whatever the client accepts."""
    accepted = {"Accept-Encoding": "gzip"}
    value = {"secret": "YWFh" * 1_000}
    created: Any = client.post("/vault/secret/create/", json=value, headers=accepted)
    fetched = client.post("/vault/secret/fetch", json=created.json, headers=accepted)
    assert fetched.json == value
    refused = client.post("/vault/secret/fetch", json={"secret_id": "a" * 10_000}, headers=accepted)
    for reply in (created, fetched, refused, client.get("/health/live", headers=accepted)):
        assert "Content-Encoding" not in reply.headers
        assert "ETag" not in reply.headers
    assert fetched.headers["Cache-Control"] == "no-store"
