"""Tracing with OpenTelemetry: a span for each request, and in it one for each wait for MongoDB.

Spans contain the operation and its outcome, but no data: no path, query, header, body, address, ID or error
text. OpenTelemetry's own instrumentations disclose more: Flask's has paths, queries and addresses; PyMongo's
has the text of a failed command, which quotes documents. Spans are sent by HTTP, because gRPC's threads
conflict with gevent.
"""

from http import HTTPStatus
from threading import Event, Lock, Thread

from flask import Flask, Response, g, request
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from vault import __version__
from vault.common.observability import logs, spans

_SERVICE = {"service.name": "secret-manager", "service.version": __version__}
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
_INCOMING = TraceContextTextMapPropagator()

#: Timeout of sending the remaining spans when a worker ends.
_CLOSE_TIMEOUT_SECONDS = 3


class _Span(spans.Span):
    """An OpenTelemetry span."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def begin(self, name: str, /, **attributes: str) -> spans.Span:
        """Begin a span inside this one, and return it; requests wait for nothing except MongoDB."""
        context = set_span_in_context(self._span)
        attributes = {"db.system.name": "mongodb", **attributes}
        return _Span(self._tracer, self._tracer.start_span(name, context, SpanKind.CLIENT, attributes))

    def end(self, error: str = "", /) -> None:
        """End the span, and record *error*."""
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Commands(CommandListener):
    """Trace MongoDB commands as part of their request."""

    def __init__(self) -> None:
        self._running: dict[int, spans.Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Begin a span if the command belongs to a traced request."""
        waiting = spans.current.get()
        if waiting is spans.NO_SPAN:
            return
        name = event.command_name
        collection = event.command.get("collection" if name == "getMore" else name)
        where = {"db.collection.name": collection} if isinstance(collection, str) else {}
        title = " ".join([name, *where.values()])
        self._running[event.request_id] = waiting.begin(title, **{"db.operation.name": name, **where})

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """End the span."""
        self._running.pop(event.request_id, spans.NO_SPAN).end()

    def failed(self, event: CommandFailedEvent) -> None:
        """End the span with the kind of the failure; its text may quote documents."""
        failure = event.failure
        kind = failure.get("code") or failure.get("errtype")
        self._running.pop(event.request_id, spans.NO_SPAN).end(str(kind))


class Tracing:
    """Trace an application's requests, and send the spans as configured by `OTEL_…` variables."""

    def __init__(self) -> None:
        self.listeners = (_Commands(),)
        self._lock = Lock()
        self._tracer: Tracer | None = None
        self._closing = Event()
        self._closed = Event()

    def connect(self, app: Flask) -> None:
        """Trace the requests of *app*; each span encloses all other handlers of its request."""
        app.before_request(self._begin)
        app.after_request(self._answer)
        app.teardown_request(self._end)

    def close(self) -> None:
        """Send the remaining spans, within a time limit."""
        self._closing.set()
        if self._tracer:
            self._closed.wait(_CLOSE_TIMEOUT_SECONDS)

    def _begin(self) -> None:
        tracer = self._tracer or self._start()
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": request.scheme}
        if request.url_rule:
            # The route, not the path: clients choose the path.
            attributes["http.route"] = request.url_rule.rule
        name = f"{method} {attributes.get('http.route', '')}".rstrip()
        # `tracestate` is ignored: otherwise spans would contain it.
        parent = request.headers.get("traceparent")
        context = _INCOMING.extract({"traceparent": parent}) if parent else Context()
        span = tracer.start_span(name, context, SpanKind.SERVER, attributes)
        if span.is_recording():
            g.span = span
            logs.trace_id.set(format_trace_id(span.get_span_context().trace_id))
            spans.current.set(_Span(tracer, span))

    def _answer(self, reply: Response) -> Response:
        if span := g.get("span"):
            span.set_attribute("http.response.status_code", reply.status_code)
            if reply.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_attribute("error.type", str(reply.status_code))
                span.set_status(StatusCode.ERROR)
        return reply

    def _end(self, _error: BaseException | None) -> None:
        if span := g.pop("span", None):
            # A kept-alive connection's next request is answered in the same context.
            spans.current.set(spans.NO_SPAN)
            logs.trace_id.set("")
            span.end()

    def _start(self) -> Tracer:
        """Return this process's tracer. It is created by the first request, as no thread survives a fork."""
        with self._lock:
            if self._tracer is None:
                # The environment's own names win.
                resource = Resource.create(_SERVICE).merge(OTELResourceDetector().detect())
                provider = TracerProvider(resource=resource, shutdown_on_exit=False)
                provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
                # Started now: no thread can be started when the process ends.
                Thread(target=self._shut_down, args=[provider], name="tracing-end", daemon=True).start()
                self._tracer = provider.get_tracer("vault", __version__)
            return self._tracer

    def _shut_down(self, provider: TracerProvider) -> None:
        self._closing.wait()
        # Blocks for half a minute if there is no collector.
        provider.shutdown()
        self._closed.set()
