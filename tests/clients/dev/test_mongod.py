"""Starting and stopping a real `mongod` for each test."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from vault.clients.dev import mongod as module
from vault.clients.dev.mongod import Mongod
from vault.common.errors import MongodUnavailableError

pytestmark = pytest.mark.process


#: Makes a server with these options.
Make = Callable[..., Mongod]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Return a function that makes a server with its data in the test's folder; all end with the test."""
    servers: list[Mongod] = []

    def make(name: str = "db", **options: Any) -> Mongod:
        servers.append(Mongod(tmp_path / name, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()


def _processes(data: Path) -> list[int]:
    """Return the IDs of the processes that have *data* among their arguments."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (process / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if os.fsencode(data) in arguments:
            found.append(int(process.name))
    return found


def _write(server: Mongod, identifier: int) -> None:
    with MongoClient[dict[str, Any]](server.uri, w="majority", journal=True) as client:
        client.test.things.insert_one({"_id": identifier})


def _read(server: Mongod) -> list[int]:
    with MongoClient[dict[str, Any]](server.uri) as client:
        return sorted(thing["_id"] for thing in client.test.things.find())


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """Run a server with an option, for the tests that leave it running."""
    data = tmp_path_factory.mktemp("running") / "db"
    with Mongod(data, options=["--setParameter", "ttlMonitorSleepSecs=1"]) as server:
        yield server


def test_transactions_are_real(running: Mongod) -> None:
    """A started server supports transactions with majority writes, like a production replica set."""
    with MongoClient[dict[str, Any]](running.uri, w="majority") as client:
        things = client.test.transactions
        with client.start_session() as session:
            session.with_transaction(lambda session: things.insert_one({"_id": 1}, session=session))
            session.start_transaction()
            things.insert_one({"_id": 2}, session=session)
            session.abort_transaction()
        assert [thing["_id"] for thing in things.find()] == [1]


def test_data_survives_every_end(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Acknowledged data survives a stop and a kill of the server, which keeps its port, and another port.

    A stop leaves no process, and can be repeated. The log of an earlier start is kept until it is too large.
    """
    server = make()
    uri = server.uri
    with server:
        assert _processes(server.data)
        _write(server, 1)
    server.stop()
    assert not server.running
    assert not _processes(server.data)
    server.start()
    assert (server.uri, _read(server)) == (uri, [1])
    assert server.log.read_text().count('"MongoDB starting"') == 2
    _write(server, 2)
    server.kill()
    monkeypatch.setattr(module, "_MAX_LOG_BYTES", 0)
    with make() as another:
        assert another.port != server.port
        assert another.log.read_text().count('"MongoDB starting"') == 1
        _write(another, 3)
        assert _read(another) == [1, 2, 3]


def test_a_terminal_s_interrupt_does_not_reach_it(running: Mongod) -> None:
    """The server has a session of its own, so Ctrl-C in a terminal reaches only its parent."""
    (process,) = _processes(running.data)
    assert os.getsid(process) == process != os.getsid(0)


def test_data_in_use_is_one_clear_line(running: Mongod) -> None:
    """A second server on the same data is refused in one line, and the first continues."""
    with pytest.raises(MongodUnavailableError, match="another mongod uses the data in") as caught:
        Mongod(running.data).start()
    assert "\n" not in str(caught.value)
    _write(running, 1)


def test_used_port_is_one_clear_line(make: Make) -> None:
    """A port in use is refused, and its owner is not affected."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        server = make(port=other.getsockname()[1])
        with pytest.raises(MongodUnavailableError, match=f"{server.address} is in use"):
            server.start()
        assert not _processes(server.data)


def test_unusable_folder_is_one_clear_line(make: Make, tmp_path: Path) -> None:
    """A folder that cannot be created is refused in one line."""
    (tmp_path / "file").touch()
    with pytest.raises(MongodUnavailableError, match=r"cannot start: .*Not a directory"):
        make("file/db").start()


def test_failed_start_names_the_log(make: Make) -> None:
    """The message about a server that fails at its start names its log file."""
    server = make(options=["--no-such-option"])
    with pytest.raises(MongodUnavailableError, match=f"ended during its start, see {server.log}"):
        server.start()
    assert "no-such-option" in server.log.read_text()


def test_slow_start_times_out(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is not ready in time is ended, and the message names its log file."""
    monkeypatch.setattr(module, "_START_TIMEOUT_SECONDS", 0)
    server = make()
    with pytest.raises(MongodUnavailableError, match=f"did not become ready in 0 s, see {server.log}"):
        server.start()
    assert not _processes(server.data)


def test_server_that_does_not_stop_is_killed(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not end by itself is killed after a timeout."""
    monkeypatch.setattr(module, "_STOP_TIMEOUT_SECONDS", 0.1)
    server = make(initiate=False)
    server.start()
    (process,) = _processes(server.data)
    os.kill(process, signal.SIGSTOP)
    server.stop()
    assert not _processes(server.data)


def test_future_member_is_left_uninitiated(make: Make) -> None:
    """With `initiate` off, the server waits to become a member of a replica set."""
    with (
        make(initiate=False) as server,
        MongoClient[dict[str, Any]](server.address, directConnection=True) as client,
    ):
        hello = client.admin.command("hello")
        assert hello["isreplicaset"]
        assert not hello["isWritablePrimary"]


def test_options_reach_the_server(running: Mongod) -> None:
    """Further options are passed to the server."""
    with MongoClient[dict[str, Any]](running.uri) as client:
        answer = client.admin.command("getParameter", 1, ttlMonitorSleepSecs=True)
        assert answer["ttlMonitorSleepSecs"] == 1


def test_port_in_use_is_not_chosen(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a given port, the server gets a free one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        used = other.getsockname()[1]
        choices = iter([used, used, 20_001])
        monkeypatch.setattr("vault.clients.dev.mongod.secrets.choice", lambda _: next(choices))
        monkeypatch.setattr(module, "_answers", lambda port: port == used)
        assert make().port == 20_001


def test_a_preferred_port_is_used_if_it_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """A preferred port is used if no server listens on it."""
    monkeypatch.setattr(module, "_answers", lambda port: port == 20_001)
    assert module.free_port(20_002) == 20_002
    assert module.free_port(20_001) != 20_001


def test_a_matching_configuration_is_left_alone(running: Mongod) -> None:
    """A set that already has the server's address is not reconfigured during its election."""
    with MongoClient[dict[str, Any]](running.address, directConnection=True) as client:
        before = client.admin.command("replSetGetConfig")["config"]
        running._configure(client)
        assert client.admin.command("replSetGetConfig")["config"] == before
