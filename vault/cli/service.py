"""Commands for the service on this machine: run it, and check whether it is ready."""

import os
import ssl
import sys
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection

import click

from vault.config.settings import Settings
from vault.core.errors import VaultError

_ANY_ADDRESS = ("0.0.0.0", "[::]")  # noqa: S104 - compared with, not bound to
#: Longer than the service takes to find out that MongoDB is away.
_TIMEOUT_SECONDS = 7


def local_address(bind: str) -> tuple[str, int]:
    """Return host and port at which what listens on *bind* can be reached from here."""
    host, _, port = bind.rpartition(":")
    return "localhost" if host in _ANY_ADDRESS else host, int(port)


@click.command()
def ready() -> None:
    """Exit with 0 if the service on this machine, with these settings, can create and fetch; else with 1.

    With TLS_CLIENT_CA it shows the service's own certificate, which has to be of that authority too.
    """
    settings = Settings.from_environment()
    try:
        with closing(_connection(settings)) as connection:
            connection.request("GET", "/health/ready")
            reply = connection.getresponse()
            click.echo(reply.read(), nl=False)
    except (OSError, HTTPException) as error:
        raise VaultError(f"no answer at {settings.bind}: {error}") from None
    sys.exit(reply.status != 200)


def _connection(settings: Settings) -> HTTPConnection:
    host, port = local_address(settings.bind)
    if not settings.tls_cert:
        return HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    # Who answers on this machine's own port needs no proof, and the certificate names another host.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if settings.tls_client_ca:
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
    return HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)


@click.command()
def serve() -> None:
    """Run the service under gunicorn, configured by the environment."""
    # Here too, and not only by gunicorn: wrong settings are one plain message.
    Settings.from_environment()
    # Nothing looks for modules in the working folder: a folder `gunicorn` or `flask` there would run, and see
    # the master key. A variable, not `-P`: gunicorn starts itself again on SIGUSR2.
    os.environ["PYTHONSAFEPATH"] = "1"
    # In place of this process, so that signals from the supervisor reach gunicorn itself. Its configuration
    # is named: a gunicorn.conf.py in the working folder would be loaded unasked.
    arguments = [
        "-m",
        "vault.server",
        "--config",
        "python:vault.server.gunicorn_conf",
        "vault.app:from_environment()",
    ]
    os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - nothing in it comes from outside
