"""Metrics over HTTP, at `METRICS_BIND`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from flask import Flask
from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from vault import __version__
from vault.core.keys.status import KeyRole, KeyUsageCache
from vault.core.services import CHECKS, Health
from vault.toolkit.http.hosts import host_of, is_address

_PATH = "/metrics"


class _StateCollector(Collector):
    """Gauges that are measured at each scrape, in addition to the instruments."""

    def __init__(self, health: Health, key_usage: KeyUsageCache) -> None:
        self._health = health
        self._key_usage = key_usage

    def collect(self) -> Iterator[Metric]:
        """Yield the current values."""
        build = GaugeMetricFamily("secret_manager_build_info", "The service's version.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        readiness = self._health.readiness()
        ready = GaugeMetricFamily(
            "secret_manager_ready", "0 if this check keeps the replica from serving.", labels=["check"]
        )
        for check in CHECKS:
            ready.add_metric([check], check not in readiness.failures)
        yield ready
        yield self._certificates()
        # While MongoDB is unavailable, a scrape waits for it only once.
        if readiness.primary:
            yield GaugeMetricFamily(
                "secret_manager_clock_offset_seconds",
                "Seconds by which this machine's clock is ahead of MongoDB's.",
                value=readiness.primary.clock_offset,
            )
            yield from self._stored()

    def _certificates(self) -> Metric:
        expiry = GaugeMetricFamily(
            "secret_manager_certificate_expiry_timestamp_seconds",
            "Time at which the first certificate of a file expires, by its setting.",
            labels=["setting"],
        )
        for name, time in self._health.certificates.expiries.items():
            expiry.add_metric([name], time.timestamp())
        return expiry

    def _stored(self) -> Iterator[Metric]:
        usage = self._key_usage.usage()
        stored = GaugeMetricFamily(
            "secret_manager_secrets_stored",
            "Secret versions, by master key and its role here.",
            labels=["key_id", "role"],
        )
        for key in usage:
            stored.add_metric([key.key_id, key.role], key.versions)
        yield stored
        remaining = GaugeMetricFamily(
            "secret_manager_rewrap_remaining", "Secret versions that are not under the primary key."
        )
        if usage:
            remaining.add_metric([], sum(key.versions for key in usage if key.role is not KeyRole.PRIMARY))
        yield remaining


class _MetricsPort:
    """Serve the metrics at one port; pass the requests of other ports to the application.

    A Prometheus that finds the replicas by DNS uses their addresses, so these are always among the hosts.
    """

    def __init__(
        self, application: WSGIApplication, page: WSGIApplication, port: str, hosts: tuple[str, ...]
    ) -> None:
        self._application = application
        self._page = page
        self._port = port
        self._hosts = hosts

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        # The port of the listener, which the client cannot choose, unlike the `Host` header.
        if environ["SERVER_PORT"] != self._port:
            return self._application(environ, start_response)
        if not self._admits(host_of(environ.get("HTTP_HOST", ""))):
            return _text(start_response, "421 Misdirected Request", "This host is not in ALLOWED_HOSTS.")
        if environ["PATH_INFO"] == _PATH:
            return self._page(environ, start_response)
        return _text(start_response, "404 Not Found", f"The metrics are at {_PATH}.")

    def _admits(self, host: str) -> bool:
        return not self._hosts or host in self._hosts or is_address(host)


def _text(start_response: StartResponse, status: str, text: str) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]


def init_app(
    app: Flask,
    health: Health,
    key_usage: KeyUsageCache,
    *,
    folder: Path,
    port: str,
    hosts: tuple[str, ...],
) -> None:
    """Serve the metrics of all processes that measure into *folder* at *port*, as part of *app*."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call] # it registers itself
    registry.register(_StateCollector(health, key_usage))
    page = make_wsgi_app(registry)
    app.wsgi_app = _MetricsPort(app.wsgi_app, page, port, hosts)  # type: ignore[method-assign] # Flask's own way
