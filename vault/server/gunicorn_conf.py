"""gunicorn's configuration: `gunicorn --config python:vault.server 'vault.app:from_environment()'`."""

from gevent import monkey

# Before anything else is imported: what has already taken hold of a blocking socket or lock stays blocking.
monkey.patch_all()

import atexit  # noqa: E402
import gc  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import ssl  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from itertools import count  # noqa: E402
from typing import Any  # noqa: E402

from vault.config.settings import Settings  # noqa: E402
from vault.core.errors import SettingsError  # noqa: E402
from vault.core.processes import harden  # noqa: E402
from vault.server import patches  # noqa: E402

# The workers, which are forks of this process, inherit all this.
patches.tell_lock_ownership()
harden()
try:
    _settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(str(error))

bind = [_settings.bind]
# Ignore an inherited folder: the service removes its own at the end.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
if _settings.metrics_bind:
    bind.append(_settings.metrics_bind)
    # Before `vault.observability.metrics` is loaded, which looks there once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="secret-manager-metrics-")

from vault.api.blueprint import EXTENSION  # noqa: E402
from vault.core.connections import Connections  # noqa: E402
from vault.observability import logs, metrics  # noqa: E402
from vault.server import client_timeouts  # noqa: E402
from vault.server.client_timeouts import CLIENT_SECONDS, post_request, pre_request  # noqa: E402, F401 - settings of gunicorn's
from vault.server.worker import Logger, Worker  # noqa: E402

certfile = _settings.tls_cert
keyfile = _settings.tls_key
ca_certs = _settings.tls_client_ca
# With an authority for clients, all of them need a certificate.
cert_reqs = ssl.CERT_REQUIRED if _settings.tls_client_ca else ssl.CERT_NONE
# TLS 1.2 with forward secrecy and authenticated encryption alone. TLS 1.3 has nothing else.
ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20"
workers = _settings.web_concurrency
worker_class = Worker
# Above the limit that `Connections` enforces: one that it has closed for another takes a moment to end.
worker_connections = _settings.max_connections + 100
# The application is loaded once and shared by the forked workers; it opens no connection before the fork.
preload_app = True
# gunicorn's other parser is an unreleased dependency; this one is strict about framing.
http_parser = "python"
patches.parse_requests_as(client_timeouts.Request)
# A local socket that can reconfigure a running service is not wanted here.
control_socket_disable = True
# Seconds. A worker that stops waits for idle connections too, so this is also how long an idle one delays it.
keepalive = 5
# In-flight requests finish after SIGTERM: each is bounded well below this.
graceful_timeout = 35
logger_class = Logger
logconfig_dict = logs.configuration(_settings.log_level)
loglevel = _settings.log_level


def _limits() -> Connections:
    """Return the limits of one listener of a worker."""
    return Connections(
        most=_settings.max_connections,
        most_per_source=_settings.max_connections_per_address,
        exempt=_settings.trusted_proxies,
    )


def _remove_measured(master: int) -> None:
    # The workers inherit this as well.
    if metrics.FOLDER and os.getpid() == master:
        shutil.rmtree(metrics.FOLDER, ignore_errors=True)


atexit.register(_remove_measured, os.getpid())


def pre_fork(server: Any, worker: Any) -> None:
    """Give *worker* a number that no other has now, by which metrics go on after a worker that has ended."""
    taken = {other.number for other in server.WORKERS.values()}
    worker.number = next(number for number in count() if number not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Let *worker* measure as the one of its number, and limit its connections."""
    metrics.take_place(worker.number)
    worker.limits = _limits


def child_exit(_server: Any, worker: Any) -> None:
    """Forget what only holds while a worker runs."""
    metrics.leave_place(worker.number)


def when_ready(_server: Any) -> None:
    """Keep what was loaded before the fork shared: a collection in a worker would copy its pages."""
    gc.freeze()
    # Ctrl-C stops as gracefully as a supervisor does.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def post_worker_init(worker: Any) -> None:
    """Start to serve at once: what keeps the worker from it is in the log before the first request."""
    # A terminal sends it to all processes; only the master decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Until its first request, each accepted socket has this timeout. Other sockets here get one of their own.
    socket.setdefaulttimeout(CLIENT_SECONDS)
    worker.app.callable.extensions[EXTENSION].startup.begin()
