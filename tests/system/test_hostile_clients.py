"""Slow, half-open, oversized and numerous clients are disconnected, and do not affect other clients."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from tests.cli.waiting import wait_until
from tests.server.test_gunicorn_conf import CREATE, log_lines
from tests.support.databases import new_database
from tests.support.service import Service
from vault.cli.dev.mongod import Mongod

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


def held(service: Service) -> int:
    """Return the number of the service's open connections, from the system's connection table."""
    ours = f"0100007F:{service.port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(local == ours and state == "01" for _, local, _, state, *_ in rows)


def trickle(service: Service, beginning: bytes, piece: bytes) -> bytes:
    """Send *beginning*, then a *piece* each half second until the service disconnects; return the reply."""
    said = b""
    with connect(service) as connection:
        connection.sendall(beginning)
        connection.settimeout(0.5)
        for _ in range(120):
            try:
                more = connection.recv(65_536)
            except TimeoutError:
                with suppress(OSError):
                    connection.sendall(piece)
            except OSError:
                return said
            else:
                said += more
                if not more:
                    return said
    raise AssertionError("the service did not hang up")


def unfinished(piece: bytes) -> list[tuple[bytes, bytes]]:
    """Return beginnings of requests, each with the *piece* that a slow client repeats after it."""
    length, chunked = HEAD + b"Content-Length: 1000\r\n\r\n{", HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
    framed = b"1\r\n" + piece + b"\r\n" if piece else b""
    kinds = [
        (length, piece),
        (chunked + b"1\r\n{\r\n", framed),
        (chunked + b"1", b""),
        (HEAD, b""),
        (b"", b""),
    ]
    # After an answered request, like a client that keeps its connection, which may then be idle.
    return kinds + [(WHOLE + beginning, more) for beginning, more in kinds if beginning]


@pytest.mark.promise("network")
@pytest.mark.nightly
def test_an_unfinished_request_is_disconnected(one_worker: Service) -> None:
    """Half a body returns 408, half a head returns nothing, and both lose the connection, slow or not."""
    kinds = [*unfinished(b""), *unfinished(b" ")]
    with ThreadPoolExecutor(len(kinds)) as pool:
        ends = [pool.submit(trickle, one_worker, beginning, more) for beginning, more in kinds]
        while not all(end.done() for end in ends):
            assert one_worker.fetch(one_worker.create(b"meanwhile")).status == 200
            time.sleep(0.1)
        answers = [end.result() for end in ends]
    for said in (answers[:9], answers[9:]):
        for alone, after in zip(said[:4], said[5:], strict=True):
            assert after.startswith(b"HTTP/1.1 200 OK")
            assert after.count(b"HTTP/1.1 ") == 1 + alone.count(b"HTTP/1.1 ")
        assert [alone[:13] for alone in said[:5]] == [b"HTTP/1.1 408 "] * 3 + [b"", b""]
        assert b"The body did not arrive in time." in said[0]
        # A client must not send its next request on this connection.
        assert all(b"\r\nConnection: close\r\n" in alone for alone in said[:3])
    wait_until(lambda: held(one_worker) == 0, pause=0.2)


@pytest.mark.promise("network")
@pytest.mark.nightly
def test_hundreds_of_half_open_connections_block_no_one(one_worker: Service) -> None:
    """While 400 clients hold half-open connections, the worker stays up and answers other clients."""
    assert one_worker.process is not None
    worker = one_worker.workers(1)
    with ExitStack() as connections:
        for number in range(400):
            connection = connections.enter_context(connect(one_worker))
            connection.sendall([b"", HEAD, HEAD + b"Content-Length: 9\r\n\r\n{", WHOLE + HEAD][number % 4])
        for _ in range(20):
            assert one_worker.fetch(one_worker.create(b"meanwhile")).status == 200
        wait_until(lambda: held(one_worker) == 0, pause=0.2)
    assert one_worker.get("/health/ready").status == 200
    assert one_worker.workers(1) == worker


@pytest.mark.nightly
def test_a_client_that_does_not_read_is_disconnected(one_worker: Service) -> None:
    """A client that requests much and reads nothing is disconnected, and other clients are answered."""
    earlier = len(log_lines(one_worker))
    with connect(one_worker) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        wait_until(lambda: held(one_worker) == 1)
        connection.sendall(b"GET /docs/ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        assert one_worker.fetch(one_worker.create(b"meanwhile")).status == 200
        wait_until(lambda: held(one_worker) == 0, pause=0.2)
    assert one_worker.get("/health/ready").status == 200
    messages = [(line["level"], line["message"]) for line in log_lines(one_worker)[earlier:]]
    assert ("warning", "a client did not take its reply in time") in messages
    assert not {level for level, _ in messages} & {"error", "critical"}


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
