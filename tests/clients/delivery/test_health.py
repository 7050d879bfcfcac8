"""The health check of a driver, against a socket of the test's own."""

import socket
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from vault.clients.delivery import health


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of the driver's socket."""
    return tmp_path / "driver.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[socket.socket]:
    """Return the driver's listening socket."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        listener.settimeout(60)
        yield listener


def test_the_whole_reply_is_read(path: Path, listener: socket.socket) -> None:
    """The check stays until the end of the reply, so a healthy driver logs no client that left."""
    waited: list[bool] = []

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1_000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            connection.settimeout(0.2)
            try:
                waited.append(connection.recv(1) != b"")
            except TimeoutError:
                waited.append(True)
                connection.sendall(b"{}")

    answering = Thread(target=answer)
    answering.start()
    failure = health.failure(path)
    answering.join()
    assert (failure, waited) == ("", [True])
