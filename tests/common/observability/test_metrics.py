"""Every event is counted once, with labels from the service's own vocabulary."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import Counter

from tests.conftest import running_app
from tests.support.features import tables
from tests.support.lifecycle import UNKNOWN_ID, Caller
from tests.support.metrics import Growth, measured
from tests.support.rotation import Stored, fill, new_key
from tests.support.trail import block_trail
from vault.common.batching import Batcher
from vault.common.errors import DecryptionError, KeyMissingError
from vault.common.greenlets import wait_until_idle
from vault.common.observability import metrics
from vault.core.crypto import Keyring
from vault.core.documents import Secret
from vault.core.documents.token import StoredTokenKey
from vault.toolkit.http import request_log
from vault.toolkit.http.prefixes import operations as prefixes
from vault.toolkit.http.refusals import REFUSALS

CREATE = "/vault/secret/create/"
FETCH = "/vault/secret/fetch"


def test_each_request_is_counted_by_operation_and_status(client: FlaskClient) -> None:
    """A request is counted and timed once, by the operation's name and the status."""
    answered = [
        (("POST", CREATE, {"secret": "YQ=="}), "create_secret", "200"),
        (("POST", CREATE, {"secret": "?"}), "create_secret", "400"),
        (("POST", FETCH, {"secret_id": UNKNOWN_ID}), "fetch_secret", "404"),
        (("GET", "/health/live", None), "health_live", "200"),
        (("GET", "/health/ready", None), "health_ready", "200"),
        (("GET", "/openapi.json", None), "openapi", "200"),
        (("GET", "/docs", None), "docs", "200"),
        (("GET", "/docs/ui/swagger-ui.css", None), "docs", "200"),
        (("GET", "/problems/name-taken", None), "problems", "200"),
        (("GET", "/made/up", None), "none", "404"),
        (("GET", FETCH, None), "none", "405"),
    ]
    for (method, path, body), operation, status in answered:
        requests = Growth("requests_total", operation=operation, status=status)
        durations = Growth("request_duration_seconds_count", operation=operation)
        client.open(path, method=method, json=body).close()
        assert (requests.now, durations.now) == (1, 1), path


def test_every_endpoint_has_a_name(app: Flask) -> None:
    """The metrics name of an endpoint is an operation of the API document or a listed other name."""
    document = app.test_client().get("/openapi.json").json
    operations = {
        operation["operationId"]
        for path, methods in document["paths"].items()
        for operation in methods.values()
        # Next to the operations are the parameters of their path.
        if path.startswith(prefixes(app)) and "operationId" in operation
    }
    others = {"health_live", "health_ready", "openapi", "docs", "problems"}
    others = others.union(*tables("HIDDEN_OPERATIONS"))
    named = {request_log._operation(rule.endpoint) for rule in app.url_map.iter_rules()}
    assert named == operations | others


@pytest.mark.parametrize(
    ("path", "body", "reason"),
    [
        (FETCH, {"secret_id": UNKNOWN_ID}, "secret_not_found"),
        (FETCH, {"secret_id": "?"}, "unprocessable_entity"),
        (CREATE, {"secret": "?"}, "invalid_base64"),
        (CREATE, {"secret": "YQ==", "name": "a"}, "credential_required"),
        ("/made/up", {}, "not_found"),
    ],
)
def test_each_refusal_is_counted_by_its_reason(
    client: FlaskClient, path: str, body: object, reason: str
) -> None:
    """A refusal is counted by the kind of error, never by request content."""
    refusals = Growth("refusals_total", reason=reason)
    client.post(path, json=body)
    assert refusals.now == 1


def test_a_defect_is_counted(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unexpected errors are counted as one kind."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("vault.core.secrets.service.SecretService.fetch", fail)
    defects = Growth("refusals_total", reason="defect")
    assert client.post(FETCH, json={"secret_id": UNKNOWN_ID}).status_code == 500
    assert defects.now == 1


def test_every_reason_exists_from_the_start(app: Flask) -> None:
    """Every reason has a sample before the first refusal, so that Prometheus does not miss it."""
    assert app
    for reason in REFUSALS:
        assert metrics.REFUSALS.labels(reason) is request_log._refusals(reason)
    assert {"decryption", "audit_unavailable", "overloaded"} < REFUSALS.keys()


def test_audit_entries_are_counted(client: FlaskClient, stored: Stored) -> None:
    """Written entries and failed ones are counted."""
    written, failed = (Growth("audit_entries_total", outcome=outcome) for outcome in ("written", "failed"))
    for _ in range(3):
        client.post(CREATE, json={"secret": "YQ=="})
    assert (written.now, failed.now) == (stored.audit_logs.count_documents({}), 0) == (3, 0)
    block_trail(stored)
    refusals = Growth("refusals_total", reason="audit_unavailable")
    assert client.post(CREATE, json={"secret": "YQ=="}).status_code == 503
    assert (written.now, failed.now, refusals.now) == (3, 1, 1)


def test_failed_decryptions_are_counted(stored: Stored, anyone: Caller) -> None:
    """A value that does not verify is counted separately from one whose key is missing."""
    tampered, unknown = (
        Growth("decryption_failures_total", reason=reason) for reason in ("does_not_verify", "unknown_key")
    )
    secret_id = anyone.post("create", {"secret": "YQ=="}).get_json()["secret_id"]
    stored.secrets.update_one({}, {"$inc": {"version": 1}})
    assert anyone.post("fetch", {"secret_id": secret_id}).status_code == 500
    assert (tampered.now, unknown.now) == (1, 0)
    foreign = new_key()
    [secret_id] = fill(stored, foreign, 1)
    assert anyone.post("fetch", {"secret_id": secret_id}).status_code == 503
    assert (tampered.now, unknown.now) == (1, 1)
    found = Secret.find({"_id": secret_id})
    assert found
    with pytest.raises(KeyMissingError):
        found.decrypt(Keyring(new_key()))
    assert unknown.now == 2


def test_a_failed_decryption_of_the_token_key_is_counted() -> None:
    """The token key counts like a secret."""
    tampered, unknown = (
        Growth("decryption_failures_total", reason=reason) for reason in ("does_not_verify", "unknown_key")
    )
    key, other = new_key(), new_key()
    token_key = StoredTokenKey.of(bytes(32), Keyring(key))
    with pytest.raises(KeyMissingError):
        token_key.decrypt(Keyring(other))
    token_key.envelope = token_key.envelope[:-1] + bytes([token_key.envelope[-1] ^ 1])
    with pytest.raises(DecryptionError):
        token_key.decrypt(Keyring(key))
    assert (tampered.now, unknown.now) == (1, 1)


def test_shared_round_trips_are_measured() -> None:
    """Each queue has its length and its batch sizes."""
    begun, go_on = Event(), Event()

    def flush(items: list[int]) -> list[int]:
        begun.set()
        go_on.wait(30)
        return items

    calls: Batcher[int, int] = Batcher(flush, gather=wait_until_idle, queue="of a test")  # type: ignore[arg-type]
    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(calls.call, 0)
        assert begun.wait(30)
        others = [calls.start(numbers) for numbers in ([1], [2, 3])]
        waiting = measured("batch_waiting", queue="of a test")
        go_on.set()
        assert [first.result(), *(wait() for wait in others)] == [0, [1], [2, 3]]
    assert waiting == 3
    assert measured("batch_waiting", queue="of a test") == 0
    assert measured("batch_size_count", queue="of a test") == 2
    assert measured("batch_size_sum", queue="of a test") == 4


def test_the_time_of_mongodb_is_measured(anyone: Caller, stored: Stored) -> None:
    """Reads and writes of secrets and entries are timed by name, and failures separately."""

    def growth(command: str, outcome: str) -> Growth:
        return Growth("mongodb_duration_seconds_count", command=command, outcome=outcome)

    secret_id = anyone.post("create", {"secret": "YQ=="}).get_json()["secret_id"]
    found, inserted, failed = (
        growth("find", "succeeded"),
        growth("insert", "succeeded"),
        growth("insert", "failed"),
    )
    assert anyone.post("create", {"secret": "YQ=="}).status_code == 200
    # The secret and its entry, together.
    assert (found.now, inserted.now, failed.now) == (0, 1, 0)
    assert anyone.post("fetch", {"secret_id": secret_id}).status_code == 200
    assert (found.now, inserted.now, failed.now) == (1, 2, 0)
    block_trail(stored)
    assert anyone.post("fetch", {"secret_id": secret_id}).status_code == 503
    assert (found.now, inserted.now, failed.now) == (2, 2, 1)


@pytest.mark.usefixtures("own_timeouts")
def test_an_unreachable_mongodb_is_a_failure(environment: dict[str, str]) -> None:
    """A wait for an unreachable MongoDB is timed as a failure, even if no command is sent."""
    failed = Growth("mongodb_duration_seconds_count", command="other", outcome="failed")
    with running_app({**environment, "MONGO_URI": "mongodb://127.0.0.1:1"}) as app:
        assert app.test_client().get("/health/ready").status_code == 503
    assert failed.now == 1


def test_the_refusing_limit_is_counted(environment: dict[str, str]) -> None:
    """A refusal by a rate limit is counted by the limit."""
    limits = {"RATE_LIMIT": "1/day", "FAILED_AUTH_LIMIT": "1/day"}
    requests, failures = (Growth("rate_limit_hits_total", limit=limit) for limit in ("requests", "failures"))
    with running_app(environment | limits) as app:
        client = app.test_client()
        for _ in range(3):
            client.post(FETCH, json={"secret_id": UNKNOWN_ID})
        assert (requests.now, failures.now) == (2, 0)
        for _ in range(4):
            client.post(FETCH, json={}, headers={"Authorization": "Bearer nobody's"})
    assert (requests.now, failures.now) == (2, 3)


@pytest.mark.process
def test_without_a_folder_nothing_is_measured() -> None:
    """Without served metrics, every instrument does nothing."""
    program = (
        "from vault.common.observability import metrics;"
        "metrics.REQUESTS.labels('a', 'b').inc(); metrics.DURATION.labels('a').observe(1);"
        "metrics.BATCH_WAITING.labels('a').set(1); metrics.take_place(1); metrics.leave_place(1);"
        "print(metrics.FOLDER, type(metrics.REQUESTS).__name__)"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PROMETHEUS")}
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert run.stdout == "None _NoInstrument\n"


def test_a_new_worker_continues_the_counts_of_an_ended_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The counts of an ended worker stay, its successor adds to them, and queue lengths are dropped."""
    monkeypatch.setitem(metrics._place, "name", metrics._place["name"])
    counter = Counter("places", "", ["a"], namespace="secret_manager", registry=None).labels("b")
    counter.inc(2)
    metrics.take_place(7)
    counter.inc(3)
    metrics.BATCH_WAITING.labels("of a place").set(5)
    assert measured("places_total", a="b") == 5
    assert measured("batch_waiting", queue="of a place") == 5
    metrics.take_place(8)
    counter.inc()
    metrics.leave_place(7)
    assert measured("batch_waiting", queue="of a place") == 0
    metrics.take_place(7)
    counter.inc()
    assert measured("places_total", a="b") == 7
