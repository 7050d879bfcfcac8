"""gunicorn's configuration: `gunicorn --config python:vault.server 'vault.app:from_environment()'`."""

from gevent import monkey

# Before any other import: a module that has imported a blocking socket or lock keeps it.
monkey.patch_all()

import atexit  # noqa: E402
import gc  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import shutil  # noqa: E402
import signal  # noqa: E402
import ssl  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402
from functools import partial  # noqa: E402
from itertools import count  # noqa: E402
from typing import Any  # noqa: E402

from vault.common.config.settings import Settings  # noqa: E402
from vault.common.errors import SettingsError  # noqa: E402
from vault.common.observability import logs  # noqa: E402
from vault.common.processes import harden  # noqa: E402
from vault.server import patches  # noqa: E402

# The workers are forks of this process and inherit all this.
patches.add_lock_ownership_check()
harden()
try:
    _settings = Settings.from_environment()
except SettingsError as error:
    logs.write(logging.getLogger(__name__), logging.ERROR, f"not starting: {error}", {})
    sys.exit(1)

bind = [_settings.bind]
# Ignore an inherited folder: the service removes its own at the end.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
if _settings.metrics_bind:
    bind.append(_settings.metrics_bind)
    # Before `vault.common.observability.metrics` is loaded, which looks there once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="secret-manager-metrics-")

from vault.common.observability import metrics  # noqa: E402
from vault.server.worker import Worker  # noqa: E402
from vault.toolkit.http.connections import Connections  # noqa: E402
from vault.toolkit.operations.blueprint import EXTENSION  # noqa: E402

certfile = _settings.tls_cert
keyfile = _settings.tls_key
ca_certs = _settings.tls_client_ca
# With an authority for clients, every client needs a certificate.
cert_reqs = ssl.CERT_REQUIRED if _settings.tls_client_ca else ssl.CERT_NONE
# In TLS 1.2, only forward secrecy and authenticated encryption. TLS 1.3 has nothing else.
ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20"
workers = _settings.web_concurrency
worker_class = Worker
# Above the limit that `Connections` enforces: an evicted connection takes a moment to end.
worker_connections = _settings.max_connections + 100
# The application is loaded once and shared by the forked workers; it opens no connection before the fork.
preload_app = True
# No local socket may reconfigure a running service.
control_socket_disable = True
# Seconds. Requests finish after SIGTERM: the timeout of each stays far below this.
graceful_timeout = 35
logconfig_dict = logs.configuration(_settings.log_level)
loglevel = _settings.log_level

# Of one listener of a worker.
_limits = partial(
    Connections,
    max_total=_settings.max_connections,
    max_per_source=_settings.max_connections_per_address,
    exempt=_settings.trusted_proxies,
)


def _remove_measured(master: int) -> None:
    # The workers inherit this function.
    if metrics.FOLDER and os.getpid() == master:
        shutil.rmtree(metrics.FOLDER, ignore_errors=True)


atexit.register(_remove_measured, os.getpid())


def _end_starting_workers_by_sigterm() -> None:
    """Restore the effect of SIGTERM on a new worker until it handles it.

    A worker inherits the handler of its master, which only notes the signal. The stop, which is sent once,
    would be lost, and the master would wait for the whole `graceful_timeout`.
    """
    block, unblock = (
        partial(signal.pthread_sigmask, how, {signal.SIGTERM})
        for how in (signal.SIG_BLOCK, signal.SIG_UNBLOCK)
    )

    def start_worker() -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        unblock()

    os.register_at_fork(before=block, after_in_parent=unblock, after_in_child=start_worker)


_end_starting_workers_by_sigterm()


def pre_fork(server: Any, worker: Any) -> None:
    """Give *worker* the lowest free number. Metrics continue in the files of the number's last worker."""
    taken = {other.number for other in server.WORKERS.values()}
    worker.number = next(number for number in count() if number not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Set the number of *worker* for its metrics, and its limits on connections."""
    metrics.take_place(worker.number)
    worker.limits = _limits


def child_exit(_server: Any, worker: Any) -> None:
    """Remove the metrics that apply only while *worker* runs."""
    metrics.leave_place(worker.number)


def when_ready(_server: Any) -> None:
    """Exclude the loaded modules from garbage collection, which would copy their pages in each worker."""
    gc.freeze()
    # Ctrl-C stops the service as gracefully as SIGTERM.
    signal.signal(signal.SIGINT, lambda *_: os.kill(os.getpid(), signal.SIGTERM))


def post_worker_init(worker: Any) -> None:
    """Begin the startup of *worker*, so that errors are in the log before the first request."""
    # A terminal sends SIGINT to all processes; only the master handles it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    worker.app.callable.extensions[EXTENSION].startup.begin(is_first=worker.number == 0)
