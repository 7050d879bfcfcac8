"""The second sink of audit entries: a file, or syslog."""

import errno
import fcntl
import json
import logging
import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from flask.testing import FlaskClient

from tests.conftest import running_app
from tests.support.metrics import Growth
from tests.support.problems import fields_of
from tests.support.rotation import Stored
from tests.support.trail import block_trail, restore_trail
from tests.support.written_trail import findings
from vault.common.errors import AuditUnavailableError
from vault.common.outcomes import Status
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.crypto import Keyring
from vault.core.crypto.audit_chain import SigningKey
from vault.core.documents import Database
from vault.core.documents.audit import record_of
from vault.core.trail import sinks
from vault.core.trail.sinks import FileOutput, Sink, sink
from vault.core.trail.streams import retirement
from vault.core.trail.streams.signing_keys import own
from vault.core.trail.writer import AuditTrail

ROOT = Path(__file__).parents[3]
SECRET = {"secret": "YQ=="}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return the path of a file that does not exist yet."""
    return tmp_path / "audit log.jsonl"


@pytest.fixture
def trail(database: Database, keyring: Keyring) -> Iterator[Callable[..., AuditTrail]]:  # noqa: ARG001 - the fixture connects
    """Return a function that creates a worker's trail with a sink."""
    made: list[AuditTrail] = []

    def trail(uri: str, *, required: bool = True) -> AuditTrail:
        made.append(AuditTrail(keyring, sink(uri, required=required)))
        return made[-1]

    yield trail
    for worker in made:
        worker.disconnect()


def write(trail: AuditTrail, count: int = 1) -> None:
    for number in range(count):
        attempt = Attempt(action=Action.FETCH, details={"number": number, "text": "ß\n\u2028"})
        trail._on_finish([(attempt, Status.SUCCESS)])


def records(stored: Stored) -> list[dict[str, Any]]:
    return [record_of(document) for document in stored.audit_logs.find().sort([("stream", 1), ("seq", 1)])]


def lines(path: Path) -> list[dict[str, Any]]:
    entries = [json.loads(line) for line in path.read_bytes().splitlines()]
    return sorted(entries, key=lambda record: (record["stream"], record["seq"]))


def test_the_file_equals_the_trail(
    trail: Callable[..., AuditTrail], stored: Stored, file: Path, keyring: Keyring
) -> None:
    """A file shared by several workers has every entry whole, verifies, and is readable by its owner only."""
    workers = [trail(f"file://{file}".replace(" ", "%20")) for _ in range(3)]
    with ThreadPoolExecutor(9) as pool:
        done = [pool.submit(write, worker, 10) for worker in workers for _ in range(3)]
    for future in done:
        future.result()
    assert lines(file) == records(stored)
    assert len(lines(file)) == 90
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    # In the order of the file, in which streams are interleaved.
    assert findings(map(json.loads, file.read_bytes().splitlines()), own(keyring)) == []


def test_a_rotated_file_is_created_again(trail: Callable[..., AuditTrail], file: Path) -> None:
    """After the file is renamed or removed, entries go to a new file of the same name."""
    worker = trail(f"file://{file}")
    write(worker)
    rotated = file.rename(file.with_suffix(".1"))
    write(worker, 2)
    assert (len(lines(rotated)), len(lines(file))) == (1, 2)
    file.unlink()
    write(worker)
    assert [record["seq"] for record in lines(file)] == [3]


@pytest.mark.promise(3)
def test_a_failed_required_sink_fails_the_attempt(
    trail: Callable[..., AuditTrail],
    stored: Stored,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While a required sink fails, nothing is recorded and every attempt is refused."""
    monkeypatch.setattr(sinks, "_REQUIRED_RETRY_SECONDS", 0)
    file.mkdir()
    worker = trail(f"file://{file}")
    refused = Growth("audit_entries_total", outcome="failed")
    for _ in range(2):
        with pytest.raises(AuditUnavailableError):
            write(worker)
        with pytest.raises(AuditUnavailableError):
            worker.check()
    assert records(stored) == []
    assert refused.now == 2
    file.rmdir()
    with caplog.at_level(logging.INFO, "vault"):
        write(worker)
    assert lines(file) == records(stored)
    assert len(lines(file)) == 1
    worker.check()
    assert [record.message for record in caplog.records] == [
        "audit sink failed: Is a directory",
        "audit sink works again",
    ]


def test_a_failed_sink_is_not_retried_immediately(
    trail: Callable[..., AuditTrail], file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failure there is a pause before the next attempt, so that not every commit is delayed."""
    monkeypatch.setattr(sinks, "_OPTIONAL_RETRY_SECONDS", 3_600)
    file.mkdir()
    optional = trail(f"file://{file}", required=False)
    write(optional)
    file.rmdir()
    write(optional)
    assert not file.exists()


def test_a_failed_optional_sink_fails_no_attempt(
    trail: Callable[..., AuditTrail],
    stored: Stored,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Entries that an optional sink misses are in MongoDB, and the failure is logged once."""
    monkeypatch.setattr(sinks, "_OPTIONAL_RETRY_SECONDS", 0)
    file.mkdir()
    worker = trail(f"file://{file}", required=False)
    written, failed = (
        Growth("audit_sink_entries_total", outcome=outcome) for outcome in ("written", "failed")
    )
    write(worker, 3)
    worker.check()
    file.rmdir()
    write(worker, 2)
    assert (written.now, failed.now) == (2, 3)
    assert [record["seq"] for record in records(stored)] == [0, 1, 2, 3, 4]
    assert [record["seq"] for record in lines(file)] == [3, 4]
    assert [record.message for record in caplog.records] == ["audit sink failed: Is a directory"]


def test_a_failed_commit_reaches_no_sink(
    trail: Callable[..., AuditTrail], stored: Stored, file: Path
) -> None:
    """The sink gets an entry only after MongoDB; otherwise a failed commit would look like a removal."""
    worker = trail(f"file://{file}")
    block_trail(stored)
    with pytest.raises(AuditUnavailableError):
        write(worker)
    restore_trail(stored)
    write(worker)
    assert lines(file) == records(stored)
    assert len(lines(file)) == 1


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """Limit the files of this process to *size* bytes: the last write is partial, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_no_part_of_a_line(file: Path) -> None:
    """The part that a failed write leaves is cut off, and its lines are written once there is room."""
    outputs = [FileOutput(file) for _ in range(2)]
    outputs[0].write([b"one"])
    with full_disk(7):
        for _ in range(2):
            with pytest.raises(OSError, match="File too large"):
                outputs[0].write([b"two", b"three"])
            assert file.read_bytes() == b"one\n"
        outputs[1].write([b"2"])
        with pytest.raises(OSError, match="File too large"):
            outputs[0].open()
    outputs[1].write([b"four"])
    outputs[0].open()
    outputs[0].write([b"five"])
    for output in outputs:
        output.close()
    assert file.read_bytes() == b"one\n2\nfour\ntwo\nthree\nfive\n"


@pytest.mark.process
def test_workers_on_a_full_disk_cut_no_line_of_another(file: Path) -> None:
    """Of several processes on a disk that fills up repeatedly, each has its lines whole and once."""
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from vault.core.trail import sinks\n"
        "from vault.core.trail.sinks import FileOutput\n"
        "sinks._TIMEOUT_SECONDS = 60\n"
        "output = FileOutput(Path(sys.argv[1]))\n"
        "_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)\n"
        "for number in range(100):\n"
        "    size = Path(sys.argv[1]).stat().st_size if number else 0\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 30, hard))\n"
        "    try:\n"
        "        output.write([f'{sys.argv[2]} {number:030}'.encode()])\n"
        "    except OSError:\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))\n"
        "        output.open()\n"
    )
    run = [sys.executable, "-c", script, file]
    for process in [subprocess.Popen([*run, name], cwd=ROOT) for name in ("a", "b")]:
        assert process.wait(300) == 0
    expected = [f"{name} {number:030}" for name in ("a", "b") for number in range(100)]
    assert sorted(file.read_text().splitlines()) == expected


def test_a_part_of_a_line_stays_alone(file: Path) -> None:
    """After a part of a line that a killed process left, the next entries begin on a new line."""
    file.write_bytes(b"one\ntw")
    output = FileOutput(file)
    output.write([b"three"])
    output.close()
    assert file.read_bytes() == b"one\ntw\nthree\n"


@pytest.mark.parametrize("cause", ["no locks", "append only", "another's line"])
def test_a_part_that_cannot_be_cut_stays_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch, cause: str
) -> None:
    """If the part of a line cannot be cut off with certainty, the lines are written again after it."""
    output = FileOutput(file)
    output.write([b"one"])
    kept = b"one\ntw"

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "not permitted")

    def interrupted(descriptor: int, data: bytes) -> int:
        if data.startswith(b"two"):
            return written(descriptor, data[:2])
        with file.open("ab") as other:
            other.write(b"other\n")
        raise OSError(errno.ENOSPC, "No space left on device")

    written = os.write
    with monkeypatch.context() as broken, pytest.raises(OSError, match=r"too large|No space"):
        if cause == "another's line":
            broken.setattr(os, "write", interrupted)
            output.write([b"two"])
        with full_disk(6):
            name = "flock" if cause == "no locks" else "os.ftruncate"
            broken.setattr(f"vault.core.trail.sinks.{name}", refuse)
            output.write([b"two"])
    output.open()
    output.close()
    assert file.read_bytes().replace(b"other\n", b"\n") == kept + b"\ntwo\n"


def test_no_line_is_written_twice(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a part that cannot be cut off, whole lines are not written again: `verify` would report them."""
    output = FileOutput(file)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="too large"), full_disk(6):
        broken.setattr("vault.core.trail.sinks.os.ftruncate", Mock(side_effect=OSError))
        output.write([b"one", b"two", b"three"])
    with pytest.raises(OSError, match="too large"), full_disk(6):
        output.open()
    output.open()
    output.close()
    assert file.read_bytes() == b"one\ntw\ntwo\nthree\n"


def test_a_file_that_is_rotated_during_a_write_has_no_empty_line(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the file is renamed while a worker waits for the lock, the end of the new file does not matter."""

    def rotate(_descriptor: int, operation: int) -> None:
        if operation != fcntl.LOCK_UN:
            file.rename(file.with_suffix(".1"))
            file.touch()

    output = FileOutput(file)
    output.write([b"one"])
    with monkeypatch.context() as during:
        during.setattr(sinks, "flock", rotate)
        output.write([b"two"])
    output.close()
    assert file.with_suffix(".1").read_bytes() == b"one\ntwo\n"


def test_a_lock_that_is_held_for_long_is_a_failure(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that holds the lock of the file delays a write, but not forever."""
    monkeypatch.setattr(sinks, "_TIMEOUT_SECONDS", 0.02)
    output = FileOutput(file)
    with file.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            output.write([b"one"])
    output.open()
    output.close()
    assert file.read_bytes() == b"one\n"


def test_a_file_that_cannot_be_read_is_written(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that this process may only append to is a sink, too."""
    output = FileOutput(file)
    with monkeypatch.context() as denied:
        denied.setattr(Path, "open", lambda *_, **__: os.open("/nowhere", 0))
        output.write([b"one"])
        output.write([b"two"])
    output.close()
    assert file.read_bytes() == b"one\ntwo\n"


def test_the_file_verifies_after_a_full_disk(
    trail: Callable[..., AuditTrail],
    stored: Stored,
    file: Path,
    keyring: Keyring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A required file on a full disk refuses attempts, and once there is room it has every stored entry."""
    monkeypatch.setattr(sinks, "_REQUIRED_RETRY_SECONDS", 0)
    worker = trail(f"file://{file}")
    write(worker, 2)
    with full_disk(file.stat().st_size + 100):
        for _ in range(3):
            with pytest.raises(AuditUnavailableError):
                write(worker)
    # Of the first refused attempt, MongoDB has the entry.
    assert (len(records(stored)), len(lines(file))) == (3, 2)
    write(worker)
    assert lines(file) == records(stored)
    assert findings(map(json.loads, file.read_bytes().splitlines()), own(keyring)) == []


def test_a_sink_that_is_no_regular_file_is_refused(file: Path) -> None:
    """A pipe without a reader blocks no worker, and no device is written to."""
    os.mkfifo(file)
    for path in (file, Path("/dev/null")):
        output = FileOutput(path)
        with pytest.raises(OSError, match=r"No such device|not a regular file"):
            output.open()
        output.close()


def received(server: socket.socket, count: int) -> list[dict[str, Any]]:
    """Return the entries of the next *count* messages that *server* receives."""
    server.settimeout(60)
    messages = [server.recv(65_536).partition(b": ") for _ in range(count)]
    assert {header for header, _, _ in messages} == {b"<86>secret-manager"}
    return [json.loads(line) for _, _, line in messages]


def test_syslog_over_udp(trail: Callable[..., AuditTrail], stored: Stored) -> None:
    """Each entry is a message to the server, with its priority and the name of the service."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        worker = trail(f"syslog://127.0.0.1:{server.getsockname()[1]}")
        write(worker, 3)
        worker.check()
        assert received(server, 3) == records(stored)
    assert len(records(stored)) == 3


def test_a_large_retirement_fits_into_a_datagram(
    trail: Callable[..., AuditTrail], stored: Stored, keyring: Keyring
) -> None:
    """The largest entries of the service fit into one UDP message."""
    row = {"seq": 9_999_999, "ts": moment(datetime.now(UTC)), "hash": "f" * 64}
    heads = [{"stream": f"2-{number:030x}", **row} for number in range(1_000)]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        worker = trail(f"syslog://127.0.0.1:{server.getsockname()[1]}")
        for part in retirement.make("f" * 16, heads, SigningKey(keyring.primary), row["ts"]):
            worker._record_retirement(part)
            assert received(server, 1) == records(stored)[-1:]


def test_syslog_over_the_local_socket(
    trail: Callable[..., AuditTrail], stored: Stored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restarted local server is found again; without it, nothing is recorded."""
    monkeypatch.setattr(sinks, "_REQUIRED_RETRY_SECONDS", 0)
    path = tmp_path / "log"
    worker = trail(f"unix://{path}")
    for _ in range(2):
        with pytest.raises(AuditUnavailableError):
            write(worker)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
            server.bind(str(path))
            write(worker, 2)
            assert received(server, 2) == records(stored)[-2:]
        path.unlink()
    assert len(records(stored)) == 4


def test_syslog_over_tcp(
    trail: Callable[..., AuditTrail], stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each entry is a line; a connection that the server closed is reopened before the next send."""
    monkeypatch.setattr(sinks, "_REQUIRED_RETRY_SECONDS", 0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        worker = trail(f"syslog+tcp://127.0.0.1:{server.getsockname()[1]}")
        for count in (2, 1):
            write(worker, count)
            worker.check()
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as stream:
                sent = [json.loads(stream.readline().partition(b": ")[2]) for _ in range(count)]
            assert sent == records(stored)[-count:]
    with pytest.raises(AuditUnavailableError):
        write(worker)
    assert len(records(stored)) == 3


def test_a_tcp_connection_is_reopened_after_a_reset() -> None:
    """A reset of the connection is noticed like an orderly close."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        output = sinks.SyslogOutput(lambda: sinks._stream(server.getsockname()))
        output.write([b"one"])
        connection, _ = server.accept()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.close()
        output.write([b"two"])
        connection, _ = server.accept()
        with connection:
            assert connection.recv(100) == b"<86>secret-manager: two\n"
        output.close()


def test_the_form_of_the_uri_selects_the_output() -> None:
    """Without a port, the URI means syslog's default; without a sink, there is no output."""
    assert sink(None, required=True) is None
    for uri in ("syslog://127.0.0.1", "syslog://[::1]:514", "syslog+tcp://localhost"):
        assert isinstance(sink(uri, required=True), Sink)


@pytest.mark.promise(3)
def test_without_its_required_sink_the_service_releases_nothing(
    environment: dict[str, str], file: Path, stored: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its required sink fails, the service returns 503 and is not ready; it recovers with the sink."""
    monkeypatch.setattr(sinks, "_REQUIRED_RETRY_SECONDS", 0)
    with running_app({**environment, "AUDIT_SINK": f"file://{file}"}) as app:
        client: FlaskClient = app.test_client()
        made = client.post("/vault/secret/create", json=SECRET)
        assert client.get("/health/ready").status_code == 200
        file.unlink()
        file.mkdir()
        refused = client.post("/vault/secret/fetch", json=made.json)
        assert (refused.status_code, refused.get_json(force=True).get("secret")) == (503, None)
        assert fields_of(client.get("/health/ready").json) == ["audit"]
        file.rmdir()
        assert client.post("/vault/secret/fetch", json=made.json).status_code == 200
    assert [record["action"] for record in records(stored)] == ["create", "fetch"]
    assert [record["action"] for record in lines(file)] == ["fetch"]
