"""The commands `tokens …`: create, list and revoke tokens, including the first one."""

from dataclasses import asdict
from datetime import timedelta

import click

from vault.common.paths import Paths
from vault.core.access.tokens.tokens import Grant
from vault.core.attempt import Action
from vault.core.principal import DEFAULT_NAMESPACE, ROLES, scopes_named
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, cell, output_options, warn
from vault.toolkit.cli.token_options import (
    COLUMNS,
    NewToken,
    new_token_options,
    print_token,
    show_revocation,
    unused_option,
)

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


@click.group()
def tokens() -> None:
    """Create, list and revoke tokens."""


@tokens.command()
@new_token_options
@parameters.namespace_option("The token's namespace.  [default: default]")
@click.option("--display", is_flag=True, help="Also describe the token, on standard error.")
@output_options
def create(output: Output, new_token: NewToken, namespace: str | None, display: bool) -> None:
    """Create a token and print it. It is not shown again.

    Standard output has the token alone, so that a script can read it.
    """
    parameters.note_single_names(new_token.paths, output)
    grant = Grant(
        name=new_token.name,
        scopes=ROLES.get(new_token.role or "", frozenset()) | scopes_named(new_token.scopes),
        namespace=namespace,
        networks=new_token.networks,
        paths=Paths.of(new_token.paths),
        all_namespaces=new_token.all_namespaces,
        lifetime=new_token.lifetime,
        renewable=new_token.renewable,
        max_age=new_token.max_age,
    )
    with operator_attempt(output, Action.TOKEN_CREATE) as (parts, attempt):
        token = parts.tokens.create(grant, attempt=attempt)
    described = asdict(token.info)
    if display and not output.as_json:
        for heading, field in _FACTS.items():
            shown = cell(described[field] or _UNLIMITED.get(field))
            warn(f"{heading + ':':<18}{shown}")
    print_token(output, new_token.name, described, token.text)


@tokens.command("list")
@unused_option
@output_options
def list_tokens(output: Output, unused_for: timedelta | None) -> None:
    """List all tokens, including expired and revoked ones."""
    with operator_attempt(output, Action.TOKEN_LIST) as (parts, attempt):
        found = parts.tokens.list(unused_for=unused_for, attempt=attempt)
    output.table(COLUMNS, map(asdict, found))


@tokens.command()
@click.argument("name", type=parameters.name_of_token)
@parameters.namespace_option("The token's namespace, if several have this name.")
@click.option("--cascade", is_flag=True, help="Also revoke the tokens that it created.")
@output_options
def revoke(output: Output, name: str, namespace: str | None, cascade: bool) -> None:
    """Revoke the token NAME.

    With --cascade, all that it created also ends, directly or through other tokens: tokens, roles, issuers,
    webhooks and requests; rotation plans are paused. Prints the names of all revoked tokens, after their
    namespace unless it is the default one, and without --cascade what stays. To revoke a token again is not
    an error.
    """
    with operator_attempt(output, Action.TOKEN_REVOKE) as (parts, attempt):
        done = parts.tokens.revoke(name, namespace=namespace, cascade=cascade, attempt=attempt)
    # Tokens are created within their creator's namespace only.
    found = str(attempt.details["namespace"])
    place = "" if found == DEFAULT_NAMESPACE else f"{found}/"
    stays = {"stays": list(map(asdict, done.stays))} if done.stays else {}
    show_revocation(output, name, {"namespace": found, "revoked": list(done.revoked), **stays}, place)
