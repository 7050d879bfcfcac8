"""The metrics over HTTP, at an address of their own."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from vault import __version__
from vault.keys.status import KeyRole, KeyUsageCache
from vault.services import CHECKS, Health

_PATH = "/metrics"


class _Looked(Collector):
    """What is looked at when somebody asks. The instruments count by themselves."""

    def __init__(self, health: Health, key_usage: KeyUsageCache) -> None:
        self._health = health
        self._key_usage = key_usage

    def collect(self) -> Iterator[Metric]:
        """Yield what is so now."""
        build = GaugeMetricFamily("secret_manager_build_info", "The service's version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        failures = self._health.failures()
        ready = GaugeMetricFamily(
            "secret_manager_ready", "0 where this check keeps the service from serving.", labels=["check"]
        )
        for check in CHECKS:
            ready.add_metric([check], check not in failures)
        yield ready
        # While MongoDB is away nobody waits for it twice.
        if "mongodb" not in failures:
            yield from self._stored()

    def _stored(self) -> Iterator[Metric]:
        usage = self._key_usage.usage()
        stored = GaugeMetricFamily(
            "secret_manager_secrets_stored",
            "Versions of secrets by their master key, and what that is to this service.",
            labels=["key_id", "role"],
        )
        for key in usage:
            stored.add_metric([key.key_id, key.role], key.versions)
        yield stored
        remaining = GaugeMetricFamily(
            "secret_manager_rewrap_remaining", "Versions of secrets that are not under the primary key."
        )
        if usage:
            remaining.add_metric([], sum(key.versions for key in usage if key.role is not KeyRole.PRIMARY))
        yield remaining


class _Ports:
    """Answers what arrives at one port with the metrics; all else goes on to the application."""

    def __init__(self, application: WSGIApplication, page: WSGIApplication, port: str) -> None:
        self._application = application
        self._page = page
        self._port = port

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The port that listens, and nothing that the client says.
        if environ["SERVER_PORT"] != self._port:
            return self._application(environ, start_response)
        if environ["PATH_INFO"] == _PATH:
            return self._page(environ, start_response)
        start_response("404 Not Found", [("Content-Type", "text/plain; charset=utf-8")])
        return [f"The metrics are at {_PATH}.\n".encode()]


def init_app(app: Flask, health: Health, key_usage: KeyUsageCache, *, folder: Path, port: str) -> None:
    """Let *app* answer what arrives at *port* with the metrics of all that measure into *folder*."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call] # it registers itself
    registry.register(_Looked(health, key_usage))
    app.wsgi_app = _Ports(app.wsgi_app, make_wsgi_app(registry), port)  # type: ignore[method-assign] # Flask's own way
