"""Oversized heads and pipelines do not affect other clients."""

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.server.test_gunicorn_conf import CREATE
from tests.support.databases import new_database
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process

HEAD = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode()
BODY = b'{"secret": "YQ=="}'
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture(scope="module")
def one_worker(
    mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """Run a service with a single worker, which all clients share."""
    with new_database(mongod) as uri:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, "WEB_CONCURRENCY": "1"}
        folder = tmp_path_factory.mktemp("clients")
        with Service(settings, measured=True, patient=True, folder=folder) as service:
            service.wait_until_started()
            yield service


def connect(service: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60)


@pytest.mark.parametrize(
    "flood",
    [
        b"".join(b"X-%d: y\r\n" % number for number in range(100_000)),
        b"X: " + b"y" * 10_000_000,
        b"X-" + b"y" * 10_000_000,
        b"Content-Length: " + b"9" * 100_000 + b"\r\n",
        b"\r" * 1_000_000,
        b"Cookie: " + b"a=b; " * 2_000_000,
    ],
    ids=["many", "a long value", "a long name", "a long length", "returns", "cookies"],
)
def test_an_excessive_number_of_headers_is_refused(one_worker: Service, flood: bytes) -> None:
    """Oversized headers are refused before they are read completely, and the worker continues."""
    with connect(one_worker) as connection:
        with suppress(OSError):
            connection.sendall(HEAD + flood + b"\r\n\r\n")
        with suppress(ConnectionError):
            assert connection.recv(13)[:10] in (b"HTTP/1.1 4", b"")
    assert one_worker.fetch(one_worker.create(b"afterwards")).status == 200


@pytest.mark.promise("network")
def test_the_total_size_of_headers_is_limited(one_worker: Service) -> None:
    """Headers of 8 kB each, within every limit of a single header, are refused from 32 kB in total."""
    for count, status in [(3, b"200"), (5, b"431")]:
        with connect(one_worker) as connection:
            # At once: after the refusal, the service may already have closed the connection.
            header = b"X: " + b"y" * 8_000 + b"\r\n"
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + header * count + b"\r\n")
            assert connection.recv(12) == b"HTTP/1.1 " + status


def test_pipelined_requests_are_answered_in_order_and_block_no_one(one_worker: Service) -> None:
    """Hundreds of pipelined requests are answered in order while other clients are answered too."""
    ids: list[str] = []
    said = b""
    with connect(one_worker) as connection:
        for _ in range(10):
            # There are always 300, however slow this client is.
            new = [
                f"r-{len(ids) + number}" for number in range(300 - len(ids) + said.count(b"HTTP/1.1 200 OK"))
            ]
            named = (b"Host: x\r\nX-Request-ID: " + name.encode() for name in new)
            connection.sendall(b"".join(WHOLE.replace(b"Host: x", host) for host in named))
            ids += new
            said += connection.recv(65_536)
            assert one_worker.fetch(one_worker.create(b"meanwhile")).status == 200
        connection.shutdown(socket.SHUT_WR)
        while more := connection.recv(65_536):
            said += more
    lines = [line for line in said.decode().splitlines() if line.startswith("X-Request-ID: ")]
    assert [line.removeprefix("X-Request-ID: ") for line in lines] == ids
    assert said.count(b"HTTP/1.1 200 OK") == len(ids)
    # If the others had to wait, it would be for all 300, ten times.
    assert len(ids) < 1_500
