"""The life of a secret in real processes: several workers, many concurrent callers, one MongoDB."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from tests.support.access import bearer, tokens
from tests.support.databases import new_database
from tests.support.lifecycle import b64
from tests.support.rotation import Stored
from tests.support.service import Reply, Service, patient
from vault.clients.dev.mongod import Mongod

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def environment(master_key: str, mongod: Mongod) -> Iterator[dict[str, str]]:
    """Return the settings of the service, which the tests share, each with its own secrets."""
    with new_database(mongod) as uri:
        yield {"MASTER_KEY": master_key, "MONGO_URI": uri}


@pytest.fixture
def stored(environment: dict[str, str]) -> Iterator[Stored]:
    """Return the database of the service."""
    with MongoClient[dict[str, Any]](environment["MONGO_URI"], tz_aware=True) as client:
        yield client.get_default_database()


@pytest.fixture(scope="module")
def service(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run four workers."""
    settings = {**environment, "WEB_CONCURRENCY": "4", "LOG_LEVEL": "warning"}
    with Service(settings, patient=True, folder=tmp_path_factory.mktemp("life")) as service:
        service.wait_until_started()
        yield service


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Return 64 callers."""
    with ThreadPoolExecutor(64) as pool:
        yield pool


def create(service: Service, **options: Any) -> str:
    reply = service.post("/vault/secret/create", {"secret": b64(b"value"), **options})
    assert reply.status == 200, reply
    return str(reply.body["secret_id"])


def at_once(pool: ThreadPoolExecutor, count: int, call: Any) -> list[Reply]:
    return list(pool.map(call, range(count)))


@pytest.mark.promise(5)
@pytest.mark.parametrize(("limit", "rounds"), [(1, 8), (5, 2)])
def test_no_more_reads_than_allowed(
    service: Service, stored: Stored, pool: ThreadPoolExecutor, limit: int, rounds: int
) -> None:
    """Among 64 concurrent fetches on 4 workers, exactly as many succeed as the secret allows."""
    for _ in range(rounds):
        secret_id = create(service, max_reads=limit)
        replies = at_once(pool, 64, lambda _, which=secret_id: patient(lambda: service.fetch(which)))
        assert Counter(reply.status for reply in replies) == {200: limit, 404: 64 - limit}
        assert [reply.body["secret"] for reply in replies if reply.status == 200] == [b64(b"value")] * limit
        statuses = Counter(
            entry["status"] for entry in stored.audit_logs.find({"secret_id": secret_id, "action": "fetch"})
        )
        # Calls that waited too long, on a busy machine.
        del statuses["error"]
        assert statuses == {"success": limit, "not_found": 64 - limit}


@pytest.mark.promise(5)
def test_batches_release_one_time_secrets_once(
    service: Service, stored: Stored, pool: ThreadPoolExecutor
) -> None:
    """Of concurrent batches over the same one-time secrets on 4 workers, one releases each secret."""
    for _ in range(2):
        secrets = [{"secret": b64(b"value"), "max_reads": 1}] * 50
        created = service.post("/vault/secret/create-batch", {"secrets": secrets}).body["secrets"]
        ids = [secret["secret_id"] for secret in created]

        def fetch(number: int, ids: list[str] = ids) -> Reply:
            order = ids if number % 2 else ids[::-1]
            body = {"secrets": [{"secret_id": secret_id} for secret_id in order]}
            return patient(lambda: service.post("/vault/secret/fetch-batch", body))

        replies = at_once(pool, 8, fetch)
        released = Counter(
            secret["secret_id"] for reply in replies for secret in reply.body["secrets"] if "secret" in secret
        )
        assert released == Counter(ids)
        statuses = Counter(
            entry["status"]
            for entry in stored.audit_logs.find({"action": "fetch", "secret_id": {"$in": ids}})
        )
        del statuses["error"]
        assert statuses == {"success": 50, "not_found": 350}


@pytest.mark.promise(5)
def test_one_of_two_concurrent_updates_of_a_version_succeeds(
    service: Service, stored: Stored, pool: ThreadPoolExecutor
) -> None:
    """Of two concurrent updates of the same version, exactly one succeeds and the other returns 409."""
    secret_id = create(service)
    winners: Counter[int] = Counter()
    for version in range(1, 16):
        order = (0, 1) if version % 2 else (1, 0)

        def update(number: int, version: int = version, order: tuple[int, int] = order) -> Reply:
            value = b64(b"%d of %d" % (order[number], version))
            body = {"secret_id": secret_id, "secret": value, "expected_version": version}
            return patient(lambda: service.post("/vault/secret/update", body))

        replies = at_once(pool, 2, update)
        assert sorted(reply.status for reply in replies) == [200, 409]
        [winner] = [order[number] for number, reply in enumerate(replies) if reply.status == 200]
        winners[winner] += 1
        assert service.fetch(secret_id).body == {"secret": b64(b"%d of %d" % (winner, version))}
    assert winners.total() == 15
    statuses = [
        (entry["status"], entry.get("details", {}).get("version"))
        for entry in stored.audit_logs.find({"secret_id": secret_id, "action": "update"})
    ]
    assert sorted(version for status, version in statuses if status == "success") == list(range(2, 17))
    # Calls that waited too long, on a busy machine, have changed nothing.
    assert Counter(status for status, _ in statuses if status != "error") == {
        "success": 15,
        "bad_request": 15,
    }


def test_concurrent_updates_create_consecutive_versions(
    service: Service, stored: Stored, pool: ThreadPoolExecutor
) -> None:
    """16 concurrent updates create 16 consecutive versions, ten are kept, and the trail verifies."""
    for _ in range(4):
        secret_id = create(service)

        def update(number: int, which: str = secret_id) -> Reply:
            body = {"secret_id": which, "secret": b64(b"by %d" % number)}
            header = {"X-Request-ID": f"{which}-{number}"}
            return patient(lambda: service.post("/vault/secret/update", body, **header))

        replies = at_once(pool, 16, update)
        assert sorted(reply.body["version"] for reply in replies) == list(range(2, 18))
        by_version = {reply.body["version"]: number for number, reply in enumerate(replies)}
        entries = {
            entry["request_id"]: entry
            for entry in stored.audit_logs.find(
                {"secret_id": secret_id, "action": "update", "status": "success"}
            )
        }
        assert len(entries) == 16
        for version, number in by_version.items():
            entry = entries[f"{secret_id}-{number}"]
            dropped = {"dropped": [version - 10]} if version > 10 else {}
            assert entry["details"] == {"version": version, **dropped}
            reply = service.post("/vault/secret/fetch", {"secret_id": secret_id, "version": version})
            if version > 7:
                assert reply.body == {"secret": b64(b"by %d" % number)}
            else:
                assert reply.status == 404


@pytest.mark.promise(5)
def test_concurrent_retries_of_a_create_create_one_secret(
    service: Service, environment: dict[str, str], tmp_path: Path, stored: Stored, pool: ThreadPoolExecutor
) -> None:
    """32 concurrent retries on 4 workers return one ID and create one secret, named or not."""
    credential = bearer(tokens(environment, tmp_path, "create", "--name", "ci", "--role", "writer"))
    # Other tests' secrets, some of which MongoDB removes meanwhile.
    older = stored.secrets.distinct("_id")
    for number in range(6):
        body = {"secret": b64(b"once"), **({"name": f"once/{number}"} if number % 2 else {})}

        def retry(_: int, number: int = number, body: dict[str, str] = body) -> Reply:
            header = {"Idempotency-Key": f"round-{number}", **credential}
            return patient(lambda: service.post("/vault/secret/create", body, **header))

        replies = at_once(pool, 32, retry)
        assert Counter(reply.status for reply in replies) == {200: 32}
        assert len({reply.body["secret_id"] for reply in replies}) == 1
        assert stored.secrets.count_documents({"_id": {"$nin": older}}) == number + 1
    entries = list(stored.audit_logs.find({"action": "create", "principal": "ci", "status": "success"}))
    assert len(entries) == 6 * 32
    assert sum(entry.get("details", {}).get("repeated") is True for entry in entries) == 6 * 31


@pytest.mark.promise(5)
def test_concurrent_deletes_and_updates_agree(
    service: Service, stored: Stored, pool: ThreadPoolExecutor
) -> None:
    """Of concurrent deletes and updates, one delete succeeds, and no update restores the secret."""
    for _ in range(4):
        secret_id = create(service)

        def change(number: int, which: str = secret_id) -> Reply:
            if number % 2:
                return patient(lambda: service.post("/vault/secret/delete", {"secret_id": which}))
            body = {"secret_id": which, "secret": "YQ=="}
            return patient(lambda: service.post("/vault/secret/update", body))

        replies = at_once(pool, 16, change)
        assert {reply.status for reply in replies} <= {200, 404}
        deletes = [reply.status for number, reply in enumerate(replies) if number % 2]
        assert Counter(deletes) == {200: 1, 404: 7}
        assert service.fetch(secret_id).status == 404
        assert stored.secrets.count_documents({"_id": secret_id}) == 0
        updates = sum(reply.status == 200 for number, reply in enumerate(replies) if not number % 2)
        successes = Counter(
            entry["action"] for entry in stored.audit_logs.find({"secret_id": secret_id, "status": "success"})
        )
        assert successes == Counter(create=1, delete=1, update=updates)
