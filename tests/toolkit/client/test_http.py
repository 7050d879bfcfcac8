"""The HTTP client: proxies, servers that do not read, and those that send without end.

`test_service.py` has the other failures.
"""

import socket
from collections.abc import Iterator
from contextlib import suppress
from threading import Thread

import pytest

from vault.toolkit.client.http import Failure, HTTPClient, RequestFailedError, Waits


class Proxy:
    """A proxy that refuses every tunnel."""

    def __init__(self, listener: socket.socket) -> None:
        self.address = f"127.0.0.1:{listener.getsockname()[1]}"
        self.requests: list[bytes] = []
        self._listener = listener

    def serve(self) -> None:
        """Refuse the tunnels that are asked for until the listener is closed."""
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                self.requests.append(connection.recv(65_536))
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    """Return the proxy of the environment."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = Proxy(listener)
        for name in ("HTTP_PROXY", "HTTPS_PROXY"):
            monkeypatch.setenv(name, f"http://user:w%40rd@{running.address}")
            monkeypatch.setenv(name.lower(), f"http://user:w%40rd@{running.address}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        thread = Thread(target=running.serve, daemon=True)
        thread.start()
        yield running
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(30)


def failure(url: str, *, allows_proxy: bool) -> str:
    """Return how a request to a server that does not answer fails."""
    client = HTTPClient(url, max_bytes=100, allows_proxy=allows_proxy)
    with pytest.raises(RequestFailedError) as caught:
        client.request("GET", "/keys", headers={}, timeout=30)
    client.close()
    return str(caught.value)


def test_https_goes_through_a_tunnel_of_the_proxy(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment's proxy, if it is allowed, gets a tunnel to make, and its own credential."""
    assert failure("https://issuer.invalid", allows_proxy=True) == "cannot be reached through the proxy"
    [request] = proxy.requests
    assert request.startswith(b"CONNECT issuer.invalid:443 HTTP/1.")
    assert b"\r\nproxy-authorization: basic dxnlcjp3qhjk\r\n" in request.lower()
    monkeypatch.setenv("https_proxy", proxy.address)
    failure("https://issuer.invalid", allows_proxy=True)
    assert b"authorization" not in proxy.requests[1].lower()


def test_no_proxy_sees_other_requests(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither plain HTTP, nor a client that allows no proxy, nor an excepted host uses the environment's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    refused = "cannot be reached: Connection refused"
    assert failure(f"http://127.0.0.1:{port}", allows_proxy=True) == refused
    assert failure(f"https://127.0.0.1:{port}", allows_proxy=False) == refused
    for excepted in ("127.0.0.1", f"127.0.0.1:{port}"):
        monkeypatch.setenv("no_proxy", excepted)
        assert failure(f"https://127.0.0.1:{port}", allows_proxy=True) == refused
    assert proxy.requests == []


def test_a_server_that_does_not_read_is_late() -> None:
    """A request that cannot be sent fails like one without an answer."""
    waits = Waits(connect=0.2, read=0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = HTTPClient(f"http://127.0.0.1:{listener.getsockname()[1]}", max_bytes=100)
        with pytest.raises(RequestFailedError) as caught:
            client.request("POST", "/", headers={}, body=bytes(64 * 1_048_576), timeout=waits)
        client.close()
    assert caught.value.failure is Failure.LATE


def test_a_reply_with_two_lengths_is_broken_off() -> None:
    """A reply whose length is ambiguous is not read, and the server is not said to be unreachable."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")

        thread = Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert failure(url, allows_proxy=False) == "breaks off its reply"
        thread.join()


@pytest.mark.parametrize(
    ("head", "flood"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"a: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 5_000 + b"\r\na\r\n"),
    ],
    ids=["interim replies", "trailers", "extensions"],
)
def test_a_reply_without_end_is_too_large(head: bytes, flood: bytes) -> None:
    """The bytes that a server sends around the content are limited: all of them would take all the CPU."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection, suppress(OSError):
                connection.recv(65_536)
                connection.sendall(head)
                while True:
                    connection.sendall(flood * 1_000)

        thread = Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        assert failure(url, allows_proxy=False) == "sends a reply of more than 100 bytes"
        thread.join()
