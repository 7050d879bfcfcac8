"""Streams of sockets with one deadline for all reads."""

import socket
from time import monotonic

import pytest

from vault.client import timed_reads


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
