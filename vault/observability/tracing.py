"""Tracing by OpenTelemetry: a span for each request, and inside of it one for each time it waits for MongoDB.

Spans say what was asked and how it ended, never of what: no path, query, header, body, address or id, and no
text of an error. OpenTelemetry's own instrumentations of Flask and PyMongo do, see decision 22.
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
from vault.observability import logs, spans

_SERVICE = {"service.name": "secret-manager", "service.version": __version__}
_METHODS = {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
_INCOMING = TraceContextTextMapPropagator()

#: Seconds that a worker which ends spends on sending what it still has.
_LAST_SECONDS = 3


class _Span(spans.Span):
    """A span of OpenTelemetry's."""

    __slots__ = ("_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span

    def begin(self, name: str, /, **attributes: str) -> spans.Span:
        """Return a span inside of this one; all that a request waits for is MongoDB."""
        context = set_span_in_context(self._span)
        attributes = {"db.system.name": "mongodb", **attributes}
        return _Span(self._tracer, self._tracer.start_span(name, context, SpanKind.CLIENT, attributes))

    def end(self, error: str = "", /) -> None:
        """End it, and keep *error*."""
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class _Commands(CommandListener):
    """Tells the request that a command of MongoDB's is for when it begins and ends."""

    def __init__(self) -> None:
        self._running: dict[int, spans.Span] = {}

    def started(self, event: CommandStartedEvent) -> None:
        """Begin a span, if the command is a traced request's own."""
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
        """End the span; the text of a failure can quote documents, so of that there is the kind alone."""
        failure = event.failure
        kind = failure.get("code") or failure.get("errtype")
        self._running.pop(event.request_id, spans.NO_SPAN).end(str(kind))


class Tracing:
    """Traces an application's requests, and sends the spans as `OTEL_…` variables say."""

    def __init__(self) -> None:
        self.listeners = (_Commands(),)
        self._lock = Lock()
        self._tracer: Tracer | None = None
        self._closing = Event()
        self._closed = Event()

    def connect(self, app: Flask) -> None:
        """Trace the requests of *app*, from before to after all else that it does for each."""
        app.before_request(self._begin)
        app.after_request(self._answer)
        app.teardown_request(self._end)

    def close(self) -> None:
        """Send what is left, in a short time."""
        self._closing.set()
        if self._tracer:
            self._closed.wait(_LAST_SECONDS)

    def _begin(self) -> None:
        tracer = self._tracer or self._start()
        method = request.method if request.method in _METHODS else "_OTHER"
        attributes = {"http.request.method": method, "url.scheme": request.scheme}
        if request.url_rule:
            # The route and not the path: a path is whatever a client makes up.
            attributes["http.route"] = request.url_rule.rule
        name = f"{method} {attributes.get('http.route', '')}".rstrip()
        # Nor is `tracestate` taken over, which spans would carry along.
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
        """Return what makes this process's spans; not before a request, as no thread survives a fork."""
        with self._lock:
            if self._tracer is None:
                # The environment's own names win.
                resource = Resource.create(_SERVICE).merge(OTELResourceDetector().detect())
                provider = TracerProvider(resource=resource, shutdown_on_exit=False)
                provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
                # Started now: at the end of a process no thread can be.
                Thread(target=self._shut_down, args=[provider], name="tracing-end", daemon=True).start()
                self._tracer = provider.get_tracer("vault", __version__)
            return self._tracer

    def _shut_down(self, provider: TracerProvider) -> None:
        self._closing.wait()
        # Waits half a minute for a collector that is not there.
        provider.shutdown()
        self._closed.set()
