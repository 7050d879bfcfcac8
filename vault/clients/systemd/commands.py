"""The command `credentials`: units of systemd get their credentials from the service."""

import logging
import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import click

from vault.clients.delivery.cache import EncryptedCache
from vault.clients.delivery.client import TokenFile
from vault.clients.delivery.deliveries import Deliveries
from vault.clients.delivery.metrics import Metrics
from vault.clients.delivery.options import (
    FILE,
    cache_option,
    connect,
    connection_options,
    failures,
    log_option,
    wait_until_stopped,
)
from vault.clients.systemd.activation import passed
from vault.clients.systemd.credentials import Credentials
from vault.clients.systemd.policy import UnitPolicy
from vault.clients.systemd.server import serving
from vault.common.observability import logs
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options

logger = logging.getLogger(__name__)


@click.command()
@connection_options
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=FILE,
    envvar="SECRET_MANAGER_CREDENTIALS_POLICY",
    help="Units and their secrets, in TOML or JSON.",
)
@click.option(
    "--wait",
    metavar="DURATION",
    type=parameters.duration,
    envvar="SECRET_MANAGER_CREDENTIALS_WAIT",
    default="60s",
    show_default=True,
    help="Wait so long for an unavailable service.",
)
@cache_option("SECRET_MANAGER_CREDENTIALS_CACHE_SECONDS")
@log_option("SECRET_MANAGER_CREDENTIALS_LOG_LEVEL")
@output_options
def credentials(
    output: Output,
    url: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    policy_file: Path | None,
    wait: timedelta,
    cache_seconds: int,
    log_level: str,
) -> None:
    """Give units of systemd their credentials.

    Started by secret-manager-credentials.socket, to which units refer with LoadCredential=. Runs until it is
    stopped. See docs/install-systemd.md. Its log is one JSON object a line. With --quiet, it has warnings and
    errors only.
    """
    if not url or not token_file or not policy_file:
        raise click.UsageError("Set --url, --token-file and --policy, or their variables.")
    logs.configure("warning" if output.quiet else log_level)
    token = TokenFile(token_file)
    with failures():
        policy = UnitPolicy(policy_file)
    service = connect(url, token, ca_cert, agent="credentials")
    deliveries = Deliveries(service, token, cache=EncryptedCache(cache_seconds), metrics=Metrics())
    served = Credentials(deliveries, policy, wait_seconds=wait.total_seconds())
    # Interrupted at any place.
    with suppress(KeyboardInterrupt), serving(passed(os.environ), served):
        logger.info("serving", extra={"url": url})
        wait_until_stopped()
