"""The forms of arguments that several commands take."""

import click

from vault.core.networks import Network, network
from vault.core.paths import is_path
from vault.core.principal import is_name

#: A text file. What is not UTF-8 in it is invalid, not an error.
TEXT_FILE = click.File(encoding="utf-8", errors="replace")


def name(text: str) -> str:
    """Return the name of a token, a role, an issuer or a namespace."""
    if not is_name(text):
        raise click.BadParameter("must be up to 64 letters, digits, dots, hyphens and underscores")
    return text


def network_of(text: str) -> Network:
    """Return a network."""
    try:
        return network(text)
    except ValueError:
        raise click.BadParameter("must be a network such as 192.0.2.0/24") from None


def path(text: str) -> str:
    """Return a path."""
    if not is_path(text):
        raise click.BadParameter("must be a name, or a prefix that ends in a slash, such as billing/")
    return text
