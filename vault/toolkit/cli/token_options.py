"""The options for a new token, and the output of commands for tokens."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

import click

from vault.common.errors import VaultError
from vault.common.networks import Network
from vault.common.paths import MAX_PATHS
from vault.common.text import printable
from vault.core.principal import DEFAULT_NAMESPACE, ROLES, role_of
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Column, Output, moment_cell

Command = TypeVar("Command", bound=Callable[..., Any])

#: What a list says of a token or a role whose `audit:read` shows more than its own namespace.
ALL_NAMESPACES = "audit of all namespaces"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """The options of a new token."""

    name: str
    role: str | None
    scopes: tuple[str, ...]
    networks: tuple[Network, ...]
    paths: tuple[str, ...]
    all_namespaces: bool
    lifetime: timedelta | None
    renewable: bool
    max_age: timedelta | None


def _joined(first: str, word: str, second: str) -> Column:
    """Return a column with two fields of a token, which is narrower than two columns."""

    def text(token: Mapping[str, Any]) -> Any:
        texts = [moment_cell(token[field]) for field in (first, second)]
        return f"{texts[0]} {word} {texts[1]}" if token[second] else texts[0]

    return text


def scopes_cell(held: Mapping[str, Any]) -> Any:
    """Return the scopes of a token or a role, and whether its `audit:read` is for all namespaces."""
    # The scopes of an administrator take 13 lines.
    scopes = role_of(held["scopes"]) or held["scopes"]
    # Earlier versions of the service do not say it.
    if held["namespace"] == DEFAULT_NAMESPACE or not held.get("all_namespaces"):
        return scopes
    return [*([scopes] if isinstance(scopes, str) else scopes), ALL_NAMESPACES]


#: Few enough for 100 columns without a broken word.
COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("name", "state", "namespace")},
    "scopes": scopes_cell,
    "limited to": lambda token: [*token["networks"], *token["paths"]],
    "created": _joined("created_at", "by", "created_by"),
    "expires": _joined("expires_at", "renewable until", "renewable_until"),
    "last used": lambda token: moment_cell(token["last_used_at"]),
}

unused_option = click.option(
    "--unused-for",
    metavar="DURATION",
    type=parameters.duration,
    help="Only active tokens that were not used for this time, such as 90d.",
)


def new_token_options(command: Command) -> Command:
    """Add the options for a new token to *command*, which gets them as `new_token`."""

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
    @parameters.networks_option("token")
    @parameters.paths_option("token")
    @parameters.all_namespaces_option("token")
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
    @wraps(command)
    def with_token(*arguments: Any, **options: Any) -> Any:
        new = NewToken(**{field.name: options.pop(field.name) for field in fields(NewToken)})
        if not new.role and not new.scopes:
            raise click.UsageError("Add --role or --scope.")
        if len(new.paths) > MAX_PATHS:
            raise click.UsageError(f"Add at most {MAX_PATHS} paths.")
        if new.renewable and not new.lifetime:
            raise click.UsageError("Add --expires-in: --renewable requires it.")
        if new.max_age and not new.renewable:
            raise click.UsageError("Add --renewable: --max-age requires it.")
        return command(*arguments, new_token=new, **options)

    return with_token  # type: ignore[return-value]


def print_token(output: Output, name: str, data: Mapping[str, Any], token: str) -> None:
    """Print the new *token* with this *name*, or its *data* as JSON.

    Raises:
        VaultError: It cannot be written.
    """
    try:
        output.result({**data, "token": token}, token)
    except OSError as error:
        raise VaultError(
            f"the token {name} was created, but cannot be written: {error.strerror}",
            hint=f"run `secret-manager tokens revoke {name}`, and create another one",
        ) from None


def show_revocation(output: Output, name: str, reply: Mapping[str, Any], place: str = "") -> None:
    """Print the *reply* to a revocation of the token *name*, and each token after its *place*."""
    lines = [f"revoked: {place}{one}; refused everywhere within 5 seconds" for one in reply["revoked"]]
    stays = [f"stays: {one['kind']} {one['name']}" for one in reply.get("stays", ())]
    found = (*(lines or [f"already revoked: {place}{name}"]), *stays)
    output.result(reply, "\n".join(map(printable, found)))
    if stays:
        output.note("What the token created stays. Repeat this with --cascade to end it, too")
