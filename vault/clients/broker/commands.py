"""The command `broker`: programs use secrets that they never get."""

import logging
import shlex
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import click

from vault.clients.broker import environment
from vault.clients.broker.addresses import Addresses
from vault.clients.broker.authority import CertificateAuthority
from vault.clients.broker.connection import Parts
from vault.clients.broker.proxy import MAX_REQUESTS, MAX_REQUESTS_OF_SESSION, Address, serving
from vault.clients.broker.service import Uses
from vault.clients.broker.shares import Shares
from vault.clients.broker.targets import Authority
from vault.clients.delivery.client import TokenFile
from vault.clients.delivery.options import FILE, connection_options, failures, log_option, wait_until_stopped
from vault.clients.people import program
from vault.clients.people.memory_folder import memory_folder
from vault.common.errors import VaultError
from vault.common.networks import Network, is_loopback
from vault.common.observability import logs
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import read_token
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client import private_files
from vault.toolkit.client.http import Waits
from vault.toolkit.client.service import Service

logger = logging.getLogger(__name__)

Command = Callable[..., Any]

#: The broker's own limit for a call includes both.
_CALL_TIMEOUT = Waits(connect=2, read=5)

_HTTPS_PORT = 443


def _opened(text: str) -> Authority:
    authority = Authority.of(text, default_port=_HTTPS_PORT)
    if authority is None:
        raise click.BadParameter("must be HOST or HOST:PORT, such as pypi.org")
    return authority


_HOST_OPTIONS = (
    click.option(
        "--upstream-ca",
        metavar="FILE",
        type=FILE,
        help="More authorities of hosts, in PEM, besides the system's.",
    ),
    click.option(
        "--allow",
        "opened",
        multiple=True,
        metavar="HOST",
        type=_opened,
        help="A host, with a port unless that is 443, to which requests pass unread. Can be repeated.",
    ),
    click.option(
        "--allow-network",
        "networks",
        multiple=True,
        metavar="NETWORK",
        type=parameters.network_of,
        help="A private network in which hosts can be, such as 10.0.0.0/8. Can be repeated.",
    ),
)

_session_option = click.option(
    "--session-token-file",
    metavar="FILE",
    type=FILE,
    envvar="SECRET_MANAGER_SESSION_FILE",
    required=True,
    help="The program's token, with the scope secret:use.  [default: SECRET_MANAGER_SESSION_FILE]",
)


def _parts_options(command: Command) -> Command:
    """Give *command* the options of hosts and of the connection to the service: those of `parts_of`."""
    for option in reversed(_HOST_OPTIONS):
        command = option(command)
    return connection_options(command)


@click.group(invoke_without_command=True, no_args_is_help=False, subcommand_metavar="[COMMAND]")
@_parts_options
@click.option(
    "--listen",
    metavar="ADDRESS:PORT",
    type=parameters.listen_address,
    default="127.0.0.1:3128",
    show_default=True,
    help="The address of the proxy.",
)
@click.option("--tls-cert", metavar="FILE", type=FILE, help="The certificate of the proxy itself, in PEM.")
@click.option("--tls-key", metavar="FILE", type=FILE, help="Its key, in PEM.")
@click.option("--plain", is_flag=True, help="Listen without TLS, also for other machines.")
@click.option("--ca-out", metavar="FILE", type=FILE, help="Write the authority that programs have to trust.")
@log_option("SECRET_MANAGER_BROKER_LOG_LEVEL")
@output_options
@click.pass_context
def broker(
    ctx: click.Context,
    /,
    output: Output,
    listen: Address,
    tls_cert: Path | None,
    tls_key: Path | None,
    plain: bool,
    ca_out: Path | None,
    log_level: str,
    **options: Any,
) -> None:
    """Attach secrets to requests of programs that never get them.

    Runs a proxy, until it is stopped. A program names its session, a token with the scope secret:use, as the
    proxy's password. Requests go only where use rules lead, each once it is on record. Its log is one JSON
    object a line.
    """
    if ctx.invoked_subcommand:
        return
    if bool(tls_cert) != bool(tls_key):
        raise click.UsageError("Set both --tls-cert and --tls-key.")
    if not (tls_cert or plain or is_loopback(listen[0])):
        raise click.UsageError(
            "Add --tls-cert and --tls-key, or --plain: other machines would send their sessions unencrypted."
        )
    logs.configure("warning" if output.quiet else log_level)
    parts = parts_of(**options)
    tls = _tls(tls_cert, tls_key) if tls_cert and tls_key else None
    if ca_out:
        private_files.write(ca_out, parts.authority.pem)
        # A certificate is public, and its readers are other users.
        ca_out.chmod(0o644)
    try:
        with suppress(KeyboardInterrupt), serving(parts, listen, tls) as (host, port):
            logger.info("serving", extra={"address": f"{host}:{port}", "url": options["url"]})
            wait_until_stopped()
    except OSError as error:
        raise VaultError(f"cannot listen: {error}") from None


@broker.command(context_settings={"allow_interspersed_args": False})
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
@_session_option
@_parts_options
@output_options
@click.pass_context
def run(
    ctx: click.Context, /, command: Sequence[str], output: Output, session_token_file: Path, **options: Any
) -> None:
    """Run a program with a broker of its own.

    Its environment leads its requests to the broker, with its session. The exit code is the program's.
    """
    session, parts = read_token(session_token_file), parts_of(**options)
    program.require(command)
    with ExitStack() as running:
        running.enter_context(program.held_signals())
        folder = running.enter_context(memory_folder())
        host, port = running.enter_context(serving(parts, ("127.0.0.1", 0)))
        ca_file, bundle = folder / "ca.pem", folder / "bundle.pem"
        private_files.write(ca_file, parts.authority.pem)
        private_files.write(bundle, environment.bundled(parts.authority.pem))
        output.note(f"the broker is at {host}:{port}")
        added = environment.variables(f"http://{host}:{port}", session, ca_file, bundle)
        inherited = program.environment(
            {name: text.encode() for name, text in added.items()}, keep_token=False
        )
        child = program.Child(command, environment.without_hidden(inherited))
        code = None
        while code is None:
            code = child.wait()
    ctx.exit(code)


@broker.command()
@_session_option
@click.option(
    "--proxy",
    metavar="URL",
    type=parameters.service_url,
    default="http://127.0.0.1:3128",
    show_default=True,
    help="The broker.",
)
@click.option(
    "--ca", "ca_file", metavar="FILE", type=FILE, required=True, help="The file of the broker's --ca-out."
)
@click.option(
    "--bundle",
    metavar="FILE",
    type=FILE,
    required=True,
    help="Write the system's authorities, and the broker's, to this file.",
)
@output_options
def env(output: Output, session_token_file: Path, proxy: str, ca_file: Path, bundle: Path) -> None:
    """Print the environment of a program, for eval.

    With it, the program uses a running broker. It has the program's session.
    """
    certificate = ca_file.read_bytes()
    private_files.write(bundle, environment.bundled(certificate))
    bundle.chmod(0o644)
    found = environment.variables(
        proxy, read_token(session_token_file), ca_file.absolute(), bundle.absolute()
    )
    lines = [f"export {name}={shlex.quote(text)}" for name, text in found.items()]
    output.result(found, "\n".join(lines))


def parts_of(
    url: str | None,
    token_file: Path | None,
    ca_cert: Path | None,
    upstream_ca: Path | None,
    opened: Iterable[Authority],
    networks: Sequence[Network],
) -> Parts:
    """Return the parts of a broker for the service at *url*.

    Raises:
        UsageError: There is no *url*, or no *token_file*.
        VaultError: A file cannot be used.
    """
    if not url or not token_file:
        raise click.UsageError("Set --url and --token-file, or their variables.")
    token = TokenFile(token_file)
    with failures():
        token.read()

    def connect(current: str) -> Service:
        return Service(url, current, ca_file=str(ca_cert) if ca_cert else None, timeout=_CALL_TIMEOUT)

    try:
        connect("")
    except OSError:
        # An SSLError is one, too.
        raise VaultError("--ca-cert does not name a file with certificates") from None
    return Parts(
        uses=Uses(connect, token.read),
        authority=CertificateAuthority(),
        addresses=Addresses(networks),
        trust=_trust(upstream_ca),
        opened=frozenset(opened),
        requests=Shares(MAX_REQUESTS, MAX_REQUESTS_OF_SESSION),
    )


def _trust(upstream_ca: Path | None) -> ssl.SSLContext:
    trust = ssl.create_default_context()
    trust.set_alpn_protocols(["http/1.1"])
    if upstream_ca:
        try:
            trust.load_verify_locations(upstream_ca)
        except OSError:
            raise VaultError("--upstream-ca does not name a file with certificates") from None
    return trust


def _tls(certificate: Path, key: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    try:
        # With a password, OpenSSL does not prompt for one.
        context.load_cert_chain(certificate, key, password="")
    except (OSError, ValueError):
        raise VaultError("--tls-cert and --tls-key must name a matching certificate and key in PEM") from None
    return context
