"""Deadlines of waits for a client, and what is sent to it."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent import socket

from vault.server import clients
from vault.server.clients import NEVER, Client, Deadlines, GoneError


@pytest.fixture
def pair() -> Iterator[tuple[Any, Any]]:
    """Return both ends of a connection."""
    ours, theirs = socket.socketpair()
    with ours, theirs, gevent.Timeout(60):
        yield ours, theirs


@pytest.fixture
def deadlines() -> Deadlines:
    """Return the deadlines of no client yet."""
    return Deadlines()


def waiting(ours: Any, deadlines: Deadlines, seconds: float) -> float:
    """Wait for a client that sends nothing, with a deadline in *seconds*; return the seconds until then."""
    client = Client(ours)
    deadlines.add(client)
    began = monotonic()
    client.deadline = began + seconds
    try:
        with pytest.raises(TimeoutError):
            client.receive(1)
    finally:
        deadlines.remove(client)
    assert client.deadline == NEVER
    return monotonic() - began


def test_a_wait_ends_at_its_deadline(
    pair: tuple[Any, Any], deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pass over all deadlines leaves no more time to the next pass than the next deadline has."""
    passes: list[float] = []
    schedule = deadlines._schedule
    monkeypatch.setattr(deadlines, "_schedule", lambda seconds: (passes.append(seconds), schedule(seconds)))
    assert waiting(pair[0], deadlines, 1.1) >= 1.1
    assert passes[0] == clients._PASS_SECONDS
    # A busy machine may stall the first pass until the deadline.
    assert all(seconds <= 0.11 for seconds in passes[1:])


def test_each_client_has_its_own_deadline(
    pair: tuple[Any, Any], deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two clients, only the late one is timed out; without clients, nothing is left to do."""
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)
    late = [gevent.spawn(waiting, end, deadlines, 0.02 * number) for number, end in enumerate(pair)]
    patient = Client(pair[0])
    deadlines.add(patient)
    gevent.joinall(late, raise_error=True)
    assert patient.deadline == NEVER
    deadlines.remove(patient)
    while deadlines._timer:
        gevent.sleep(0.01)


def test_a_client_that_has_left_sends_nothing(pair: tuple[Any, Any]) -> None:
    """The end of a connection, in either form, is no data."""
    ours, theirs = pair
    theirs.sendall(b"x")
    client = Client(ours)
    assert client.receive(2) == b"x"
    ours.sendall(b"unread")
    theirs.close()
    assert client.receive(1) == b""
    ours.close()
    assert client.receive(1) == b""


def test_a_long_reply_is_sent_completely(pair: tuple[Any, Any]) -> None:
    """A reply beyond the buffers of the system waits for the client."""
    ours, theirs = pair
    data = bytes(10_000_000)
    sending = gevent.spawn(lambda: Client(ours).send(data))
    received = 0
    while received < len(data):
        received += len(theirs.recv(1_000_000))
    sending.get()


@pytest.mark.parametrize("is_gone", [True, False])
def test_a_client_that_takes_nothing(
    pair: tuple[Any, Any],
    deadlines: Deadlines,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    is_gone: bool,
) -> None:
    """A client that has left ends its request quietly; one that does not read, with a warning."""
    monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.05)
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)
    ours, theirs = pair
    if is_gone:
        theirs.close()
    client = Client(ours)
    deadlines.add(client)
    with pytest.raises(GoneError):
        client.send(bytes(10_000_000))
    deadlines.remove(client)
    assert client.deadline == NEVER
    messages = [(record.levelname, record.message) for record in caplog.records]
    assert messages == ([] if is_gone else [("WARNING", "a client did not take its reply in time")])


def leave(theirs: Any) -> None:
    theirs.sendall(b"rest")
    theirs.close()


def send_on(theirs: Any) -> None:
    theirs.sendall(bytes(200_000))


def do_nothing(_theirs: Any) -> None:
    """Send nothing more."""


@pytest.mark.parametrize("act", [leave, send_on, do_nothing])
def test_a_refused_client_has_a_moment_to_read(
    pair: tuple[Any, Any], deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch, act: Callable[[Any], None]
) -> None:
    """Data that a refused client still sends is discarded until it leaves, within limits of size and time."""
    monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.05)
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)
    monkeypatch.setattr(clients, "_LINGER_BYTES", 100_000)
    monkeypatch.setattr(clients, "_STEP_BYTES", 50_000)
    ours, theirs = pair
    client = Client(ours)
    deadlines.add(client)
    act(theirs)
    client.linger()
    deadlines.remove(client)
    assert client.deadline == NEVER
    if act is not leave:
        assert theirs.recv(1) == b""


def test_a_client_that_sends_on_is_read_for_a_limited_time(
    pair: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data that comes without a pause, so that no wait times out, does not extend the time."""
    monkeypatch.setattr(clients, "CLIENT_SECONDS", 0.05)
    monkeypatch.setattr(clients, "_STEP_BYTES", 1)
    ours, theirs = pair
    theirs.sendall(bytes(150_000))
    Client(ours).linger()
    assert ours.recv(1) == b"\0"
