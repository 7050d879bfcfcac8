"""The commands `tokens …`: create, list and revoke tokens, including the first one."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta

import click

from vault.auth.tokens import Grant
from vault.cli.operator.context import operator_attempt
from vault.cli.shell import parameters
from vault.cli.shell.output import Column, Output, cell, output_options, warn
from vault.core.attempt import Action
from vault.core.errors import VaultError
from vault.core.networks import Network
from vault.core.paths import MAX_PATHS, Paths
from vault.core.principal import DEFAULT_NAMESPACE, ROLES, scopes_named
from vault.core.text import printable

_FACTS = {
    **{name: name for name in ("name", "state", "namespace", "scopes", "networks", "paths")},
    "created": "created_at",
    "by": "created_by",
    "expires": "expires_at",
    "renewable until": "renewable_until",
    "last used": "last_used_at",
}


#: The texts of fields that do not limit a token.
_UNLIMITED = {"networks": "all", "paths": "all", "expires_at": "never"}


def _joined(first: str, word: str, second: str) -> Column:
    """Return a column with two fields of a token, which is narrower than two columns."""
    return lambda token: (
        f"{cell(token[first])} {word} {cell(token[second])}" if token[second] else token[first]
    )


#: Few enough for 100 columns without a broken word.
_COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("name", "state", "namespace", "scopes")},
    "limited to": lambda token: [*token["networks"], *token["paths"]],
    "created": _joined("created_at", "by", "created_by"),
    "expires": _joined("expires_at", "renewable until", "renewable_until"),
    "last used": "last_used_at",
}


@click.group()
def tokens() -> None:
    """Create, list and revoke tokens."""


@tokens.command()
@click.option(
    "--name",
    metavar="NAME",
    type=parameters.name,
    required=True,
    help="The token's name. Names cannot be reused.",
)
@click.option(
    "--role",
    type=click.Choice(list(ROLES)),
    help="A named set of scopes. With --scope, the token has both.",
)
@parameters.scopes_option("token")
@parameters.namespace_option("The token's namespace.  [default: default]")
@parameters.networks_option("token")
@parameters.paths_option("token")
@click.option(
    "--expires-in",
    "--ttl",
    "lifetime",
    metavar="DURATION",
    type=parameters.duration,
    help="Time until the token expires, such as 30d, 12h or 90m.  [default: TOKEN_MAX_DAYS, or never]",
)
@click.option("--renewable", is_flag=True, help="The token can extend itself, each time by --expires-in.")
@click.option(
    "--max-age",
    metavar="DURATION",
    type=parameters.duration,
    help="With --renewable: its longest age, such as 90d.  [default: TOKEN_MAX_DAYS, or 10 years]",
)
@click.option("--display", is_flag=True, help="Also describe the token, on standard error.")
@output_options
def create(
    output: Output,
    name: str,
    role: str | None,
    scopes: tuple[str, ...],
    namespace: str | None,
    networks: tuple[Network, ...],
    paths: tuple[str, ...],
    lifetime: timedelta | None,
    renewable: bool,
    max_age: timedelta | None,
    display: bool,
) -> None:
    """Create a token and print it. It is not shown again.

    Standard output has the token alone, so that a script can read it.
    """
    if not role and not scopes:
        raise click.UsageError("Add --role or --scope.")
    if len(paths) > MAX_PATHS:
        raise click.UsageError(f"Add at most {MAX_PATHS} paths.")
    if renewable and not lifetime:
        raise click.UsageError("Add --expires-in: --renewable requires it.")
    if max_age and not renewable:
        raise click.UsageError("Add --renewable: --max-age requires it.")
    parameters.note_single_names(paths, output)
    grant = Grant(
        name=name,
        scopes=ROLES.get(role or "", frozenset()) | scopes_named(scopes),
        namespace=namespace,
        networks=networks,
        paths=Paths.of(paths),
        lifetime=lifetime,
        renewable=renewable,
        max_age=max_age,
    )
    with operator_attempt(output, Action.TOKEN_CREATE) as (parts, attempt):
        token = parts.tokens.create(grant, attempt=attempt)
    described = asdict(token.info)
    if display and not output.as_json:
        for heading, field in _FACTS.items():
            shown = cell(described[field] or _UNLIMITED.get(field))
            warn(f"{heading + ':':<18}{shown}")
    try:
        output.result(described | {"token": token.text}, token.text)
    except OSError as error:
        raise VaultError(
            f"the token {name} was created, but cannot be written: {error.strerror}",
            hint=f"run `secret-manager tokens revoke {name}`, and create another one",
        ) from None


@tokens.command("list")
@click.option(
    "--unused-for",
    metavar="DURATION",
    type=parameters.duration,
    help="Only active tokens that were not used for this time, such as 90d.",
)
@output_options
def list_tokens(output: Output, unused_for: timedelta | None) -> None:
    """List all tokens, including expired and revoked ones."""
    with operator_attempt(output, Action.TOKEN_LIST) as (parts, attempt):
        found = parts.tokens.list(unused_for=unused_for, attempt=attempt)
    output.table(_COLUMNS, map(asdict, found))


@tokens.command()
@click.argument("name", type=parameters.name_of_token)
@parameters.namespace_option("The token's namespace, if several have this name.")
@click.option("--cascade", is_flag=True, help="Also revoke the tokens that it created.")
@output_options
def revoke(output: Output, name: str, namespace: str | None, cascade: bool) -> None:
    """Revoke the token NAME.

    With --cascade, every token that it created is also
    revoked, directly or through other tokens. Prints the names of all revoked tokens, after their namespace
    unless it is the default one. To revoke a token again is not an error.
    """
    with operator_attempt(output, Action.TOKEN_REVOKE) as (parts, attempt):
        ended = parts.tokens.revoke(name, namespace=namespace, cascade=cascade, attempt=attempt)
    # Tokens are created within their creator's namespace only.
    found = str(attempt.details["namespace"])
    place = "" if found == DEFAULT_NAMESPACE else f"{found}/"
    lines = [f"revoked: {place}{revoked}; refused everywhere within 5 seconds" for revoked in ended]
    lines = lines or [f"already revoked: {place}{name}"]
    output.result({"namespace": found, "revoked": list(ended)}, "\n".join(map(printable, lines)))
