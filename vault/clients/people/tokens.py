"""The commands `tokens …` for holders of a token: create, list and revoke tokens over HTTP."""

from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import click

from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.cli.token_options import (
    COLUMNS,
    NewToken,
    new_token_options,
    print_token,
    show_revocation,
    unused_option,
)
from vault.toolkit.client.service import Service

_PAGE = 1_000

#: The fields of a token that are lists of texts, and all fields that are printed.
_LISTS = frozenset({"scopes", "networks", "paths"})
_FIELDS = _LISTS | {
    *("name", "state", "namespace", "created_at", "created_by", "expires_at", "renewable_until"),
    "last_used_at",
}


@click.group()
def tokens() -> None:
    """Create, list and revoke tokens.

    There is no master key, so these commands use your token, which needs the scope token:manage. See
    docs/cli.md.
    """


@tokens.command()
@new_token_options
@partial(service_options, role_option="--jwt-role")
@output_options
def create(new_token: NewToken, service: Service, output: Output) -> None:
    """Create a token and print it. It is not shown again.

    It is in your namespace, and cannot exceed your own token.
    """
    parameters.note_single_names(new_token.paths, output)
    body: dict[str, Any] = {
        "name": new_token.name,
        "role": new_token.role,
        "scopes": list(new_token.scopes) or None,
        "networks": [str(network) for network in new_token.networks] or None,
        "paths": list(new_token.paths) or None,
        # Earlier versions of the service do not know it.
        **({"all_namespaces": True} if new_token.all_namespaces else {}),
        "expires_in": _seconds(new_token.lifetime),
        "renewable": new_token.renewable or None,
        "max_age": _seconds(new_token.max_age),
    }
    token = service.call("/vault/token/create", body).get("token")
    if not isinstance(token, str):
        raise service.odd_reply()
    print_token(output, new_token.name, {"name": new_token.name}, token)


@tokens.command("list")
@unused_option
@service_options
@output_options
def list_tokens(unused_for: timedelta | None, service: Service, output: Output) -> None:
    """List the tokens of your namespace, including expired and revoked ones."""
    output.table(COLUMNS, list(_listed(service, unused_for)))


@tokens.command()
@click.argument("name", type=parameters.name_of_token)
@click.option("--cascade", is_flag=True, help="Also revoke the tokens that it created.")
@service_options
@output_options
def revoke(name: str, cascade: bool, service: Service, output: Output) -> None:
    """Revoke the token NAME.

    With --cascade, all that it created also ends, directly or through other tokens; without, what stays is
    named. To revoke a token again is not an error.
    """
    reply = service.call("/vault/token/revoke", {"name": name, "cascade": cascade})
    revoked, stays = reply.get("revoked"), reply.get("stays", [])
    if not (isinstance(revoked, list) and isinstance(stays, list) and all(map(_is_standing, stays))):
        raise service.odd_reply()
    show_revocation(output, name, {"revoked": revoked} | ({"stays": stays} if stays else {}))


def _listed(service: Service, unused_for: timedelta | None) -> Iterator[dict[str, Any]]:
    """Yield the tokens, page by page."""
    cursor = None
    while True:
        body = {"limit": _PAGE, "cursor": cursor, "unused_for": _seconds(unused_for)}
        page = service.call("/vault/token/list", body)
        rows = page.get("tokens")
        if not (isinstance(rows, list) and all(map(_is_token, rows))):
            raise service.odd_reply()
        yield from rows
        cursor = page.get("cursor")
        if cursor is None:
            return


def _is_standing(row: Any) -> bool:
    return isinstance(row, dict) and all(isinstance(row.get(name), str) for name in ("kind", "name"))


def _is_token(row: Any) -> bool:
    if not isinstance(row, dict) or not row.keys() >= _FIELDS:
        return False
    lists = [row[name] for name in _LISTS]
    return all(isinstance(one, list) and all(isinstance(text, str) for text in one) for one in lists)


def _seconds(duration: timedelta | None) -> int | None:
    return int(duration.total_seconds()) if duration else None
