"""The command `swarm-driver`: Docker Swarm's tasks get their secrets from the service."""

import logging
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep

import click

from vault.cli.shell import parameters
from vault.cli.shell.output import Output, output_options
from vault.client import address
from vault.core.errors import ServiceUnavailableError, VaultError
from vault.observability import logs
from vault.swarm.delivery import health
from vault.swarm.delivery.cache import EncryptedCache
from vault.swarm.delivery.client import Client, TokenFile
from vault.swarm.delivery.driver import Driver
from vault.swarm.delivery.metrics import Metrics
from vault.swarm.delivery.server import listening, serving_metrics
from vault.swarm.outcomes import NotDeliveredError
from vault.swarm.policy import PolicyFile

logger = logging.getLogger(__name__)

_SOCKET = "/run/docker/plugins/secret-manager.sock"
_FILE = click.Path(dir_okay=False, path_type=Path)
_MAX_CACHE_SECONDS = 86_400
_POLL_SECONDS = 0.2


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not re.fullmatch("[1-9][0-9]{0,4}", port) or int(port) > 65_535:
        raise click.BadParameter("must be ADDRESS:PORT, such as 127.0.0.1:9465")
    return host.strip("[]"), int(port)


def _cache_seconds(text: str) -> int:
    seconds = 0 if text == "0" else int(parameters.duration(text).total_seconds())
    if seconds > _MAX_CACHE_SECONDS:
        raise click.BadParameter("must be at most 24h")
    return seconds


@click.command("swarm-driver")
@click.option(
    "--url",
    metavar="URL",
    type=parameters.service_url,
    envvar="SECRET_MANAGER_URL",
    help="The service: https://…, or http://….  [default: SECRET_MANAGER_URL]",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=_FILE,
    envvar="SECRET_MANAGER_TOKEN_FILE",
    help="The driver's token. The file can change.  [default: SECRET_MANAGER_TOKEN_FILE]",
)
@click.option(
    "--ca-cert",
    metavar="FILE",
    type=_FILE,
    envvar="SECRET_MANAGER_CA_CERT",
    help="The service's CA in PEM.  [default: SECRET_MANAGER_CA_CERT, or the system's]",
)
@click.option(
    "--socket",
    "socket_path",
    metavar="FILE",
    type=_FILE,
    envvar="SECRET_MANAGER_DRIVER_SOCKET",
    default=_SOCKET,
    show_default=True,
    help="The socket for Docker. Its name is that of the driver.",
)
@click.option(
    "--policy",
    "policy_file",
    metavar="FILE",
    type=_FILE,
    envvar="SECRET_MANAGER_DRIVER_POLICY",
    help="Services and their secrets, in TOML or JSON.  [default: labels decide]",
)
@click.option(
    "--cache-seconds",
    metavar="DURATION",
    type=_cache_seconds,
    envvar="SECRET_MANAGER_DRIVER_CACHE_SECONDS",
    default="0",
    show_default=True,
    help="Use values of this age, such as 60 or 5m, while the service is unavailable; 0 for never.",
)
@click.option(
    "--metrics-bind",
    metavar="ADDRESS:PORT",
    type=_address,
    envvar="SECRET_MANAGER_DRIVER_METRICS_BIND",
    help="Serve metrics at /metrics of this address.  [default: none]",
)
@click.option(
    "--log-level",
    metavar="LEVEL",
    type=click.Choice(["debug", "info", "warning", "error"], case_sensitive=False),
    envvar="SECRET_MANAGER_DRIVER_LOG_LEVEL",
    default="info",
    show_default=True,
    help="debug, info, warning or error.",
)
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
        # The orchestrator's stop, and Ctrl-C, end it.
        with suppress(KeyboardInterrupt), ExitStack() as running:
            if metrics_bind:
                running.enter_context(serving_metrics(*metrics_bind, metrics))
            running.enter_context(listening(socket_path, driver))
            logger.info("serving", extra={"socket": str(socket_path), "url": url})
            # The system may give the signal to another thread, which does not wake this one.
            while True:
                sleep(_POLL_SECONDS)
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
    if not address.is_private(url):
        logger.warning("values travel unencrypted, unless the network encrypts them: use https://")
    try:
        client = Client(url, token, ca_file=str(ca_cert) if ca_cert else None)
    except OSError:
        # An SSLError is one, too.
        raise VaultError("--ca-cert does not name a file with certificates") from None
    try:
        token.read()
        policy = PolicyFile(policy_file) if policy_file else None
    except NotDeliveredError as error:
        raise VaultError(str(error)) from None
    cache = EncryptedCache(cache_seconds)
    return Driver(client, token, policy=policy, cache=cache, metrics=metrics, has_decoys=has_decoys)
