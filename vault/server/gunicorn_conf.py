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
from functools import partial  # noqa: E402
from itertools import count  # noqa: E402
from typing import Any  # noqa: E402

from gevent import spawn, thread  # noqa: E402
from gevent.hub import Hub  # noqa: E402
from gunicorn import glogging, util  # noqa: E402
from gunicorn.http import wsgi  # noqa: E402
from gunicorn.http.parser import RequestParser  # noqa: E402
from gunicorn.workers import ggevent  # noqa: E402
from gunicorn.workers.ggevent import GeventWorker  # noqa: E402
from prometheus_client import values  # noqa: E402

from vault.config.settings import Settings  # noqa: E402
from vault.core.errors import SettingsError  # noqa: E402
from vault.core.processes import harden  # noqa: E402

# Without this `threading.Condition`, which guards PyMongo's connections, tries to take a lock to find out
# whether it is held, and gevent then lets others run: that took a tenth of a lone fetch.
thread.LockType._is_owned = thread.LockType.locked  # noqa: SLF001 - where a condition looks for it

# The workers, which are forks of this process, inherit it.
harden()
try:
    _settings = Settings.from_environment()
except SettingsError as error:
    sys.exit(str(error))

bind = [_settings.bind]
# One that was there before is somebody else's, and would be removed at the end.
os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
if _settings.metrics_bind:
    bind.append(_settings.metrics_bind)
    # Before `vault.observability.metrics` is loaded, which looks there once.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="secret-manager-metrics-")
    # No greenlet gives way while it counts, so none ever waits for this lock: it can be a plain one.
    values.Lock = monkey.get_original("threading", "Lock")  # type: ignore[attr-defined]

from vault.api.blueprint import EXTENSION  # noqa: E402
from vault.core import connections  # noqa: E402
from vault.core.connections import Connections  # noqa: E402
from vault.observability import logs, metrics  # noqa: E402
from vault.server import client_timeouts  # noqa: E402
from vault.server.client_timeouts import CLIENT_SECONDS, post_request, pre_request  # noqa: E402, F401 - settings of gunicorn's
from vault.server.worker import Listener  # noqa: E402

certfile = _settings.tls_cert
keyfile = _settings.tls_key
ca_certs = _settings.tls_client_ca
# With an authority for clients, all of them need a certificate.
cert_reqs = ssl.CERT_REQUIRED if _settings.tls_client_ca else ssl.CERT_NONE
# A client that breaks off its handshake is no error of ours: gevent would print a traceback of it.
Hub.NOT_ERROR = (*Hub.NOT_ERROR, ssl.SSLError, ConnectionError)
# TLS 1.2 with forward secrecy and authenticated encryption alone. TLS 1.3 has nothing else.
ciphers = "ECDHE+AESGCM:ECDHE+CHACHA20"
workers = _settings.web_concurrency
# Above the limit that `Connections` enforces: one that it has closed for another takes a moment to end.
worker_connections = _settings.max_connections + 100
# Where gunicorn looks for it; it has no setting for this.
ggevent.StreamServer = partial(
    Listener,
    limits=partial(
        Connections,
        max_total=_settings.max_connections,
        max_per_source=_settings.max_connections_per_address,
        exempt=_settings.trusted_proxies,
    ),
)
# The application is loaded once and shared by the forked workers; it opens no connection before the fork.
preload_app = True
# gunicorn's other parser is an unreleased dependency; this one is strict about framing.
http_parser = "python"
# A local socket that can reconfigure a running service is not wanted here.
control_socket_disable = True
# Seconds. A worker that stops waits for idle connections too, so this is also how long an idle one delays it.
keepalive = 5
# In-flight requests finish after SIGTERM: each is bounded well below this.
graceful_timeout = 35
logconfig_dict = logs.configuration(_settings.log_level)
loglevel = _settings.log_level


class logger_class(glogging.Logger):  # type: ignore[misc] # noqa: N801 - gunicorn is not typed; its setting
    """Writes no access log: `vault.api.request_log` does. To put one together took 4 % of a fetch."""

    def access(self, *_: Any) -> None:
        """Do nothing."""


class worker_class(GeventWorker):  # type: ignore[misc] # noqa: N801 - as above
    """gunicorn's worker, which stops gracefully without its master too.

    By itself it would exit at once, in the middle of its requests.
    """

    def notify(self) -> None:
        """Let the master know that this worker lives, and see whether there still is one."""
        super(GeventWorker, self).notify()
        if self.ppid != os.getppid():
            self.alive = False

    def handle_request(self, *request: Any) -> None:
        """Answer a request. That a client does not take its reply is no error of ours."""
        try:
            super().handle_request(*request)
        except TimeoutError:
            self.log.warning("a client did not take its reply in time")
            # gunicorn's own word for hanging up.
            raise StopIteration from None


class _Reply(wsgi.Response):  # type: ignore[misc] # as above
    """gunicorn's reply; headers and a body that is all there are one packet, where gunicorn's are two."""

    headers_sent: bool

    def send_headers(self) -> None:
        """Send the headers, before a body in parts, or a file."""
        # From now on it is the client that is waited for, and it may be one that does not read.
        connections.current.get().wait()
        super().send_headers()

    def write(self, data: bytes) -> None:
        """Send the headers, if that is still to be done, and *data*."""
        if self.headers_sent or self._omits_body or len(data) != self.response_length:
            super().write(data)
            return
        lines = [*self.default_headers(), *(f"{name}: {value}\r\n" for name, value in self.headers), "\r\n"]
        reply = "".join(lines).encode("latin-1") + data
        connections.current.get().wait()
        # Before they are: a send may break off half way, and another reply must not follow then.
        self.headers_sent = True
        self.sent = len(data)
        util.write(self.sock, reply)


# Where gunicorn looks for them; it has no setting for this.
wsgi.Response = _Reply
RequestParser.mesg_class = client_timeouts.Request


def _remove_measured(master: int) -> None:
    # The workers inherit this as well.
    if metrics.FOLDER and os.getpid() == master:
        shutil.rmtree(metrics.FOLDER, ignore_errors=True)


atexit.register(_remove_measured, os.getpid())


def pre_fork(server: Any, worker: Any) -> None:
    """Give *worker* a number that no other has now: by it metrics go on after a worker that has ended."""
    taken = {other.number for other in server.WORKERS.values()}
    worker.number = next(number for number in count() if number not in taken)


def post_fork(_server: Any, worker: Any) -> None:
    """Let *worker* measure as the one of its number."""
    metrics.take_place(worker.number)


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
    # A terminal sends it to all; here the master's word counts.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # gevent shakes hands with a socket as it comes; whatever else makes one here gives it a time of its own.
    socket.setdefaulttimeout(CLIENT_SECONDS)
    spawn(worker.app.callable.extensions[EXTENSION].startup.begin)
