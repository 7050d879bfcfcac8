"""Short attacks: honest clients are answered, no worker is killed, and memory stays bounded."""

import json
import secrets
import socket
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from time import sleep

import pytest

from tests.cli.waiting import wait_until
from tests.hostile.attacks import ATTACKS, CREATE, CREATE_BATCH, FETCH_BATCH, LABELS, LARGE
from tests.hostile.run import LIMIT_MB, memory, run
from tests.hostile.strangers import address
from tests.support.databases import new_database
from tests.support.problems import messages_of
from tests.support.service import Service
from vault.cli.dev.mongod import Mongod

pytestmark = pytest.mark.process

_SETTINGS = {"MAX_SECRET_BYTES": "1048576", "LOG_LEVEL": "warning"}


@pytest.fixture(scope="module")
def service(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that is the target of one attack after the other."""
    with new_database(mongod) as uri:
        key = b64encode(secrets.token_bytes(32)).decode()
        environment = {"MASTER_KEY": key, "MONGO_URI": uri, **_SETTINGS}
        with Service(environment, folder=tmp_path_factory.mktemp("hostile")) as service:
            service.wait_until_started()
            yield service


@pytest.mark.promise("network")
@pytest.mark.parametrize("attack", ATTACKS)
def test_honest_clients_are_answered_during_an_attack(service: Service, attack: str) -> None:
    """During each attack every honest request is 200, no worker is killed, and memory is bounded."""
    outcome = run(service, attack, connections=20, round_trips=3)
    assert not outcome.failures
    assert outcome.answers["200"] == 4 * 3 * 2
    assert not outcome.killed
    assert outcome.megabytes < LIMIT_MB


@pytest.mark.promise("network")
@pytest.mark.parametrize("attack", ["idle", "kept", "half-sent bodies"])
def test_honest_clients_are_answered_although_all_connections_are_taken(
    environment: dict[str, str], tmp_path: Path, attack: str
) -> None:
    """More strangers than connections, each from its own address, lock no honest client out."""
    settings = {**environment, **_SETTINGS, "MAX_CONNECTIONS": "20"}
    with Service(settings, folder=tmp_path) as service:
        service.wait_until_started()
        outcome = run(service, attack, connections=80, addresses=80, round_trips=4)
    assert "Traceback" not in service.log.read_text()
    assert outcome.answers["200"] >= 4 * 4 * 2
    # A connection can be closed while its client sends nothing, as by any server; the client then retries.
    assert set(outcome.failures) <= {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"}
    assert not outcome.killed


@pytest.mark.promise("network")
def test_each_address_has_a_connection_limit(environment: dict[str, str], tmp_path: Path) -> None:
    """A connection over an address's limit is refused immediately, and other addresses are answered."""
    settings = {**environment, "WEB_CONCURRENCY": "1", "MAX_CONNECTIONS_PER_ADDRESS": "5"}

    def connect(source: str) -> socket.socket:
        return socket.create_connection(("127.0.0.1", service.port), timeout=60, source_address=(source, 0))

    def is_answered(connection: socket.socket) -> bool:
        try:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(15) == b"HTTP/1.1 200 OK"
        except ConnectionError:
            return False

    with Service(settings, folder=tmp_path) as service, ExitStack() as held:
        mine = [held.enter_context(connect(address(0))) for _ in range(5)]
        assert all(map(is_answered, mine))
        with connect(address(0)) as refused:
            reply = HTTPResponse(refused)
            reply.begin()
            assert (reply.status, reply.getheader("Retry-After")) == (503, "2")
            problem = json.load(reply)
            assert problem["code"] == "overloaded"
            assert problem["request_id"] == reply.getheader("X-Request-ID") == "refused-connection"
        with connect(address(1)) as other:
            assert is_answered(other)
        mine[0].close()
        wait_until(lambda: is_answered(held.enter_context(connect(address(0)))))
    assert service.log.read_text().count("connections are refused") == 1


def test_a_trusted_proxy_has_no_limit_of_its_own(environment: dict[str, str], tmp_path: Path) -> None:
    """An address of `TRUSTED_PROXIES` can use all connections."""
    settings = {"MAX_CONNECTIONS_PER_ADDRESS": "1", "TRUSTED_PROXIES": address(0), "WEB_CONCURRENCY": "1"}
    with Service({**environment, **settings}, folder=tmp_path) as service, ExitStack() as held:
        for _ in range(5):
            connection = held.enter_context(
                socket.create_connection(("127.0.0.1", service.port), source_address=(address(0), 0))
            )
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(15) == b"HTTP/1.1 200 OK"


@pytest.mark.promise("network")
def test_many_large_creates_fit_into_memory(environment: dict[str, str], tmp_path: Path) -> None:
    """Each of 200 concurrent 1 MiB creates is stored or gets a retry time, within the stack's memory."""
    settings = {**environment, **_SETTINGS}
    most = 0.0
    with Service(settings, folder=tmp_path) as service, ThreadPoolExecutor(90) as pool:
        assert service.process is not None
        service.wait_until_started()
        answers = [pool.submit(lambda: service.post(CREATE, LARGE).status) for _ in range(200)]
        while not all(answer.done() for answer in answers):
            most = max(most, memory(service.process.pid))
            # The clients need the processor too.
            sleep(0.02)
    # A client that a busy machine stalls sends too slowly: 408.
    assert {answer.result() for answer in answers} <= {200, 408, 503}
    assert 200 in {answer.result() for answer in answers}
    assert most < LIMIT_MB


@pytest.mark.promise("network")
def test_replies_that_are_not_read_fit_into_memory(service: Service) -> None:
    """Strangers that ask for the largest batches and read nothing neither fill memory nor lock others out."""
    assert service.process is not None
    secrets = {"secrets": [{"secret": b64encode(bytes(60_000)).decode()}] * 100}
    created = service.post(CREATE_BATCH, secrets).body["secrets"]
    body = json.dumps({"secrets": created}).encode()
    asked = b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    with ExitStack() as held:
        most = 0.0
        for number in range(60):
            client = held.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.bind((address(number % 3), 0))
            client.connect(("127.0.0.1", service.port))
            client.sendall(asked % (FETCH_BATCH.encode(), len(body), body))
            most = max(most, memory(service.process.pid))
        few = {"secrets": created[:20]}
        replies = [service.post(FETCH_BATCH, few) for _ in range(10)]
        most = max(most, memory(service.process.pid))
    assert [reply.status for reply in replies] == [200] * 10
    assert most < LIMIT_MB


def test_wrong_labels_are_counted_and_not_listed(service: Service) -> None:
    """Thousands of invalid labels get one short error."""
    reply = service.post(CREATE, LABELS)
    assert (reply.status, messages_of(reply.body)) == (422, {"labels": ["Must have at most 64 labels."]})


@pytest.mark.promise("network")
def test_clients_that_do_not_read_lock_no_one_out(environment: dict[str, str], tmp_path: Path) -> None:
    """If all connections wait for clients that do not read, a new client is still answered."""
    settings = {**environment, "WEB_CONCURRENCY": "1", "MAX_CONNECTIONS": "10"}
    asked = b"GET /docs/ui/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20
    with Service(settings, folder=tmp_path) as service, ExitStack() as held:
        service.wait_until("/health/ready")
        for number in range(10):
            client = held.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
            client.settimeout(60)
            client.bind((address(number), 0))
            client.connect(("127.0.0.1", service.port))
            client.sendall(asked)
            assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert service.get("/health/live").status == 200
