"""The client of the service, with services that misbehave."""

import json
import socket
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.clients.swarm.docker import CONTEXT, asked
from tests.system.test_tls import make
from vault.clients.delivery import client as module
from vault.clients.delivery.cache import Fetched
from vault.clients.delivery.client import Client, Fetch, TokenFile
from vault.clients.delivery.outcomes import (
    DeniedError,
    LargeValueError,
    NotDeliveredError,
    RefusedError,
    UnavailableError,
)
from vault.clients.delivery.selection import DeliveryRequest, Reference

Handler = Callable[[socket.socket], None]

TASK = DeliveryRequest(asked()).task
FETCH = Fetch(Reference(name="a"), TASK)
#: Long for a service that answers, short for a test.
TIMEOUT_SECONDS = 0.5


class Peer:
    """A service that is nothing but a function of a connection."""

    def __init__(self, handler: Handler, listener: socket.socket) -> None:
        self.handler = handler
        self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.connections = 0
        self._listener = listener

    def serve(self) -> None:
        """Handle connections until the listener is closed."""
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                self.connections += 1
                with connection, suppress(OSError):
                    self.handler(connection)


@contextmanager
def peer(handler: Handler) -> Iterator[Peer]:
    """Run a service with *handler*."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Peer(handler, listener)
        thread = Thread(target=running.serve, daemon=True)
        thread.start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def received(connection: socket.socket) -> tuple[str, dict[str, str], bytes]:
    """Return the request line, the headers and the body of a request."""
    stream = connection.makefile("rb")
    line = stream.readline().decode().strip()
    headers = {}
    while header := stream.readline().decode().strip():
        name, _, text = header.partition(": ")
        headers[name] = text
    return line, headers, stream.read(int(headers["Content-Length"]))


def http(body: bytes, status: int = 200) -> bytes:
    """Return a reply."""
    return b"HTTP/1.1 %d Any\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


def answering(reply: bytes) -> Handler:
    """Return a handler that sends *reply*."""

    def handle(connection: socket.socket) -> None:
        received(connection)
        connection.sendall(reply)

    return handle


def items(*found: object) -> bytes:
    """Return a reply with these items."""
    return http(json.dumps({"secrets": found}).encode())


def item(value: bytes, version: int = 1) -> dict[str, object]:
    """Return an item with a value."""
    return {"secret_id": "-", "name": "a", "version": version, "secret": b64encode(value).decode()}


@pytest.fixture
def token(tmp_path: Path) -> TokenFile:
    """Return a file with a token."""
    path = tmp_path / "token"
    path.write_text("smt_abc\n")
    return TokenFile(path)


def test_a_batch_is_one_request(token: TokenFile) -> None:
    """All fetches go out in one request, with their contexts and the token, and each gets its value."""
    asked: list[tuple[str, dict[str, str], bytes]] = []

    def handle(connection: socket.socket) -> None:
        asked.append(received(connection))
        connection.sendall(items(item(b"one"), item(b"\x00", 7)))

    with peer(handle) as service:
        client = Client(service.url + "/secrets/", token)
        found = client.fetch([FETCH, Fetch(Reference(secret_id="b", version=7), TASK, "no" * 200)])
    [(line, headers, body)] = asked
    assert line == "POST /secrets/vault/secret/fetch-batch HTTP/1.1"
    assert headers["Authorization"] == "Bearer smt_abc"
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"].startswith("secret-manager-swarm-driver/")
    assert json.loads(body) == {
        "secrets": [
            {"name": "a", "delivery": CONTEXT},
            {"secret_id": "b", "version": 7, "delivery": CONTEXT | {"refusal": "no" * 128}},
        ]
    }
    request_id = headers["X-Request-ID"]
    assert found == [
        Fetched(1, b"one", request_id, frozenset({"-", "a"})),
        Fetched(7, b"\x00", request_id, frozenset({"-", "a"})),
    ]


def test_a_refused_item_fails_alone(token: TokenFile) -> None:
    """Each item has its own outcome, by status and code."""
    problems = [
        {"problem": {"status": 404, "code": "secret_not_found"}},
        {"problem": {"status": 413, "code": "too_large_for_batch"}},
        {"problem": {"status": 503, "code": "secret_busy"}},
        {"problem": {"status": 500, "code": "decryption"}},
        {"problem": {"status": "?"}},
        {"problem": 1},
        {"version": 1},
        {"version": "x", "secret": ""},
        {"version": 1, "secret": "?"},
        7,
    ]
    with peer(answering(items(*problems, item(b"one")))) as service:
        *failed, good = Client(service.url, token).fetch([FETCH] * 11)
    assert isinstance(good, Fetched)
    kinds = [
        DeniedError,
        LargeValueError,
        UnavailableError,
        RefusedError,
        RefusedError,
        *[UnavailableError] * 5,
    ]
    assert [type(error) for error in failed] == kinds
    assert str(failed[0]) == "the service answers 404 (secret_not_found)"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, DeniedError) for status in (401, 403, 404)),
        *((status, RefusedError) for status in (302, 413, 422, 500)),
        *((status, UnavailableError) for status in (429, 502, 503, 504)),
    ],
)
def test_a_refused_batch_fails_as_a_whole(
    token: TokenFile, status: int, kind: type[NotDeliveredError]
) -> None:
    """A refusal is final, while a service that cannot serve for now is away; a redirect is not followed."""
    with peer(answering(http(b'{"code": "a_code"}', status))) as service:
        client = Client(service.url, token)
        with pytest.raises(kind, match=rf"the service answers {status} \(a_code\)") as error:
            client.fetch([FETCH])
        assert type(error.value) is kind
        service.handler = answering(http(b"<html>", status))
        with pytest.raises(kind, match=f"the service answers {status}$"):
            client.fetch([FETCH])


@pytest.mark.parametrize(
    "reply",
    [
        http(b"hush"),
        http(b"[" * 100_000),
        http(b"[]"),
        http(b'{"secrets": {}}'),
        items(item(b"1"), item(b"2")),
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 100,
        b"hush\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhush\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: hush\r\n" * 200 + b"\r\n",
    ],
)
def test_an_odd_reply_means_that_the_service_is_away(token: TokenFile, reply: bytes) -> None:
    """A reply that is not one of the service is not quoted, and does not count as a refusal."""
    with peer(answering(reply)) as service, pytest.raises(UnavailableError, match="service") as error:
        Client(service.url, token).fetch([FETCH])
    assert "hush" not in str(error.value)


def test_a_reply_without_a_length_is_read(token: TokenFile) -> None:
    """A proxy can end a reply with the connection."""
    reply = items(item(b"one")).partition(b"\r\n\r\n")[2]
    with peer(answering(b"HTTP/1.1 200 OK\r\n\r\n" + reply)) as service:
        [found] = Client(service.url, token).fetch([FETCH])
    assert isinstance(found, Fetched)
    assert found.value == b"one"


def test_a_reply_is_bounded(token: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply that is larger than any of the service is not read to its end."""
    monkeypatch.setattr(module, "_MAX_REPLY_BYTES", 100)
    reply = items(item(b"a" * 200))
    with peer(answering(reply)) as service, pytest.raises(UnavailableError, match="more than 100 bytes"):
        Client(service.url, token).fetch([FETCH])


def test_a_service_that_is_not_there_is_away(token: TokenFile) -> None:
    """A refused connection is away, and the next fetch attempts it again."""
    with peer(answering(items(item(b"one")))) as service:
        pass
    client = Client(service.url, token)
    for _ in range(2):
        with pytest.raises(UnavailableError, match="cannot be reached: Connection refused"):
            client.fetch([FETCH])


def hang(connection: socket.socket) -> None:
    """Answer nothing until the client leaves."""
    while connection.recv(65_536):
        pass


def drip(reply: bytes) -> Handler:
    """Return a handler that sends *reply* a byte at a time, each early enough for a read."""

    def handle(connection: socket.socket) -> None:
        received(connection)
        for byte in reply:
            connection.sendall(bytes([byte]))
            time.sleep(TIMEOUT_SECONDS / 20)

    return handle


@pytest.mark.promise("swarm")
@pytest.mark.parametrize(
    "handler",
    [
        hang,
        drip(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100),
        drip(b"HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n" + b" " * 200),
    ],
    ids=["hanging", "slow headers", "slow body"],
)
def test_a_slow_service_is_away_for_a_while(
    token: TokenFile, monkeypatch: pytest.MonkeyPatch, handler: Handler
) -> None:
    """A hanging service, and one that drips, is given up after the timeout; then fetches fail immediately."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 60)
    with peer(handler) as service:
        client = Client(service.url, token)
        with pytest.raises(UnavailableError, match="did not answer within"):
            client.fetch([FETCH])
        with pytest.raises(UnavailableError, match="within the last 60 s"):
            client.fetch([FETCH])
        assert service.connections == 1


def test_the_pause_ends(token: TokenFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the pause, the service is asked again."""
    monkeypatch.setattr(module, "_TIMEOUT_SECONDS", TIMEOUT_SECONDS)
    monkeypatch.setattr(module, "_PAUSE_SECONDS", 0)
    with peer(hang) as service:
        client = Client(service.url, token)
        with pytest.raises(UnavailableError, match="did not answer within"):
            client.fetch([FETCH])
        service.handler = answering(items(item(b"one")))
        monkeypatch.setattr(module, "_TIMEOUT_SECONDS", 30)
        assert len(client.fetch([FETCH])) == 1


def over_tls(context: ssl.SSLContext, handler: Handler) -> Handler:
    """Return *handler* behind TLS."""

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as wrapped:
            handler(wrapped)

    return handle


def test_the_certificate_is_verified(token: TokenFile, tmp_path: Path) -> None:
    """With HTTPS, the service needs a certificate of the named CA."""
    authority = make(tmp_path, "authority")
    pair = make(tmp_path, "service", authority)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    with peer(over_tls(context, answering(items(item(b"one"))))) as service:
        url = service.url.replace("http:", "https:")
        [found] = Client(url, token, ca_file=str(authority.certificate)).fetch([FETCH])
        assert isinstance(found, Fetched)
        with pytest.raises(UnavailableError, match="has a certificate that is not trusted; name its CA"):
            Client(url, token).fetch([FETCH])


def test_a_ca_file_needs_certificates(token: TokenFile, tmp_path: Path) -> None:
    """A CA file that does not exist, or has no certificates, is an error at the start."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for path in (empty, tmp_path / "none.pem"):
        with pytest.raises(OSError):  # noqa: PT011 - of several kinds
            Client("https://a", token, ca_file=str(path))


def test_the_token_is_read_at_each_request(tmp_path: Path) -> None:
    """A changed token is sent with the next request; without one, nothing is sent."""
    path = tmp_path / "token"
    sent: list[str] = []

    def handle(connection: socket.socket) -> None:
        sent.append(received(connection)[1]["Authorization"])
        connection.sendall(items(item(b"one")))

    with peer(handle) as service:
        client = Client(service.url, TokenFile(path))
        with pytest.raises(NotDeliveredError, match=r"cannot be read \(FileNotFoundError\)"):
            client.fetch([FETCH])
        for text in ("smt_one", " smt_two\n"):
            path.write_text(text)
            client.fetch([FETCH])
        for text in ("", "\n", "hush\nhush", "hush hush"):
            path.write_text(text)
            with pytest.raises(NotDeliveredError, match="has no token"):
                client.fetch([FETCH])
        path.write_bytes(b"\xff")
        with pytest.raises(NotDeliveredError, match="cannot be read"):
            client.fetch([FETCH])
    assert sent == ["Bearer smt_one", "Bearer smt_two"]


@pytest.mark.parametrize(
    ("replies", "expected"),
    [
        ([(200, {"secret_id": "x", "canary": True})], ["describe"]),
        ([(404, {}), (200, {"secret_id": "x"})], ["describe", "create"]),
        (
            [(404, {}), (409, {}), (200, {"secret_id": "x", "canary": True})],
            ["describe", "create", "describe"],
        ),
        ([(200, {"secret_id": "x", "canary": False})], RefusedError),
        ([(200, {"secret_id": "x"})], RefusedError),
        ([(403, {"code": "scope_missing"})], DeniedError),
        ([(404, {}), (403, {"code": "scope_missing"})], DeniedError),
        ([(404, {}), (409, {}), (404, {})], DeniedError),
        ([(200, [])], UnavailableError),
    ],
)
def test_a_decoy_refers_to_a_canary(
    token: TokenFile, replies: list[tuple[int, Any]], expected: list[str] | type[NotDeliveredError]
) -> None:
    """A decoy is the ID of a canary, which is created once and never fetched; no other secret becomes one."""
    asked: list[tuple[str, Any]] = []

    def handle(connection: socket.socket) -> None:
        status, body = replies[len(asked)]
        line, _, sent = received(connection)
        asked.append((line.split("/")[3].split()[0], json.loads(sent)))
        connection.sendall(http(json.dumps(body).encode(), status))

    with peer(handle) as service:
        decoy = Fetch(Reference(name="service-accounts/shop_api"), TASK, is_decoy=True)
        [found] = Client(service.url, token).fetch([decoy])
    if not isinstance(expected, list):
        assert isinstance(found, expected)
        return
    assert isinstance(found, Fetched)
    assert json.loads(found.value) == {"url": service.url, "secret_id": "x"}
    assert [operation for operation, _ in asked] == expected
    for operation, body in asked:
        assert body.pop("name") == "service-accounts/shop_api"
        assert body.pop("canary", False) is (operation == "create")
        assert len(body.pop("secret", "")) >= 40 * (operation == "create")
        assert not body
