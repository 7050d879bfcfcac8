"""The commands `keys …`: generate, inspect and rotate master keys."""

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
    """Generate, inspect and rotate master keys."""


@keys.command()
def generate() -> None:
    """Print a new master key for MASTER_KEY."""
    click.echo(b64encode(secrets.token_bytes(32)).decode())


@keys.command()
def status() -> None:
    """Show the master keys in use, and which may be dropped.

    Workers are the service's running processes, on all machines; "role here" is the role in this command's
    own keyring. During a rotation, distributing the new key is complete once all workers have it, and the
    swap is complete once all workers encrypt under it.

    Exits with 1 if a key in use is missing here. Otherwise the command is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    with connected(reading=True) as context:
        found = key_statuses(context.keyring)
        is_missing = any(key.role is KeyRole.MISSING for key in found)
        if not is_missing:
            attempt = Attempt(action=Action.KEYS_STATUS, principal=OPERATOR, details={"keys": len(found)})
            # Without the service's keys, the entry's signature would not verify; only the table is shown.
            with suppress(KeyMissingError):
                reader.record(attempt)
    print_table(_HEADINGS, map(_row, found))
    for weakness in context.weak_keys:
        click.echo(f"Warning: {weakness}. Rotate it.", err=True)
    sys.exit(is_missing)


def _row(key: KeyStatus) -> tuple[str, ...]:
    if key.droppable:
        verdict = "yes"
    elif key.role is KeyRole.PRIMARY:
        verdict = "no, it is primary"
    elif key.versions:
        verdict = "no, secrets need it"
    elif key.tokens:
        verdict = "no, tokens need it"
    elif key.encrypting:
        verdict = "no, workers encrypt under it"
    else:
        verdict = "no, values without a key ID may need it"
    holding, encrypting = f"{key.holding} of {key.workers}", f"{key.encrypting} of {key.workers}"
    return (key.key_id, key.role, holding, encrypting, str(key.versions), verdict)


@keys.command()
@click.option("--dry-run", is_flag=True, help="Decrypt the remaining values; change nothing.")
def rewrap(dry_run: bool) -> None:
    """Re-encrypt all values under the primary key.

    These are all versions of secrets, and the key of all tokens. Safe to interrupt, to repeat and to run
    concurrently. Exits with 1 while any value needs another key. While a key in use is missing here, only
    --dry-run works.
    """
    with connected(reading=dry_run) as context, bar("Rewrapping") as shown:

        def show(outcome: Rewrap) -> None:
            shown.reach(outcome.seen, outcome.total)

        outcome = rewrap_all(context.keyring, dry_run=dry_run, progress=show)
    verb = "could be rewrapped" if dry_run else "rewrapped"
    click.echo(
        f"{outcome.rewrapped} {verb}, {outcome.overtaken} changed meanwhile, "
        f"{outcome.unreadable} failed, {outcome.left} left"
    )
    sys.exit(outcome.left > 0)
