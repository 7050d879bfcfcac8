"""Tracing: not loaded while off; while on, spans for every wait, without secrets."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase

from tests.conftest import running_app, start
from tests.support.collector import Collector, Span, running_collector
from tests.support.commands import command_environment
from tests.support.databases import new_database
from tests.support.leaks import Output
from tests.support.service import Service
from tests.support.waiting import wait_until
from tests.system.leaks_world import FEW, SETTINGS, exhaust
from tests.system.test_leaks import made_world, over_http
from vault.clients.dev.mongod import Mongod, free_port
from vault.common.observability import spans, tracing

pytestmark = pytest.mark.process

FETCH = "/vault/secret/fetch"
DESCRIBE = "/vault/secret/describe"


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with running_collector() as collector:
        yield collector


def asking_for(url: str) -> dict[str, str]:
    """Return the variables that send spans to *url* soon."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "100"}


class Traced(NamedTuple):
    """A service of two workers with tracing, its collector, and its database."""

    service: Service
    collector: Collector
    stored: MongoDatabase[dict[str, Any]]

    def spans_of(self, path: str, count: int) -> list[Span]:
        """Return the spans of the *count* requests for *path* that a test has made."""

        def found() -> list[Span]:
            return [span for span in self.collector.spans if span.name == f"POST {path}"]

        wait_until(lambda: len(found()) >= count)
        return found()


@pytest.fixture(scope="module")
def shared(mongod: Mongod, master_key: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    """Run a service with tracing for all tests that leave it running."""
    with new_database(mongod) as uri, running_collector() as collector, MongoClient[Any](uri) as client:
        settings = {"MASTER_KEY": master_key, "MONGO_URI": uri, **asking_for(collector.url)}
        with Service(settings, measured=True, folder=tmp_path_factory.mktemp("traced")) as service:
            service.wait_until_started()
            yield Traced(service, collector, client.get_default_database())


@pytest.fixture
def traced(shared: Traced) -> Traced:
    """Return the service with tracing, whose collector has forgotten the spans of earlier tests."""
    del shared.collector.bodies[:]
    return shared


#: Creates an application, answers a request, and prints the loaded modules of OpenTelemetry.
LOADED = """
import sys
from vault.app import from_environment

app = from_environment()
secret = {"secret": "YQ=="}
assert app.test_client().post("/vault/secret/create/", json=secret).status_code == 200
loaded = sorted(name for name in sys.modules if name.startswith(("opentelemetry", "google.protobuf")))
print(loaded, file=sys.stderr)
"""


@pytest.mark.parametrize(
    "variables",
    [
        {"OTEL_SERVICE_NAME": "vault", "OTEL_EXPORTER_OTLP_HEADERS": "key=value"},
        {"OTEL_SDK_DISABLED": "True", "OTEL_TRACES_EXPORTER": "otlp"},
    ],
    ids=["unrelated variables", "disabled"],
)
def test_disabled_tracing_is_not_loaded(
    environment: dict[str, str], variables: dict[str, str], tmp_path: Path
) -> None:
    """While tracing is off, a serving process has no OpenTelemetry module loaded."""
    settings = {**command_environment(environment), **variables}
    run = subprocess.run(
        [sys.executable, "-c", LOADED], cwd=tmp_path, env=settings, capture_output=True, text=True, check=True
    )
    assert run.stderr == "[]\n"


def test_a_request_is_a_span_with_a_span_for_each_wait(traced: Traced) -> None:
    """The spans of a create and a fetch contain their round trips, including shared ones."""
    service, collector, _ = traced
    secret_id = service.create(b"a value")
    assert service.fetch(secret_id).status == 200
    assert service.post(DESCRIBE, {"secret_id": secret_id}).status == 200
    for path in ("/vault/secret/create", FETCH, DESCRIBE):
        traced.spans_of(path, 1)
    trees = collector.trees()
    inside = {
        span.name: {inner.name for inner in trees[span.id]} for span in collector.spans if not span.parent
    }
    # The first request of a worker also checks keys and indexes. A lone read is shared with no other.
    assert inside["POST /vault/secret/create"] >= {"shared entries"}
    assert inside[f"POST {FETCH}"] >= {"find secrets", "shared entries"}
    assert inside[f"POST {DESCRIBE}"] >= {"find secrets", "aggregate audit_logs", "shared entries"}
    assert all(span.kind == "SPAN_KIND_CLIENT" for children in trees.values() for span in children)
    # One trace has one request, and nothing is in a trace without one.
    assert len({span.trace for span in collector.spans}) == len(trees)
    assert {span.service for span in collector.spans} == {"secret-manager"}


def test_every_worker_traces(traced: Traced) -> None:
    """Spans come from each forked worker, exactly one per request."""
    with ThreadPoolExecutor(16) as pool:
        ids = list(pool.map(traced.service.create, [b"a value"] * 100))
        assert all(reply.status == 200 for reply in pool.map(traced.service.fetch, ids))
    found = traced.spans_of(FETCH, 100)
    assert len(found) == len({span.id for span in found}) == 100
    assert len({span.worker for span in found}) == 2


def test_the_log_names_the_trace(traced: Traced) -> None:
    """The log line of a request names its trace, and no line names another's."""
    service = traced.service
    replies = [service.post(FETCH, {"secret_id": "?"}, **{"X-Request-ID": str(n)}) for n in range(20)]
    assert {reply.status for reply in replies} == {422}
    traces = {span.trace for span in traced.spans_of(FETCH, 20)}
    lines = [json.loads(line) for line in service.log.read_text().splitlines()]
    named = {line["request_id"]: line["trace_id"] for line in lines if line.get("request_id", "").isdecimal()}
    assert set(named.values()) == traces
    assert len(traces) == len(named) == 20
    assert not any("trace_id" in line for line in lines if "request_id" not in line)


def test_a_caller_s_trace_is_continued(traced: Traced) -> None:
    """`traceparent` is accepted; `tracestate` and `baggage`, with a caller's content, are dropped."""
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = {
        "traceparent": f"00-{trace}-{parent}-01",
        "tracestate": "vendor=hunter2-state",
        "baggage": "key=hunter2-baggage",
    }
    for sent in (headers, {"traceparent": "hunter2-trace"}):
        assert traced.service.post(FETCH, {"secret_id": "?"}, **sent).status == 422
    found = traced.spans_of(FETCH, 2)
    assert len(found) == 2
    assert [span.parent for span in found if span.trace == trace] == [parent]
    assert b"hunter2" not in b"".join(traced.collector.bodies)


def test_a_failure_is_marked_by_its_kind(traced: Traced) -> None:
    """A 5xx reply or a failed wait is a failed span; a refusal is not."""
    service, collector, stored = traced
    secret_id = service.create(b"a value")
    stored.secrets.update_one({"_id": secret_id}, {"$inc": {"version": 1}})
    assert service.fetch(secret_id).status == 500
    assert service.post("/vault/secret/hunter2", {}).status == 404
    assert service.post(FETCH, {"secret_id": "?"}).status == 422

    def by_status() -> dict[str, Span]:
        return {
            span.attributes["http.response.status_code"]: span for span in collector.spans if not span.parent
        }

    # Not their number: a span of the start can come late.
    wait_until(lambda: by_status().keys() >= {"500", "404", "422"})
    found = by_status()
    assert found["500"].attributes["error.type"] == "500"
    assert {status for status, span in found.items() if span.failed} == {"500"}
    assert found["404"].name == "POST"
    assert b"hunter2" not in b"".join(collector.bodies)


@pytest.mark.promise(2)
def test_nothing_secret_is_in_a_span(mongo_uri: str, collector: Collector, tmp_path: Path) -> None:
    """For valid and invalid requests, no span contains a value, a credential, a key or an ID.

    It does not contain a name, a label, or a caller's invented path either.
    """
    settings = {**SETTINGS, "MONGO_URI": mongo_uri}
    with made_world(settings) as (world, _):
        pass
    # A span has the route and the commands to MongoDB: the others differ in nothing else.
    world.operations = [one for one in world.operations if one[0] in FEW]
    with Service({**settings, **asking_for(collector.url)}, folder=tmp_path) as service:
        service.wait_until_started()
        exhaust(world, over_http(service))
        assert service.stop() == 0
    asked = sum(len(statuses) for statuses in world.seen.values())
    assert len(collector.trees()) > asked > 0
    for body in collector.bodies:
        world.outputs.append(Output("a span", body.decode("latin-1")))
    world.outputs.append(Output("the log", service.log.read_text()))
    world.marks.refuse_leaks(world.outputs)
    known = {"db.system.name", "db.operation.name", "db.collection.name"}
    known |= {"http.request.method", "http.response.status_code", "http.route", "url.scheme"}
    assert {name for span in collector.spans for name in span.attributes} == known
    assert not any("127.0.0.1" in output.text for output in world.outputs if output.place == "a span")


def test_an_unreachable_collector_affects_no_caller(environment: dict[str, str], tmp_path: Path) -> None:
    """If spans cannot be sent, requests are still answered, and the service stops quickly."""
    unreachable = asking_for(f"http://127.0.0.1:{free_port()}")
    with Service({**environment, **unreachable}, folder=tmp_path) as service:
        service.wait_until_started()
        secret_id = service.create(b"a value")
        with ThreadPoolExecutor(16) as pool:
            assert {reply.status for reply in pool.map(service.fetch, [secret_id] * 100)} == {200}
        wait_until(lambda: "encountered while exporting spans batch" in service.log.read_text())
        began = time.monotonic()
        assert service.stop() == 0
        # By default the SDK would wait half a minute.
        assert time.monotonic() - began < 28


def test_the_operator_s_variables_apply(
    environment: dict[str, str], collector: Collector, tmp_path: Path
) -> None:
    """Name, attributes, headers and sampling follow OpenTelemetry's variables; a stop sends all spans."""
    variables = {
        **asking_for(collector.url),
        "OTEL_SERVICE_NAME": "payments-vault",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-key=hunter2",
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
    }
    with Service({**environment, **variables}, measured=True, folder=tmp_path) as service:
        service.wait_until_started()
        sampled = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}
        unsampled = {"traceparent": "00-1af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}
        for sent in (sampled, unsampled, {}):
            assert service.post(FETCH, {"secret_id": "?"}, **sent).status == 422
        assert service.stop() == 0
    assert {span.service for span in collector.spans} == {"payments-vault"}
    assert len(collector.trees()) == 1
    assert {headers["x-key"] for headers in collector.headers} == {"hunter2"}
    assert "hunter2" not in service.log.read_text()


#: Python reads it at start, and from then on finds no OpenTelemetry.
WITHOUT = """
import sys

class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Without())
"""


def test_a_missing_package_stops_the_start(environment: dict[str, str], tmp_path: Path) -> None:
    """With tracing on but its packages missing, the service does not start, and names the packages."""
    (tmp_path / "sitecustomize.py").write_text(WITHOUT)
    path = os.pathsep.join([str(tmp_path), *sys.path])
    variables = {"PYTHONPATH": path, "OTEL_TRACES_EXPORTER": "otlp", "LOG_LEVEL": "loud"}
    service = Service({**environment, **variables}, measured=True, folder=tmp_path)
    service.start()
    assert service.process is not None
    assert service.process.wait(120) == 1
    heading, level, exporter = json.loads(service.log.read_text())["message"].splitlines()
    assert heading == "not starting: invalid settings:"
    assert level.startswith("  LOG_LEVEL: ")
    assert exporter == (
        "  OTEL_TRACES_EXPORTER: enables tracing, which requires the packages in requirements/tracing.txt."
    )


@pytest.fixture
def traced_environment(
    environment: dict[str, str], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> dict[str, str]:
    """Return the environment of a traced application in this process, whose own variables enable tracing."""
    variables = asking_for(collector.url)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return {**environment, **variables}


def test_nothing_is_traced_outside_of_a_request(
    traced_environment: dict[str, str], collector: Collector
) -> None:
    """The service's own work, such as indexes and key checks, creates no spans."""
    with running_app(traced_environment) as app:
        start(app)
        assert not app.extensions["secret-manager"].health.readiness().failures
        assert app.test_client().get("/health/live").status_code == 200
        assert spans.current.get() is spans.NO_SPAN
    assert [span.name for span in collector.spans] == ["GET /health/live"]


def test_a_path_without_a_route_is_in_no_span(
    traced_environment: dict[str, str], collector: Collector
) -> None:
    """The span of a request for an unknown path is named after its method alone: clients choose the path."""
    with running_app(traced_environment) as app:
        assert app.test_client().post("/hunter2").status_code == 404
    assert [(span.name, "http.route" in span.attributes) for span in collector.spans] == [("POST", False)]


def test_a_failed_wait_is_reported_by_its_kind() -> None:
    """A failed wait is a failed span, with the kind of the failure and no text."""
    kept = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    tracer = provider.get_tracer("test")
    request = tracing._Span(tracer, tracer.start_span("POST"))
    request.begin("find secrets").end("11600")
    request.end()
    failed, whole = kept.get_finished_spans()
    assert (failed.name, failed.status.status_code, failed.status.description) == (
        "find secrets",
        StatusCode.ERROR,
        None,
    )
    assert failed.attributes == {"db.system.name": "mongodb", "error.type": "11600"}
    assert whole.status.status_code is StatusCode.UNSET
    provider.shutdown()


def test_concurrent_first_requests_share_one_tracer(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A concurrent first request waits for the tracer and creates no second one."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    found = tracing.Tracing()
    assert found._start() is found._start()
    found.close()
