"""Short attacks: honest clients are answered, no worker is killed, and memory stays bounded."""

import json
import secrets
import socket
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path
from time import sleep

import pytest

from tests.qa.hostile.attackers import address
from tests.qa.hostile.attacks import ATTACKS, CREATE, CREATE_BATCH, FETCH_BATCH, LABELS, LARGE
from tests.qa.hostile.run import LIMIT_MB, memory, run
from tests.support.databases import new_database
from tests.support.nursery import IS_PATIENT
from tests.support.problems import messages_of
from tests.support.service import Service
from tests.support.waiting import wait_until
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process


@contextmanager
def _serving(mongod: Mongod, folder: Path, **settings: str) -> Iterator[Service]:
    key = b64encode(secrets.token_bytes(32)).decode()
    with new_database(mongod) as uri:
        environment = {"MASTER_KEY": key, "MONGO_URI": uri, "LOG_LEVEL": "warning", **settings}
        # It waits for a slow MongoDB, and no longer than usual for memory.
        environment[IS_PATIENT] = "vault.toolkit.http.memory."
        with Service(environment, folder=folder) as service:
            service.wait_until_started()
            yield service


@pytest.fixture(scope="module")
def service(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that is the target of one attack after the other."""
    with _serving(mongod, tmp_path_factory.mktemp("hostile"), MAX_SECRET_BYTES="1048576") as service:
        yield service


# A connection that its client has closed counts until the service has seen that: the four honest clients, who
# share an address, need more than four.
_FEW = {"WEB_CONCURRENCY": "1", "MAX_CONNECTIONS": "20", "MAX_CONNECTIONS_PER_ADDRESS": "10"}


@pytest.fixture(scope="module")
def crowded(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with few connections, which attackers take."""
    with _serving(mongod, tmp_path_factory.mktemp("crowded"), **_FEW) as service:
        yield service


@pytest.fixture(scope="module")
def calm(mongod: Mongod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with few connections, in all and for each address except one, and without attackers.

    After an attack, the service would still work on its last requests, and refuse others meanwhile.
    """
    folder = tmp_path_factory.mktemp("calm")
    with _serving(mongod, folder, TRUSTED_PROXIES=address(100), **_FEW) as service:
        yield service


#: Attacks that occupy connections and send nothing.
_OCCUPYING = ("idle", "kept", "half-sent bodies")


@pytest.mark.promise("network")
@pytest.mark.parametrize("attack", [name for name in ATTACKS if name not in _OCCUPYING])
def test_honest_clients_are_answered_during_an_attack(service: Service, attack: str) -> None:
    """During each attack every honest request is 200, no worker is killed, and memory is bounded."""
    outcome = run(service, attack, connections=20, round_trips=2)
    assert not outcome.failures
    assert outcome.answers["200"] == 4 * 2 * 2
    assert not outcome.killed
    assert outcome.megabytes < LIMIT_MB


@pytest.mark.promise("network")
@pytest.mark.parametrize("attack", _OCCUPYING)
def test_honest_clients_are_answered_although_all_connections_are_taken(
    crowded: Service, attack: str
) -> None:
    """More attackers than connections, each from its own address, lock no honest client out."""
    outcome = run(crowded, attack, connections=40, addresses=40, round_trips=3)
    assert "Traceback" not in crowded.log.read_text()
    assert outcome.answers["200"] >= 4 * 3 * 2
    # A connection can be closed while its client sends nothing, as by any server; the client then retries.
    assert set(outcome.failures) <= {"RemoteDisconnected", "ConnectionResetError", "BrokenPipeError"}
    assert not outcome.killed
    assert outcome.megabytes < LIMIT_MB


def _connect(service: Service, source: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", service.port), timeout=60, source_address=(source, 0))


def _is_answered(connection: socket.socket) -> bool:
    try:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        return connection.recv(65_536).startswith(b"HTTP/1.1 200 OK")
    except ConnectionError:
        return False


@pytest.mark.promise("network")
def test_each_address_has_a_connection_limit(calm: Service) -> None:
    """A connection over an address's limit is refused immediately, and other addresses are answered."""
    own = address(200)
    with ExitStack() as held:
        mine = [held.enter_context(_connect(calm, own)) for _ in range(10)]
        assert all(map(_is_answered, mine))
        with _connect(calm, own) as refused:
            reply = HTTPResponse(refused)
            reply.begin()
            assert (reply.status, reply.getheader("Retry-After")) == (503, "2")
            problem = json.load(reply)
            assert problem["code"] == "overloaded"
            assert problem["request_id"] == reply.getheader("X-Request-ID") == "refused-connection"
        with _connect(calm, address(201)) as other:
            assert _is_answered(other)
        mine[0].close()
        wait_until(lambda: _is_answered(held.enter_context(_connect(calm, own))))
    assert "connections are refused" in calm.log.read_text()


def test_a_trusted_proxy_has_no_limit_of_its_own(calm: Service) -> None:
    """An address of `TRUSTED_PROXIES` can use all connections."""
    with ExitStack() as held:
        proxied = [held.enter_context(_connect(calm, address(100))) for _ in range(15)]
        # Twice: with a limit, later ones would have ended the first.
        assert all(map(_is_answered, proxied * 2))


@pytest.mark.promise("network")
def test_many_large_creates_fit_into_memory(service: Service) -> None:
    """Each of 200 concurrent 1 MiB creates is stored or gets a retry time, within the stack's memory."""
    assert service.process is not None
    most = 0.0
    with ThreadPoolExecutor(90) as pool:
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
    """Attackers that ask for the largest batches and read nothing neither fill memory nor lock others out."""
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
