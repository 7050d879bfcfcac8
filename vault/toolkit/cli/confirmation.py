"""Questions before a command does what cannot be undone."""

import sys

import click

from vault.common.errors import VaultError


def confirm(question: str, yes: bool, refusal: str) -> None:
    """Ask *question* on a terminal, unless *yes* is set.

    Raises:
        VaultError: The answer is no; the message is *refusal*.
    """
    if not yes and sys.stdin.isatty() and not click.confirm(question, err=True):
        raise VaultError(refusal)
