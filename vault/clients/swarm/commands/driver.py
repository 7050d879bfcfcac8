"""The command `swarm-driver`: Docker Swarm's tasks get their secrets from the service."""

import logging
from contextlib import ExitStack, suppress
from pathlib import Path

import click

from vault.clients.delivery import health
from vault.clients.delivery.cache import EncryptedCache
from vault.clients.delivery.client import TokenFile
from vault.clients.delivery.driver import Driver
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
from vault.clients.delivery.policy import PolicyFile
from vault.clients.delivery.server import listening, serving_metrics
from vault.common.errors import ServiceUnavailableError, VaultError
from vault.common.observability import logs
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options

logger = logging.getLogger(__name__)

_SOCKET = "/run/docker/plugins/secret-manager.sock"


@click.command("swarm-driver")
@connection_options
@click.option(
    "--socket",
    "socket_path",
    metavar="FILE",
    type=FILE,
    envvar="SECRET_MANAGER_DRIVER_SOCKET",
    default=_SOCKET,
    show_default=True,
    help="The socket for Docker. Its name is that of the driver.",
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=FILE,
    envvar="SECRET_MANAGER_DRIVER_POLICY",
    help="Services and their secrets, in TOML or JSON.  [default: labels decide]",
)
@cache_option("SECRET_MANAGER_DRIVER_CACHE_SECONDS")
@click.option(
    "--metrics-bind",
    metavar="ADDRESS:PORT",
    type=parameters.listen_address,
    envvar="SECRET_MANAGER_DRIVER_METRICS_BIND",
    help="Serve metrics at /metrics of this address.  [default: none]",
)
@log_option("SECRET_MANAGER_DRIVER_LOG_LEVEL")
@click.option(
    "--canary-for-each-service",
    "has_decoys",
    is_flag=True,
    envvar="SECRET_MANAGER_DRIVER_CANARY_FOR_EACH_SERVICE",
    help="Under the name `canaries`, give each service its own decoy.",
)
@click.option("--check", is_flag=True, help="Check that a driver answers on the socket, and exit.")
@output_options
def swarm_driver(
    output: Output,
    url: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    socket_path: Path,
    policy_file: Path | None,
    cache_seconds: int,
    metrics_bind: tuple[str, int] | None,
    log_level: str,
    has_decoys: bool,
    check: bool,
) -> None:
    """Give Docker Swarm's tasks their secrets.

    Runs on each manager of a swarm, as its secret driver, until it is stopped. While the service is
    unavailable, also at the start, tasks wait. See docs/swarm-secrets.md. Its log is one JSON object a line.
    With --quiet, it has warnings and errors only. With --check, the exit code is 5 if no driver answers.
    """
    if check:
        if reason := health.failure(socket_path):
            raise ServiceUnavailableError(reason)
        output.result({"answers": True}, "A driver answers.")
        return
    if not url or not token_file:
        raise click.UsageError("Set --url and --token-file, or their variables.")
    logs.configure("warning" if output.quiet else log_level)
    metrics = Metrics()
    driver = _driver(
        url, TokenFile(token_file), ca_cert, policy_file, cache_seconds, metrics, has_decoys=has_decoys
    )
    try:
        # Interrupted at any place.
        with suppress(KeyboardInterrupt), ExitStack() as running:
            if metrics_bind:
                running.enter_context(serving_metrics(*metrics_bind, metrics))
            running.enter_context(listening(socket_path, driver))
            logger.info("serving", extra={"socket": str(socket_path), "url": url})
            wait_until_stopped()
    except OSError as error:
        raise VaultError(f"cannot listen: {error}") from None


def _driver(
    url: str,
    token: TokenFile,
    ca_cert: Path | None,
    policy_file: Path | None,
    cache_seconds: int,
    metrics: Metrics,
    *,
    has_decoys: bool,
) -> Driver:
    client = connect(url, token, ca_cert, agent="swarm-driver")
    with failures():
        policy = PolicyFile(policy_file) if policy_file else None
    cache = EncryptedCache(cache_seconds)
    return Driver(client, token, policy=policy, cache=cache, metrics=metrics, has_decoys=has_decoys)
