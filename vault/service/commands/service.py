"""The commands `serve` and `ready`: run the service, and check that it is ready."""

import errno
import logging
import os
import socket
import ssl
import sys
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from time import monotonic, sleep

import click

from vault.common.config.settings import Settings, single
from vault.common.errors import ServiceUnavailableError, SettingsError
from vault.toolkit.cli.exits import logged
from vault.toolkit.cli.output import Output, output_options

logger = logging.getLogger(__name__)

_ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to
#: Longer than the service takes to detect that MongoDB is unavailable.
_TIMEOUT_SECONDS = 7
#: The time in which a service that stops frees its ports, and the pause between two attempts.
_LISTEN_TIMEOUT_SECONDS, _LISTEN_PAUSE_SECONDS = 5, 0.2
#: By the number of the error; all other errors concern the address.
_LISTEN_HINTS = {
    errno.EADDRINUSE: "stop the process that listens there, or change ",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE: change ",
}


def local_address(bind: str) -> tuple[str, int]:
    """Return the host and port for clients on this machine, for a service that listens on *bind*."""
    host, _, port = bind.rpartition(":")
    return "localhost" if host in _ANY_ADDRESS else host, int(port)


@click.command()
@click.option(
    "--start-marker",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file that marks readiness: created then; later, a reply is enough.",
)
@output_options
def ready(output: Output, start_marker: Path | None) -> None:
    """Check that the service on this machine is ready.

    Exits with 0 if the service with these settings can create and fetch secrets, with 5 if it does not
    answer, and else with 1. With TLS_CLIENT_CA, the command presents the service's own certificate, so that
    authority must have issued it.

    A supervisor that restarts an unready service should use --start-marker, with a file that does not survive
    the restart: after the start, no restart repairs what is missing, such as MongoDB.
    """
    # Not all settings: a health check would load PyMongo for them.
    bind, *tls = map(single, ("BIND", "TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"))
    has_started = start_marker is not None and start_marker.exists()
    try:
        with closing(_connection(bind, *tls)) as connection:
            connection.request("GET", "/health/live" if has_started else "/health/ready")
            reply = connection.getresponse()
            text = reply.read().decode(errors="replace").strip()
    except (OSError, HTTPException) as error:
        raise ServiceUnavailableError(
            f"no reply from {bind}: {error}",
            hint="start the service, and set BIND as it has it",
        ) from None
    output.result({"ready": reply.status == HTTPStatus.OK, "reply": text}, text)
    if start_marker and reply.status == HTTPStatus.OK:
        start_marker.touch()
    sys.exit(reply.status != HTTPStatus.OK)


def _connection(bind: str, certificate: str | None, key: str | None, authority: str | None) -> HTTPConnection:
    host, port = local_address(bind)
    if not certificate:
        return HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    # Not verified: the certificate names another host, and this machine's own port is trusted.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if authority:
        context.load_cert_chain(certificate, key)
    return HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


def _require_free_ports(settings: Settings) -> None:
    """Wait until the service can listen on its ports, as while its predecessor stops.

    Raises:
        SettingsError: It cannot. gunicorn would log this in a dozen lines.
    """
    until = monotonic() + _LISTEN_TIMEOUT_SECONDS
    for name, address in (("BIND", settings.bind), ("METRICS_BIND", settings.metrics_bind)):
        while address and (error := _listen_error(address)):
            if error.errno != errno.EADDRINUSE or monotonic() > until:
                raise SettingsError(
                    f"cannot listen on {address}: {error.strerror}",
                    hint=f"{_LISTEN_HINTS.get(error.errno or 0, 'use an address of this machine in ')}{name}",
                )
            sleep(_LISTEN_PAUSE_SECONDS)


def _listen_error(address: str) -> OSError | None:
    """Return the error of listening on *address*, in the form of `BIND`; None without an error."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    try:
        with socket.socket(family) as listener:
            # As gunicorn does: connections of a service that has just ended block no port.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host.strip("[]"), int(port)))
    except OSError as error:
        return error
    return None


@click.command()
@output_options
def serve(output: Output) -> None:
    """Run the service under gunicorn.

    Its log is one JSON object a line, also for the reason why it does not start. With --quiet, it has
    warnings and errors only: LOG_LEVEL is warning.
    """
    if output.quiet:
        os.environ["LOG_LEVEL"] = "warning"
    with logged(logger):
        _prepare()
        _become_service()


def _prepare() -> None:
    """Check what the service needs, before any listener exists: a supervisor sees that it has not started."""
    # Checked before gunicorn starts, so that invalid settings, or a port in use, are one plain message.
    settings = Settings.from_environment()
    _require_free_ports(settings)
    if not settings.master_key:
        # Not loaded by a health check.
        from vault.common.observability import logs

        logs.configure(settings.log_level)
        settings.with_keys()


def _become_service() -> None:
    # Keeps the working folder off the module search path: a folder `gunicorn` or `flask` there would run, and
    # see the master key. A variable, not `-P`: gunicorn starts itself again on SIGUSR2.
    os.environ["PYTHONSAFEPATH"] = "1"
    # gunicorn replaces this process, so that it receives the supervisor's signals. `--config` is explicit:
    # otherwise gunicorn would load a gunicorn.conf.py in the working folder.
    arguments = [
        "-m",
        "vault.server",
        "--config",
        "python:vault.server.gunicorn_conf",
        "vault.app:from_environment()",
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - no input from outside
