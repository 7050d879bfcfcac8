"""Credentials by systemd's protocol: who gets which value, and how everyone else is refused."""

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.clients.systemd.conftest import World
from tests.support.waiting import wait_until
from vault.clients.delivery.outcomes import UnavailableError, UnsuitableValueError
from vault.clients.systemd import server as module
from vault.clients.systemd.activation import NoSocketError, keep, passed
from vault.clients.systemd.credentials import REFUSAL

#: The most that systemd takes.
_LIMIT = 1_048_576


def test_a_unit_gets_its_credential(world: World) -> None:
    """The unit and the credential in the peer's address select the secret; log and audit trail name both."""
    with world.serving():
        assert world.load("shop.service", "db-password") == b"hush"
    assert world.logged() == {
        "message": "delivered",
        "unit": "shop.service",
        "credential": "db-password",
        "secret_name": "a",
        "version": 3,
        "request_id": "r-1",
    }
    [[fetch]] = world.service.batches
    context = fetch.body()["delivery"]
    assert context.pop("task_id")
    assert context == {"service": "shop.service", "task": "db-password", "node": socket.gethostname()}


def test_a_refusal_is_longer_than_systemd_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a right to it, a unit gets no empty credential: the reply makes its start fail."""
    world.service.secrets["b"] = UnsuitableValueError("too odd")
    with world.serving():
        for unit, credential, reason in [
            ("web.service", "db-password", "the policy does not give the credential db-password to the unit"),
            ("shop-1.service", "db-password", "too odd"),
            ("shöp.service", "db-password", "is not in visible ASCII"),
            ("shop.service", "a b", "is not in visible ASCII"),
        ]:
            assert len(world.load(unit, credential)) > _LIMIT
            assert reason in world.logged()["reason"]
        world.service.error = RuntimeError("hush")
        monkeypatch.setattr("vault.clients.systemd.credentials.identify", None)
        assert len(world.load("shop.service", "db-password")) > _LIMIT
        assert world.logged()["outcome"] == "failed"


def test_values_that_systemd_does_not_take_are_refused(world: World) -> None:
    """A value is 1 byte to 1 MiB, without the name."""
    with world.serving():
        for value, delivered in [(b"", False), (bytes(_LIMIT - 255), True), (bytes(_LIMIT - 254), False)]:
            world.service.secrets["a"] = value
            assert (world.load("shop.service", "db-password") == value) is delivered


@pytest.mark.parametrize("address", ["", "\0shop", "\0a/unit/shop.service", "\0x/unit/shop.service/a"])
def test_other_peers_are_refused(world: World, address: str) -> None:
    """A process without an address of systemd's form gets nothing."""
    with world.serving():
        assert world.load("", "", address=address) == REFUSAL
    assert "does not name a unit" in world.logged()["reason"]


def test_other_users_are_refused(world: World) -> None:
    """Only the user that systemd runs as may name a unit."""
    world.owner = os.getuid() + 1
    with world.serving():
        assert world.load("shop.service", "db-password") == REFUSAL
    assert world.logged()["outcome"] == "forbidden"


def test_a_unit_waits_for_the_service(world: World) -> None:
    """While the service is unavailable, a unit waits, and the cache stands in for later ones."""
    world.wait_seconds = 60
    world.service.error = UnavailableError("away")
    with world.serving(), ThreadPoolExecutor() as pool:
        waits = pool.submit(world.load, "shop.service", "db-password")
        wait_until(lambda: len(world.service.batches) > 2)
        world.service.error = None
        assert waits.result(60) == b"hush"
        world.service.error = UnavailableError("away")
        assert world.load("shop.service", "db-password") == b"hush"
    assert world.logged()["message"] == "cached"


def test_a_stop_refuses_waiting_units(world: World) -> None:
    """A stopping server does not keep units waiting, nor gives them an empty credential."""
    world.wait_seconds = 600
    world.service.error = UnavailableError("away")
    with ThreadPoolExecutor() as pool:
        with world.serving():
            waits = pool.submit(world.load, "shop.service", "db-password")
            wait_until(lambda: world.service.batches)
        assert waits.result(60) == REFUSAL
    assert (world.logged()["outcome"], world.logged()["reason"]) == ("unavailable", "away")


def test_an_odd_host_name_is_not_on_record(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host name that the audit trail does not take is left out."""
    monkeypatch.setattr(socket, "gethostname", lambda: "a b")
    with world.serving():
        assert world.load("shop.service", "pin") == b"hush"
    assert "node" not in world.service.batches[0][0].body()["delivery"]


def test_the_wait_ends(world: World) -> None:
    """After the wait, the unit is refused."""
    world.service.error = UnavailableError("away")
    with world.serving():
        assert world.load("shop.service", "db-password") == REFUSAL


def test_connections_of_a_killed_server_are_refused(world: World) -> None:
    """Its successor refuses them, also if their peers are gone."""
    near, far = socket.socketpair()
    gone, closed = socket.socketpair()
    closed.close()
    with ThreadPoolExecutor() as pool, far, far.makefile("rb") as stream:
        read = pool.submit(stream.read)
        with world.serving(gone, near):
            assert read.result(60) == REFUSAL
    assert world.logged()["reason"] == "the server was killed"


def test_kept_connections_that_nobody_reads_stop_no_server(world: World) -> None:
    """Peers that do not read their refusal do not delay the units that start."""
    pairs = [socket.socketpair() for _ in range(2)]
    with world.serving(*(near for near, _ in pairs)):
        assert world.load("shop.service", "db-password") == b"hush"
    for _, far in pairs:
        far.close()


def test_only_its_peer_ends_a_connection_within_a_value() -> None:
    """A slow reader gets the whole value: after a timeout, a unit would start with a part of it."""
    near, far = socket.socketpair()
    value = os.urandom(_LIMIT)
    with near, far, far.makefile("rb") as stream, ThreadPoolExecutor() as pool:
        near.settimeout(0.001)
        sent = pool.submit(module._send, near, value)
        assert stream.read(_LIMIT) == value
        sent.result(60)
        assert near.gettimeout() is None


def test_a_server_without_another_thread_refuses(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit whose connection gets no thread fails, rather than starts with an empty credential."""
    with world.serving():
        with monkeypatch.context() as patch:
            patch.setattr("vault.clients.delivery.threads.Thread", no_thread)
            assert world.load("shop.service", "db-password") == REFUSAL
        assert world.logged()["outcome"] == "failed"
        assert world.load("shop.service", "db-password") == b"hush"


def no_thread(**_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_more_units_than_threads_wait(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the maximum of connections, units wait, and are not closed without a reply."""
    monkeypatch.setattr(module, "_MAX_CONNECTIONS", 1)
    world.service.answers.clear()
    with world.serving(), ThreadPoolExecutor() as pool:
        waits = [pool.submit(world.load, "shop.service", "db-password") for _ in range(3)]
        wait_until(lambda: world.service.batches)
        world.service.answers.set()
        assert {wait.result(60) for wait in waits} == {b"hush"}


def test_systemd_is_asked_to_keep_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is sent to the socket that systemd names; without one, nothing happens."""
    near, far = socket.socketpair()
    for path, address in [
        (str(tmp_path / "notify"), str(tmp_path / "notify")),
        (f"@{tmp_path}", f"\0{tmp_path}"),
    ]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(address)
            keep(near, {"NOTIFY_SOCKET": path})
            message, files, _, _ = socket.recv_fds(systemd, 100, 1)
        assert message == b"FDSTORE=1"
        with socket.socket(fileno=files[0]) as kept:
            kept.send(b"same")
            assert far.recv(10) == b"same"
    keep(near, {})
    with monkeypatch.context() as patch:
        # The process has too many files.
        patch.setattr(socket, "socket", Mock(side_effect=OSError))
        keep(near, {})
    near.close()
    far.close()


def test_sockets_are_passed_to_this_process_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first socket listens, and others are kept connections; those of another process are not taken."""
    with pytest.raises(NoSocketError, match=r"start it by secret-manager-credentials\.socket"):
        passed({"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"})
    first = 200
    monkeypatch.setattr("vault.clients.systemd.activation._FIRST_FILE", first)
    with socket.socket(socket.AF_UNIX) as any_socket:
        for number in range(2):
            os.dup2(any_socket.fileno(), first + number)
    listener, [kept] = passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2"})
    with listener, kept:
        assert (listener.fileno(), kept.fileno()) == (first, first + 1)
