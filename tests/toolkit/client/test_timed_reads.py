"""Streams of sockets with one deadline for all reads."""

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from threading import Thread
from time import monotonic, sleep

import gevent.socket
import gevent.ssl
import pytest

from tests.system.test_tls import make
from vault.toolkit.client import timed_reads


def test_what_arrives_in_time_is_read() -> None:
    """The stream has what arrives, also after the connection was closed here, as long as it is open."""
    here, there = socket.socketpair()
    with there, timed_reads.stream(here, monotonic() + 60) as stream:
        assert stream.readable()
        here.close()
        there.sendall(b"a line\nrest")
        assert stream.readline() == b"a line\n"
        there.close()
        assert stream.read() == b"rest"


def test_no_read_begins_after_the_deadline() -> None:
    """After the deadline, a read fails even if there is something to read."""
    here, there = socket.socketpair()
    with here, there, timed_reads.stream(here, monotonic()) as stream:
        there.sendall(b"late")
        with pytest.raises(TimeoutError):
            stream.read(1)


@pytest.mark.parametrize("contexts", [ssl.SSLContext, gevent.ssl.SSLContext], ids=["threads", "greenlets"])
@pytest.mark.parametrize("drips_first", [True, False], ids=["handshake", "message"])
def test_a_peer_that_drips_tls_is_given_up(
    tmp_path: Path, contexts: type[ssl.SSLContext], *, drips_first: bool
) -> None:
    """Neither a handshake nor a message may take longer than the timeout, a byte at a time."""
    pair = make(tmp_path, "server")
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), contexts(ssl.PROTOCOL_TLS_CLIENT)
    server.load_cert_chain(pair.certificate, pair.key)
    client.load_verify_locations(pair.certificate)
    ours, theirs = socket.socketpair()
    ours.settimeout(0.3)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = server.wrap_bio(incoming, outgoing, server_side=True)

    def send(*, drips: bool) -> None:
        for byte in outgoing.read():
            theirs.sendall(bytes([byte]))
            sleep(0.02 * drips)

    def serve() -> None:
        with theirs, suppress(OSError):
            incoming.write(theirs.recv(65_536))
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            send(drips=drips_first)
            incoming.write(theirs.recv(65_536))
            tls.do_handshake()
            tls.write(bytes(1_000))
            send(drips=True)

    thread = Thread(target=serve, daemon=True)
    thread.start()
    connect = timed_reads.limited(client).wrap_socket
    with pytest.raises(TimeoutError), connect(ours, server_hostname="127.0.0.1") as connection:
        connection.recv(1)
    thread.join(30)
