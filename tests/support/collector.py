"""A stand-in for an OpenTelemetry collector: receives spans over HTTP, and keeps them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Span(NamedTuple):
    """A received span: its IDs in hexadecimal, its attributes' values unchanged."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    failed: bool
    attributes: dict[str, Any]
    worker: str
    service: str


class Collector:
    """The received data, as bytes and as spans."""

    def __init__(self, url: str) -> None:
        #: The value for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        self.url = url
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def spans(self) -> list[Span]:
        """All received spans."""
        return [span for body in list(self.bodies) for span in _spans(body)]

    def trees(self) -> dict[str, list[Span]]:
        """Return the child spans of each request's span, by its ID, in the order of their ends."""
        spans = self.spans
        roots = [span.id for span in spans if span.kind == "SPAN_KIND_SERVER"]
        return {root: [span for span in spans if span.parent == root] for root in roots}


def _spans(body: bytes) -> Iterator[Span]:
    for group in ExportTraceServiceRequest.FromString(body).resource_spans:
        resource = _values(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                yield Span(
                    span.name,
                    type(span).SpanKind.Name(span.kind),
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.status.code == span.status.STATUS_CODE_ERROR,
                    _values(span.attributes),
                    resource["service.instance.id"],
                    resource["service.name"],
                )


def _values(attributes: Any) -> dict[str, Any]:
    return {pair.key: next(iter(MessageToDict(pair.value).values())) for pair in attributes}


@contextmanager
def running_collector() -> Iterator[Collector]:
    """Run a collector on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/v1/traces":
                collector.headers.append(dict(self.headers))
                collector.bodies.append(body)
            self.send_response(200 if self.path == "/v1/traces" else 404)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Write no log."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector = Collector(f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield collector
        finally:
            server.shutdown()
            thread.join()
