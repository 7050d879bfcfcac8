"""Make, list and revoke tokens: how the first one comes to be."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import click

from vault.auth.tokens import Grant, TokenInfo, TokenKeys, Tokens
from vault.cli.context import connected
from vault.cli.output import print_table
from vault.core.attempt import Action, Attempt, Status
from vault.core.errors import VaultError
from vault.core.networks import Network, network
from vault.core.principal import OPERATOR, ROLES, Scope, is_name, scopes_named
from vault.core.text import printable
from vault.keys.guard import KeyringGuard

_HEADINGS = ("name", "state", "namespace", "scopes", "networks", "created", "by", "expires")


def _name(text: str) -> str:
    if not is_name(text):
        raise click.BadParameter("up to 64 letters, digits, dots, hyphens and underscores")
    return text


def _network(text: str) -> Network:
    try:
        return network(text)
    except ValueError:
        raise click.BadParameter("not a network such as 192.0.2.0/24") from None


@click.group()
def tokens() -> None:
    """Make, list and revoke tokens."""


@tokens.command()
@click.option(
    "--name",
    metavar="NAME",
    type=_name,
    required=True,
    help="Its name; never used twice in its namespace.",
)
@click.option("--role", type=click.Choice(list(ROLES)), help="A name for some scopes.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice([scope.value for scope in Scope]),
    help="What it may do; can be given several times.",
)
@click.option("--namespace", metavar="NAME", type=_name, help="Whose secrets it may see.  [default: default]")
@click.option(
    "--network",
    "networks",
    multiple=True,
    metavar="NETWORK",
    type=_network,
    help="Where it may be used from; can be given several times.  [default: anywhere]",
)
@click.option(
    "--expires-in",
    "seconds",
    type=click.IntRange(1, 315_360_000),
    help="Seconds until it ends.  [default: TOKEN_MAX_DAYS, or never]",
)
def create(
    name: str,
    role: str | None,
    scopes: tuple[str, ...],
    namespace: str | None,
    networks: tuple[Network, ...],
    seconds: int | None,
) -> None:
    """Make a token and print it, the only time that it is shown."""
    if not role and not scopes:
        raise click.UsageError("Give --role or --scope.")
    grant = Grant(
        name=name,
        scopes=ROLES.get(role or "", frozenset()) | scopes_named(scopes),
        namespace=namespace,
        networks=networks,
        lifetime=timedelta(seconds=seconds) if seconds else None,
    )
    with _attempt(Action.TOKEN_CREATE) as (operations, attempt):
        text = operations.create(grant, attempt=attempt)
    click.echo(text)


@tokens.command("list")
def list_tokens() -> None:
    """Show all tokens, ended ones too; never the tokens themselves."""
    with _attempt(Action.TOKEN_LIST) as (operations, attempt):
        found = operations.list(attempt=attempt)
    print_table(_HEADINGS, map(_row, found))


@tokens.command()
@click.argument("name")
@click.option("--namespace", metavar="NAME", type=_name, help="The token's namespace, if NAME is in several.")
@click.option("--cascade", is_flag=True, help="End the tokens that it made, too.")
def revoke(name: str, namespace: str | None, cascade: bool) -> None:
    """End the token NAME, on every replica within 5 seconds.

    With --cascade every token that it made ends too, directly or through others, and the names of the tokens
    that ended are printed.
    """
    with _attempt(Action.TOKEN_REVOKE) as (operations, attempt):
        ended = operations.revoke(name, namespace=namespace, cascade=cascade, attempt=attempt)
    if cascade:
        for each in ended:
            click.echo(printable(each))


@contextmanager
def _attempt(action: Action) -> Iterator[tuple[Tokens, Attempt]]:
    """Yield the operations, and the operator's attempt at *action*; no refusal goes unrecorded."""
    with connected() as operator:
        # Held against the database as a worker would be: a wrong master key must not become the tokens'.
        key_watch = KeyringGuard(operator.keyring, operator.database, audit_enabled=operator.audit_enabled)
        attempt = Attempt(action=action, principal=OPERATOR)
        try:
            keys = TokenKeys(operator.keyring, key_watch)
            yield Tokens(keys, max_days=operator.token_max_days), attempt
        except VaultError:
            attempt.finish(Status.ERROR)
            raise
        finally:
            key_watch.close()


def _row(token: TokenInfo) -> tuple[str, ...]:
    cells = (
        token.name,
        token.state,
        token.namespace,
        " ".join(token.scopes),
        " ".join(token.networks),
        token.created_at.date().isoformat() if token.created_at else "",
        token.created_by,
        token.expires_at.isoformat(timespec="seconds") if token.expires_at else "",
    )
    return tuple(printable(cell) or "-" for cell in cells)
