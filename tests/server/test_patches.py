"""Each use of gevent's internals; a new version that changes them fails here."""

import threading
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket, thread
from gevent.server import StreamServer
from gevent.ssl import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, SSLContext

from tests.system.test_tls import make
from vault.server import patches


@pytest.fixture
def patched_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not hasattr(thread.LockType, "_is_owned"), "gevent has the method now: drop the patch"
    monkeypatch.setattr(thread.LockType, "_is_owned", None, raising=False)
    patches.add_lock_ownership_check()


@pytest.mark.usefixtures("patched_lock")
def test_a_condition_asks_the_lock_who_holds_it() -> None:
    """A condition on a gevent lock notifies without trying to take the lock, and only when it is held."""
    lock = thread.LockType()
    taken: list[bool] = []

    class Lock:
        """Record each attempt to take the lock."""

        _is_owned = lock._is_owned
        release = lock.release

        def acquire(self, *arguments: Any) -> bool:
            taken.append(True)
            return bool(lock.acquire(*arguments))

        def __enter__(self) -> bool:
            return self.acquire()

        def __exit__(self, *_: object) -> None:
            self.release()

    condition = threading.Condition(Lock())  # type: ignore[arg-type] # as good as one
    with condition:
        condition.notify_all()
    assert taken == [True]
    with pytest.raises(RuntimeError):
        condition.notify_all()


def test_a_connection_is_accepted_as_a_descriptor() -> None:
    """Accepting returns a descriptor and the client's address, and never waits."""
    server = StreamServer(("127.0.0.1", 0), lambda *_: None)
    server.init_socket()
    try:
        with pytest.raises(BlockingIOError):
            patches.accept(server.socket)
        with socket.create_connection(server.address) as client:
            socket.wait_read(server.socket.fileno(), timeout=60)
            descriptor, address = patches.accept(server.socket)
            assert address == client.getsockname()
            with socket.socket(fileno=descriptor) as accepted:
                accepted.sendall(b"x")
            assert client.recv(1) == b"x"
    finally:
        server.close()


def test_a_waiting_greenlet_reads_the_end_of_a_disconnected_client() -> None:
    """Disconnecting ends the wait for a client as if the client had closed the connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        waiting = gevent.spawn(ours.recv, 1)
        gevent.sleep(0)
        patches.disconnect(ours)
        assert waiting.get(timeout=60) == b""
        assert theirs.recv(1) == b""
    patches.disconnect(ours)


def test_unread_bytes_are_seen_without_reading_them() -> None:
    """A socket says whether bytes, or its end, have arrived, and never waits."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            assert not patches.has_unread(ours)
            theirs.sendall(b"x")
            assert patches.has_unread(ours)
            assert ours.recv(1) == b"x"
            assert not patches.has_unread(ours)
        assert patches.has_unread(ours)
    assert patches.has_unread(ours)


def test_unread_bytes_within_tls_are_seen(tmp_path: Path) -> None:
    """Bytes that TLS has decrypted and no one has read are seen, too."""
    pair = make(tmp_path, "server")
    server, client = SSLContext(PROTOCOL_TLS_SERVER), SSLContext(PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(pair.certificate, pair.key)
    client.load_verify_locations(pair.certificate)
    ours, theirs = socket.socketpair()
    connecting = gevent.spawn(client.wrap_socket, theirs, server_hostname="127.0.0.1")
    with server.wrap_socket(ours, server_side=True) as secure, connecting.get(timeout=60) as other:
        assert not patches.has_unread(secure)
        other.sendall(b"xy")
        assert secure.recv(1) == b"x"
        assert patches.has_unread(secure)
        assert secure.recv(1) == b"y"
        assert not patches.has_unread(secure)
