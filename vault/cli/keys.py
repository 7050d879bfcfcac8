"""Make, look at and rotate master keys."""

import secrets
import sys
from base64 import b64encode
from contextlib import suppress

import click

from vault.audit import reader
from vault.cli.context import connected
from vault.cli.output import bar, print_table
from vault.core.attempt import Action, Attempt
from vault.core.errors import KeyMissingError
from vault.core.principal import OPERATOR
from vault.keys.rewrap import Rewrap
from vault.keys.rewrap import rewrap as rewrap_all
from vault.keys.status import KeyRole, KeyStatus, key_statuses

_HEADINGS = ("key id", "role here", "workers with it", "encrypting", "secret versions", "may be dropped")


@click.group()
def keys() -> None:
    """Make, look at and rotate master keys."""


@keys.command()
def generate() -> None:
    """Print a new master key, for MASTER_KEY."""
    click.echo(b64encode(secrets.token_bytes(32)).decode())


@keys.command()
def status() -> None:
    """Show which master keys are held and in use, and which may be dropped.

    Workers are the service's running processes, on all machines; "role here" is that in this command's own
    keyring. In a rotation, the new key is everywhere once all workers hold it, and the swap is done
    once all encrypt under it.

    Exits with 1 if a key that is in use is missing here. Otherwise it is on record: it needs a MongoDB user
    who may insert into the trail.
    """
    with connected(reading=True) as operator:
        found = key_statuses(operator.keyring)
        is_missing = any(key.role is KeyRole.MISSING for key in found)
        if not is_missing:
            attempt = Attempt(action=Action.KEYS_STATUS, principal=OPERATOR, details={"keys": len(found)})
            # With other keys than the service, nothing that it signs would verify; it shows which they are.
            with suppress(KeyMissingError):
                reader.record(attempt)
    print_table(_HEADINGS, map(_row, found))
    for weakness in operator.weak_keys:
        click.echo(f"Warning: {weakness}. Rotate it.", err=True)
    sys.exit(is_missing)


def _row(key: KeyStatus) -> tuple[str, ...]:
    if key.droppable:
        verdict = "yes"
    elif key.role is KeyRole.PRIMARY:
        verdict = "no, it encrypts"
    elif key.versions:
        verdict = "no, secrets need it"
    elif key.tokens:
        verdict = "no, tokens need it"
    elif key.encrypting:
        verdict = "no, workers encrypt under it"
    else:
        verdict = "no, what lost its key id may need it"
    holding, encrypting = f"{key.holding} of {key.workers}", f"{key.encrypting} of {key.workers}"
    return (key.key_id, key.role, holding, encrypting, str(key.versions), verdict)


@keys.command()
@click.option("--dry-run", is_flag=True, help="Read and decrypt what is left, change nothing.")
def rewrap(dry_run: bool) -> None:
    """Put every secret, and the key of all tokens, under the primary key.

    Safe to interrupt, to repeat and to run twice at a time. Exits with 1 while any secret needs another key.
    While a key in use is missing, only --dry-run works.
    """
    with connected(reading=dry_run) as operator, bar("Rewrapping") as shown:

        def show(outcome: Rewrap) -> None:
            shown.reach(outcome.seen, outcome.total)

        outcome = rewrap_all(operator.keyring, dry_run=dry_run, progress=show)
    verb = "could be rewrapped" if dry_run else "rewrapped"
    click.echo(
        f"{outcome.rewrapped} {verb}, {outcome.overtaken} changed meanwhile, "
        f"{outcome.unreadable} do not verify, {outcome.left} left"
    )
    sys.exit(outcome.left > 0)
