"""Options and steps that the commands that deliver secrets share: connection, cache, log and stop."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import sleep
from typing import Any, TypeVar

import click

from vault.clients.delivery.client import Client, TokenFile
from vault.clients.delivery.outcomes import NotDeliveredError
from vault.common.errors import VaultError
from vault.toolkit.cli import parameters
from vault.toolkit.client import address

logger = logging.getLogger(__name__)

Command = TypeVar("Command", bound=Callable[..., Any])

FILE = click.Path(dir_okay=False, path_type=Path)
_MAX_CACHE_SECONDS = 86_400
_POLL_SECONDS = 0.2


def _cache_seconds(text: str) -> int:
    seconds = 0 if text == "0" else int(parameters.duration(text).total_seconds())
    if seconds > _MAX_CACHE_SECONDS:
        raise click.BadParameter("must be at most 24h")
    return seconds


_CONNECTION = (
    click.option(
        "--url",
        metavar="URL",
        type=parameters.service_url,
        envvar="SECRET_MANAGER_URL",
        help="The service: https://…, or http://….  [default: SECRET_MANAGER_URL]",
    ),
    click.option(
        "--token-file",
        metavar="FILE",
        type=FILE,
        envvar="SECRET_MANAGER_TOKEN_FILE",
        help="The token. The file can change.  [default: SECRET_MANAGER_TOKEN_FILE]",
    ),
    click.option(
        "--ca-cert",
        metavar="FILE",
        type=FILE,
        envvar="SECRET_MANAGER_CA_CERT",
        help="The service's CA in PEM.  [default: SECRET_MANAGER_CA_CERT, or the system's]",
    ),
)


def connection_options(command: Command) -> Command:
    """Give *command* the options `url`, `token_file` and `ca_cert`, None if absent."""
    for option in reversed(_CONNECTION):
        command = option(command)
    return command


def cache_option(variable: str) -> Callable[[Command], Command]:
    """Return the option `cache_seconds`, whose default is that of the *variable*."""
    return click.option(
        "--cache-seconds",
        metavar="DURATION",
        type=_cache_seconds,
        envvar=variable,
        default="0",
        show_default=True,
        help="Use values of this age, such as 60 or 5m, while the service is unavailable; 0 for never.",
    )


def log_option(variable: str) -> Callable[[Command], Command]:
    """Return the option `log_level`, whose default is that of the *variable*."""
    return click.option(
        "--log-level",
        metavar="LEVEL",
        type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
        envvar=variable,
        default="info",
        show_default=True,
        help="debug, info, warning or error.",
    )


def connect(url: str, token: TokenFile, ca_cert: Path | None, *, agent: str) -> Client:
    """Return the client of the service at *url*, and log whether others can read what it sends.

    Raises:
        VaultError: *ca_cert* has no certificates, or the file of the *token* no token.
    """
    if not address.is_private(url):
        logger.warning("values travel unencrypted, unless the network encrypts them: use https://")
    try:
        client = Client(url, token, ca_file=str(ca_cert) if ca_cert else None, agent=agent)
    except OSError:
        # An SSLError is one, too.
        raise VaultError("--ca-cert does not name a file with certificates") from None
    with failures():
        token.read()
    return client


@contextmanager
def failures() -> Iterator[None]:
    """Raise the errors of files in the block, such as a policy's, as those of a command."""
    try:
        yield
    except NotDeliveredError as error:
        raise VaultError(str(error)) from None


def wait_until_stopped() -> None:
    """Return at an orchestrator's stop, and at Ctrl-C."""
    with suppress(KeyboardInterrupt):
        # The system may give the signal to another thread, which does not wake this one.
        while True:
            sleep(_POLL_SECONDS)
