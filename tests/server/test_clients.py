"""Deadlines of waits for a client, and what is sent to it."""

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import gevent
import pytest
from gevent import socket
from werkzeug.exceptions import ClientDisconnected

from vault.server import clients
from vault.server.clients import NEVER, Client, Deadlines
from vault.server.turns import Turns


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


def wait(ours: Any, deadlines: Deadlines, seconds: float) -> float:
    """Wait for a client that sends nothing, with a deadline in *seconds*; return the time it took."""
    client = Client(ours)
    deadlines.add(client)
    began = monotonic()
    try:
        with pytest.raises(TimeoutError):
            client.receive(1, began + seconds)
    finally:
        deadlines.remove(client)
    assert client.deadline == NEVER
    return monotonic() - began


def test_a_wait_ends_after_its_deadline(pair: tuple[Any, Any], deadlines: Deadlines) -> None:
    """A client that sends nothing is waited for until its deadline, which passes look for."""
    assert wait(pair[0], deadlines, 0.15) >= 0.15
    assert clients._PASS_SECONDS <= 0.1


def test_each_client_has_its_own_deadline(
    pair: tuple[Any, Any], deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of two clients, only the late one is timed out; without clients, nothing is left to do."""
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)
    late = [gevent.spawn(wait, end, deadlines, 0.02 * number) for number, end in enumerate(pair)]
    patient = Client(pair[0])
    deadlines.add(patient)
    gevent.joinall(late, raise_error=True)
    assert patient.deadline == NEVER
    deadlines.remove(patient)
    while deadlines._timer:
        gevent.sleep(0.01)


class Late:
    """A client whose greenlet fails, or records, when it is timed out."""

    def __init__(self, deadline: float, *, fails: bool = False) -> None:
        self.greenlet = self
        self.deadline = deadline
        self.is_timed_out = False
        self._fails = fails

    def throw(self, error: type[Exception]) -> None:
        """Take the timeout."""
        assert error is TimeoutError
        self.is_timed_out = True
        if self._fails:
            raise RuntimeError("broken")


def test_many_deadlines_take_few_passes(deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regular passes enforce deadlines, however many lie apart: one pass for each would cost too much."""
    passes: list[float] = []
    enforce = deadlines._enforce
    monkeypatch.setattr(deadlines, "_enforce", lambda: (passes.append(monotonic()), enforce()))
    now = monotonic()
    late: list[Any] = [Late(now + 0.001 * number) for number in range(200)]
    for client in late:
        deadlines.add(client)
    with gevent.Timeout(60):
        while not all(client.is_timed_out for client in late):
            gevent.sleep(0.001)
    # A busy machine may delay a pass, and makes none earlier, except the first: gevent's time may be old.
    assert len(passes) <= (passes[-1] - now) / clients._PASS_SECONDS + 2


def test_an_error_leaves_other_deadlines_in_force(
    deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """An error while a client is timed out does not give all later ones unlimited time."""
    monkeypatch.setattr(clients, "_PASS_SECONDS", 0.01)
    broken: Any = Late(0, fails=True)
    deadlines.add(broken)
    with gevent.Timeout(60):
        while not broken.is_timed_out:
            gevent.sleep(0.01)
        other: Any = Late(monotonic())
        deadlines.add(other)
        while not other.is_timed_out:
            gevent.sleep(0.01)
    assert "broken" in capfd.readouterr().err


def test_data_after_the_deadline_is_late(pair: tuple[Any, Any]) -> None:
    """A client that sends without a pause, so that no wait is interrupted, is late all the same."""
    ours, theirs = pair
    theirs.sendall(b"x")
    with pytest.raises(TimeoutError):
        Client(ours).receive(1, monotonic())


def test_a_client_that_has_left_sends_nothing(pair: tuple[Any, Any]) -> None:
    """The end of a connection, in either form, is no data."""
    ours, theirs = pair
    theirs.sendall(b"x")
    client = Client(ours)
    assert client.receive(2, NEVER) == b"x"
    ours.sendall(b"unread")
    theirs.close()
    assert client.receive(1, NEVER) == b""
    ours.close()
    assert client.receive(1, NEVER) == b""


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
    with pytest.raises(ClientDisconnected):
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
    client.linger("discarding")
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
    Client(ours).linger("discarding")
    assert ours.recv(1) == b"\0"


def test_a_refused_client_waits_for_few_turns_of_another_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to 50 refused clients of one address that send on, one of another address is read as quickly."""
    monkeypatch.setattr(clients, "_STEP_BYTES", 1)
    turns = Turns()
    monkeypatch.setattr(clients, "TURNS", turns)
    taken: list[str] = []
    take = turns.take
    monkeypatch.setattr(turns, "take", lambda queue: (take(queue), taken.append(queue)))
    pairs = [socket.socketpair() for _ in range(51)]
    lingering = []
    for number, (ours, theirs) in enumerate(pairs):
        theirs.sendall(bytes(20))
        theirs.shutdown(1)
        lingering.append(gevent.spawn(Client(ours).linger, "other" if number == 50 else "flood"))
    with gevent.Timeout(60):
        gevent.joinall(lingering, raise_error=True)
    for pair in pairs:
        for end in pair:
            end.close()
    assert taken.count("flood") == 1_000
    assert len(taken) - taken[::-1].index("other") < 150
