"""The service as operators run it: gunicorn, several workers, a MongoDB that is sometimes unreachable."""

import json
import os
import signal
import socket
import threading
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pymongo.database import Database as MongoDatabase

from tests.support.commands import run_command
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod, free_port
from vault.core.documents.audit import record_of

pytestmark = pytest.mark.process

CREATE = "/vault/secret/create/"
PLAINTEXT = b"the plaintext nobody may find"


def test_the_scenarios_of_the_original_description(shared_service: Service) -> None:
    """The original system's first steps work: docs, round trip, invalid base64, unknown ID."""
    assert shared_service.get_text("/docs").startswith("<!doctype html>")
    assert shared_service.get("/openapi.json").body["info"]["title"] == "Secret Manager"
    secret = b64encode(b"swarm_test_secret").decode()
    created = shared_service.post(CREATE, {"secret": secret})
    assert created.status == 200
    fetched = shared_service.post("/vault/secret/fetch", created.body)
    assert (fetched.status, fetched.body) == (200, {"secret": secret})
    assert shared_service.post(CREATE, {"secret": "invalid!"}).status == 400
    assert shared_service.fetch("550e8400-e29b-41d4-a716-446655440000").status == 404
    with ThreadPoolExecutor(20) as pool:
        ids = list(
            pool.map(lambda number: shared_service.create(f"load_test_secret_{number}".encode()), range(20))
        )
    assert len(set(ids)) == 20


def log_lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


@pytest.mark.promise(1)
def test_plaintext_and_keys_are_in_neither_database_nor_log(
    environment: dict[str, str], mongod: Mongod, stored: MongoDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """At the most verbose level, no log line contains a secret, an ID or a key."""
    forms = [PLAINTEXT.decode(), b64encode(PLAINTEXT).decode(), PLAINTEXT.hex()]
    settings = {**environment, "LOG_LEVEL": "debug"}
    with Service(settings, measured=True, patient=True, folder=tmp_path) as service:
        service.wait_until_started()
        secret_id = service.create(PLAINTEXT)
        assert service.fetch(secret_id).status == 200
        for body in (f'{{"secret": "{forms[1]}"'.encode(), {"secret": forms[0]}, {"secret": 1, forms[0]: 2}):
            assert service.post(CREATE, body).status in (400, 422)
        for framing in (b"Content-Length: 0", b"Content-Length: 3"):
            # The rest of the body is parsed as a request; gunicorn quotes what it cannot parse.
            body = json.dumps({"secret": forms[1]}).encode()
            raw(service, framing + b"\r\nConnection: keep-alive", body + b"\r\n\r\n")
        raw(service, b"Authorization Bearer " + forms[0].encode())
        stored.secrets.update_one({}, {"$inc": {"version": 1}})
        assert service.fetch(secret_id).status == 500
        assert service.stop() == 0
    log = service.log.read_text()
    assert "debug" in log
    assert all(json.loads(line) for line in log.splitlines())
    for secret in (*forms, secret_id, environment["MASTER_KEY"]):
        assert secret not in log
    for collection in stored.list_collection_names():
        for document in stored[collection].find_raw_batches():
            for form in (PLAINTEXT, *(form.encode() for form in forms)):
                assert form not in document
    assert PLAINTEXT not in mongod.log.read_bytes()


def test_workers_start_before_any_request(service: Service, stored: MongoDatabase[dict[str, Any]]) -> None:
    """Every worker claims its key and begins the trail without waiting for a request."""

    def started() -> list[Any]:
        document = stored["keys"].find_one("claims") or {}
        return [document.get("trail", {}).get("signer"), *stored["keys"].distinct("worker")]

    assert service.process is not None
    wait_until(lambda: len(started()) == 3 and started()[0])
    assert stored.audit_logs.count_documents({}) == 0


@pytest.mark.promise(4)
def test_a_stop_lets_requests_finish(service: Service) -> None:
    """A request in progress when the service is stopped gets its answer."""
    with begun(service) as (connection, body):
        stopped: list[int] = []
        stopper = threading.Thread(target=lambda: stopped.append(service.stop()))
        stopper.start()
        wait_until(lambda: not listens(service))
        connection.sendall(body)
        reply = connection.makefile("rb").read()
        stopper.join()
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert b"secret_id" in reply
    assert stopped == [0]


@contextmanager
def begun(service: Service) -> Iterator[tuple[socket.socket, bytes]]:
    """Begin a create; yield its connection and the body that its worker waits for."""
    body = json.dumps({"secret": b64encode(PLAINTEXT).decode()}).encode()
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
        assert connection.recv(4_096) == b"HTTP/1.1 100 Continue\r\n\r\n"
        yield connection, body


def listens(service: Service) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", service.port)) == 0


def test_workers_without_their_master_finish_their_requests(
    service: Service, stored: MongoDatabase[dict[str, Any]]
) -> None:
    """A request in progress when the master is killed gets its answer and its entry."""
    workers = service.workers()
    with begun(service) as (connection, body):
        service.stop(signal.SIGKILL)
        # Workers check each second whether they still have a master.
        wait_until(lambda: not listens(service))
        connection.sendall(body)
        reply = connection.makefile("rb").read()
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert stored.audit_logs.count_documents({"action": {"$ne": "stream_closed"}, "status": "success"}) == 1
    wait_until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))


def test_ctrl_c_stops_as_gracefully(service: Service) -> None:
    """Ctrl-C, which a terminal sends to all processes, ends the service cleanly and quietly."""
    assert service.process is not None
    service.create(PLAINTEXT)
    os.killpg(service.process.pid, signal.SIGINT)
    assert service.process.wait(120) == 0
    warned = ("AUTH_ENABLED is off", "no redundancy")
    lines = log_lines(service)
    assert lines
    assert all(line["level"] == "info" or line["message"].startswith(warned) for line in lines)


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 100000000", [b" " * 1_000_000] * 100),
        (b"Transfer-Encoding: chunked", [b"f4240\r\n" + b" " * 1_000_000 + b"\r\n"] * 100),
        (b"Transfer-Encoding: chunked", [b"1\r\n \r\n" * 20_000]),
    ],
    ids=["100 MB with Content-Length", "100 MB in chunks", "chunks of one byte"],
)
def test_too_large_a_body_is_413(shared_service: Service, framing: bytes, body: list[bytes]) -> None:
    """A body that is much too long, or has much too small chunks, is refused, and the service continues."""
    assert raw(shared_service, framing, *body).startswith(b"HTTP/1.1 413 ")
    shared_service.wait_until("/health/ready")


@pytest.mark.parametrize(
    "request_parts",
    [
        (b"Transfer-Encoding: chunked", b"zz\r\n{}\r\n0\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}XX0\r\n\r\n"),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 2", b"{}"),
        (b"Content-Length: 2\r\nContent-Length: 3", b"{}"),
        (b"Content-Length: -1", b"{}"),
    ],
    ids=lambda parts: str(parts)[:60],
)
def test_wrong_framing_is_400(shared_service: Service, request_parts: tuple[bytes, bytes]) -> None:
    """A body of ambiguous length is refused, because two readers could see two requests."""
    assert raw(shared_service, *request_parts).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("coding", [b"gzip, chunked", b"identity, chunked"])
def test_a_coding_that_is_not_decoded_is_501(shared_service: Service, coding: bytes) -> None:
    """A body in a transfer coding that the service does not decode is not taken for its plain form."""
    refused = raw(shared_service, b"Transfer-Encoding: " + coding, b"10\r\n" + b'{"secret":"YQ=="}'[:16])
    assert refused.startswith(b"HTTP/1.1 501 ")


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("request_text", "status", "code"),
    [
        (b"GET /hunter2\r\n\r\n", 400, "bad_request"),
        (b"G{}T / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/9.9\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization : hunter2\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: 1\r\n hunter2\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: hunter2\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"hunter2" * 1_000 + b" HTTP/1.1\r\n\r\n", 414, "uri_too_long"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: hunter2\r\n\r\n", 417, "expectation_failed"),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: hunter2" * 900_000 + b"\r\n\r\n",
            431,
            "request_header_fields_too_large",
        ),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n" + (b"X: hunter2" * 800 + b"\r\n") * 90 + b"\r\n",
            431,
            "request_header_fields_too_large",
        ),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: hunter2\r\n\r\n", 501, "not_implemented"),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n", 400, "bad_request"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_the_server_cannot_read_is_a_problem(
    shared_service: Service, request_text: bytes, status: int, code: str
) -> None:
    """A refusal of the server itself is a whole problem document, and one line in the log."""
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=60) as connection:
        connection.sendall(request_text)
        reply = HTTPResponse(connection)
        reply.begin()
        problem = json.loads(reply.read())
    assert (reply.status, problem["status"], problem["code"]) == (status, status, code)
    assert reply.getheader("Content-Type") == "application/problem+json"
    assert reply.getheader("X-Request-ID") == problem["request_id"]
    assert reply.getheader("Connection") == "close"
    assert code in shared_service.get_text(problem["type"])

    def lines() -> list[Any]:
        return [
            (line["status"], line["reason"])
            for line in log_lines(shared_service)
            if line.get("request_id") == problem["request_id"]
        ]

    wait_until(lambda: lines() == [(status, code)])
    assert "hunter2" not in shared_service.log.read_text()


def raw(service: Service, framing: bytes, *body: bytes) -> bytes:
    head = f"POST {CREATE} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with socket.create_connection(("127.0.0.1", service.port), timeout=60) as connection:
        try:
            for part in (head.encode() + framing + b"\r\n\r\n", *body):
                connection.sendall(part)
        except OSError:
            pass
        return connection.recv(4096)


@pytest.mark.promise("network")
@pytest.mark.parametrize(
    "header",
    [b"SCRIPT_NAME: /health", b"Script_Name: /health", b"PATH_INFO: /health", b"X_Forwarded_For: 192.0.2.1"],
)
def test_no_header_changes_the_path(shared_service: Service, header: bytes) -> None:
    """A client on this machine, or behind a proxy on it, cannot move a path past the proxy's rules."""
    for path, status in ((b"/health/live", b"200"), (b"/health/health/live", b"404")):
        with socket.create_connection(("127.0.0.1", shared_service.port), timeout=60) as connection:
            connection.sendall(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n")
            assert connection.recv(12) == b"HTTP/1.1 " + status


def test_contradictory_schemes_are_no_error(shared_service: Service) -> None:
    """The service does not use the headers in which proxies name their scheme, so they cannot be wrong."""
    with socket.create_connection(("127.0.0.1", shared_service.port), timeout=60) as connection:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        connection.sendall(b"X-Forwarded-Proto: https\r\nX-Forwarded-Ssl: off\r\n\r\n")
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_wrong_settings_are_one_message(tmp_path: Path) -> None:
    """A service with invalid settings does not start, and one line of its log names each of them."""
    service = Service({"AUDIT_TTL_DAYS": "ever", "LOG_LEVEL": "loud"}, measured=True, folder=tmp_path)
    service.start()
    assert service.process is not None
    assert service.process.wait(120) == 1
    line = json.loads(service.log.read_text())
    assert line["level"] == "error"
    lines = line["message"].splitlines()
    assert lines[0] == "not starting: invalid settings:"
    assert [line.split(":")[0].strip() for line in lines[1:]] == ["AUDIT_TTL_DAYS", "LOG_LEVEL", "MASTER_KEY"]


def test_gunicorn_s_own_command_line_works(environment: dict[str, str], tmp_path: Path) -> None:
    """`gunicorn wsgi:app` and gunicorn with our configuration get ready by probes alone, and serve."""
    root = Path(__file__).parents[2]
    for program, *arguments in (
        ("gunicorn", "--config", "python:vault.server"),
        ("vault.server", "--config", "python:vault.server"),
        ("gunicorn", "--chdir", str(root)),
    ):
        port = free_port()
        command = ("-m", program, *arguments, "--bind", f"127.0.0.1:{port}", "wsgi:app")
        settings = {**environment, "PYTHONPATH": str(root), "WEB_CONCURRENCY": "1"}
        service = Service(settings, measured=True, folder=tmp_path, command=command)
        service.url = f"http://127.0.0.1:{port}"
        with service:
            service.wait_until("/health/ready")
            assert service.fetch(service.create(PLAINTEXT)).status == 200


def test_a_configuration_file_in_the_working_folder_is_not_loaded(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A gunicorn.conf.py in the working folder runs no code in the service."""
    (tmp_path / "gunicorn.conf.py").write_text("raise SystemExit('loaded')")
    with Service(environment, measured=True, folder=tmp_path) as service:
        assert service.get("/health/live").status == 200


def test_gunicorn_reports_wrong_settings(tmp_path: Path) -> None:
    """Started directly, gunicorn too ends with the line that names the invalid settings."""
    command = ("-m", "gunicorn", "--config", "python:vault.server", "wsgi:app")
    service = Service({}, measured=True, folder=tmp_path, command=command)
    service.start()
    assert service.process is not None
    assert service.process.wait(120) != 0
    assert "MASTER_KEY: is required: " in json.loads(service.log.read_text())["message"]


@pytest.mark.promise(3, 5)
def test_every_answer_has_its_entry_and_every_worker_its_stream(
    environment: dict[str, str], stored: MongoDatabase[dict[str, Any]], tmp_path: Path
) -> None:
    """With 32 clients on 4 workers, each answer has an entry, each worker a chain and a logged head."""
    answered: Counter[tuple[str, str]] = Counter()
    lock = threading.Lock()
    ended = threading.Event()

    def client(_number: int) -> None:
        while not ended.is_set():
            request_id = uuid4().hex
            made = service.post(CREATE, {"secret": "YQ=="}, **{"X-Request-ID": request_id})
            assert made.status == 200
            fetched = service.post("/vault/secret/fetch", made.body, **{"X-Request-ID": f"f-{request_id}"})
            assert fetched.status == 200
            refused = service.post(CREATE, {"secret": "?"}, **{"X-Request-ID": f"r-{request_id}"})
            assert refused.status == 400
            with lock:
                answered.update({("create", request_id), ("fetch", f"f-{request_id}")})
                answered["create", f"r-{request_id}"] += 1

    settings = {**environment, "WEB_CONCURRENCY": "4"}
    with Service(settings, measured=True, patient=True, folder=tmp_path) as service:
        service.wait_until_started()
        workers = service.workers(4)
        with ThreadPoolExecutor(32) as pool:
            clients = pool.map(client, range(32))
            try:
                wait_until(
                    lambda: (
                        answered.total() > 200 and len(stored.audit_logs.distinct("stream")) == len(workers)
                    )
                )
            finally:
                ended.set()
            list(clients)
        assert service.stop() == 0
    written = [record_of(entry) for entry in stored.audit_logs.find().sort([("stream", 1), ("seq", 1)])]
    entries = Counter((record["action"], record["request_id"]) for record in written)
    # Each worker closes its stream.
    assert entries == answered | Counter({("stream_closed", ""): 4})
    # All workers share one loaded application, but must not share streams.
    assert len({record["stream"] for record in written}) == len(workers) == 4
    ends = {record["stream"]: record["hash"] for record in written}
    logged = [line for line in log_lines(service) if line["message"] == "audit head"]
    assert {str(line["pid"]) for line in logged} == workers
    assert {line["head"]["stream"]: line["head"]["hash"] for line in logged} == ends
    done = run_command("audit", "verify", environment=environment, folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{len(written)} entries in 4 streams: intact\n")
