"""The commands `login`, `logout` and `whoami`: the profile that keeps an address and a token."""

import os
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from vault.common.errors import VaultError
from vault.common.text import printable
from vault.toolkit.cli.connection import address_options, connect, read_token, service_options
from vault.toolkit.cli.output import Output, facts, moment_cell, output_options
from vault.toolkit.client import address, profile
from vault.toolkit.client.profile import Profile
from vault.toolkit.client.service import Service

_FIELDS = {"principal", "kind", "role", "namespace", "scopes", "paths", "networks", "expires_at"}

#: A JWT is longer than a token.
_MAX_TOKEN_LENGTH = 65_536


#: The service does not say why a token is invalid.
_CHECK = "check the token: it may be mistyped, expired, revoked, or limited to other networks"


@click.command
@partial(address_options, otherwise="standard input")
@output_options
def login(
    url: str | None, token_file: Path | None, ca_cert: Path | None, jwt_role: str, output: Output
) -> None:
    """Keep an address and a token for later commands.

    Asks for the token, or reads it from standard input if that is not a terminal, or from --token-file;
    VAULT_TOKEN is not used. Checks both, and keeps them in a file that only you can read.
    """
    url = url or address.DEFAULT
    token = read_token(token_file) if token_file else _asked_token(url)
    service = connect(url, token, ca_cert, jwt_role, credential_hint=_CHECK)
    found = _self(service)
    profile.save(Profile(service.url, service.token, str(ca_cert.resolve()) if ca_cert else None))
    output.result(
        {"url": service.url, **found}, f"logged in as {printable(found['principal'])} at {service.url}"
    )
    if os.environ.get("VAULT_TOKEN"):
        output.note("note: VAULT_TOKEN is set, and precedes this login: unset it")
    if jwt_role and not os.environ.get("VAULT_ROLE"):
        output.note("note: the login does not keep the role: name it for each command, or set VAULT_ROLE")


@click.command
@output_options
def logout(output: Output) -> None:
    """Remove the address and the token of your login.

    The token itself stays valid: revoke it if no one needs it.
    """
    removed = profile.remove()
    output.result({"removed": removed}, "logged out" if removed else "there is no login")


@click.command
@service_options
@output_options
def whoami(service: Service, output: Output) -> None:
    """Print who you are to the service, and your rights."""
    found = _self(service)
    output.result({"url": service.url, **found}, facts(_facts(service.url, found)))


def _self(service: Service) -> dict[str, Any]:
    """Return who the holder of the token is."""
    found = service.call("/vault/token/self", {})
    if not (isinstance(found.get("principal"), str) and found.keys() >= _FIELDS):
        raise service.odd_reply()
    return found


def _asked_token(url: str) -> str:
    if sys.stdin.isatty():
        token: str = click.prompt(f"Token for {url}", hide_input=True, err=True)
    else:
        token = sys.stdin.read(_MAX_TOKEN_LENGTH)
    if not token.strip():
        raise VaultError(
            "there is no token",
            hint="send it to standard input, or use --token-file; VAULT_TOKEN is not used",
        )
    return token.strip()


def _facts(url: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "service": url,
        "name": found["principal"],
        "credential": found["kind"],
        # Only a JWT acts through a role: a token has the scopes of its role, and does not say which.
        **({"role": found["role"]} if found["role"] else {}),
        "namespace": found["namespace"],
        "scopes": found["scopes"],
        "paths": found["paths"] or "all",
        "networks": found["networks"] or "all",
        "expires": moment_cell(found["expires_at"] or "never"),
    }
