"""The commands `secret share` and `secret request`: links for people without a token."""

import sys
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import click

from vault.common.errors import VaultError
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, moment_cell, output_options
from vault.toolkit.cli.value_input import new_value, typed
from vault.toolkit.client.secrets import Secrets, encoded, reference
from vault.toolkit.client.service import Service

#: In place of a name: the value is typed, or standard input.
_STANDARD = "-"

_MAX_LIFETIME = timedelta(days=30)
_MAX_PASSPHRASE_LENGTH = 256

#: The call of the API that takes the token of a link, by its page.
_CALLS = {"share": "POST /vault/share/open", "request": "POST /vault/request/fill"}


def _lifetime(text: str) -> timedelta:
    length = parameters.duration(text)
    if length > _MAX_LIFETIME:
        raise click.BadParameter(f"must be at most {_MAX_LIFETIME.days}d")
    return length


def _secret(text: str) -> str:
    return text if text == _STANDARD else parameters.secret(text)


def _name(text: str) -> str:
    if "secret_id" in reference(text):
        raise click.BadParameter("must be a name, not an ID")
    return parameters.secret(text)


@click.command
@click.argument("secret", metavar="NAME_OR_ID", type=_secret)
@click.option(
    "--ttl",
    metavar="DURATION",
    type=_lifetime,
    default="1h",
    show_default=True,
    help="Time until the link expires, such as 15m or 7d.",
)
@click.option("--passphrase", "has_passphrase", is_flag=True, help="Ask for a passphrase that opens it.")
@service_options
@output_options
def share(secret: str, ttl: timedelta, has_passphrase: bool, service: Service, output: Output) -> None:
    """Print a link with which one person sees a value, once.

    The value is the secret's newest one. With - as the name, it is typed at a hidden prompt, or is standard
    input, and is stored nowhere else. Without a terminal, the passphrase for a secret is the first line of
    standard input; one for a value needs a terminal.
    """
    if has_passphrase and secret == _STANDARD and not sys.stdin.isatty():
        raise click.UsageError("--passphrase and a value from standard input need a terminal.")
    passphrase = _passphrase() if has_passphrase else None
    terms = {"ttl_seconds": round(ttl.total_seconds()), "passphrase": passphrase}
    if secret == _STANDARD:
        value = encoded(new_value("the share", None, None, output))
        found = Secrets(service).call("share", value | terms)
    else:
        found = Secrets(service).call_for("share", reference(secret) | terms)
    _print(found, "share", service, output)


@click.command
@click.argument("name", metavar="NAME", type=_name)
@click.option(
    "--ttl",
    metavar="DURATION",
    type=_lifetime,
    default="7d",
    show_default=True,
    help="Time until the link expires, such as 12h or 30d.",
)
@click.option("--max-bytes", metavar="N", type=click.IntRange(1), help="Maximum bytes of the value.")
@service_options
@output_options
def request(name: str, ttl: timedelta, max_bytes: int | None, service: Service, output: Output) -> None:
    """Print a link for one person to store a new secret's value, once."""
    seconds = round(ttl.total_seconds())
    asked = {"name": name, "ttl_seconds": seconds, "max_bytes": max_bytes}
    found = Secrets(service).call_for("request", asked)
    _print(found, "request", service, output)


def _passphrase() -> str:
    passphrase = (
        typed("Passphrase").decode() if sys.stdin.isatty() else sys.stdin.readline().removesuffix("\n")
    )
    if not 0 < len(passphrase) <= _MAX_PASSPHRASE_LENGTH:
        raise VaultError(
            f"the passphrase is empty, or has more than {_MAX_PASSPHRASE_LENGTH} characters",
            hint="run the command again",
        )
    return passphrase


def _print(found: Mapping[str, Any], page: str, service: Service, output: Output) -> None:
    """Print the link *found*, at the address that the service has for people, or else at its own.

    Without the console, print its token.
    """
    path, url = f"/console/{page}", found.get("url")
    if not all(isinstance(text, str) for text in (found.get("token"), found.get("expires_at"), url or "")):
        raise service.odd_reply()
    if not url and service.has_page(path):
        url = f"{service.url}{path}#{found['token']}"
    if url:
        output.result({**found, "url": url}, url)
    else:
        output.result(found, found["token"])
        output.note(f"a token, as the service has no console; it is for {_CALLS[page]}")
    output.note(f"one person can use it, once, until {moment_cell(found['expires_at'])}")
