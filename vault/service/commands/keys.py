"""The commands `keys …`: generate, inspect and rotate master keys."""

import secrets
import sys
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict

import click

from vault.common.errors import KeyMissingError
from vault.common.text import printable
from vault.core.attempt import Action, Attempt
from vault.core.keys.rewrap import Rewrap, other_writing_keys
from vault.core.keys.rewrap import rewrap as rewrap_all
from vault.core.keys.status import KeyRole, KeyStatus, key_statuses
from vault.core.principal import OPERATOR
from vault.core.trail import reader
from vault.service.commands.context import connected
from vault.toolkit.cli.lazy_group import LazyGroup
from vault.toolkit.cli.output import Column, Output, Row, output_options

_COLUMNS: Mapping[str, Column] = {
    "key id": "key_id",
    "role here": "role",
    "workers with it": lambda key: f"{key['holding']} of {key['workers']}",
    "encrypting": lambda key: f"{key['encrypting']} of {key['workers']}",
    "versions": "versions",
    "may be dropped": "verdict",
}


@click.group(cls=LazyGroup, functions={}, words="keys")
def keys() -> None:
    """Generate, inspect and rotate master keys."""


@keys.command()
@output_options
def generate(output: Output) -> None:
    """Print a new master key for MASTER_KEY."""
    key = b64encode(secrets.token_bytes(32)).decode()
    output.result({"master_key": key}, key)


@keys.command()
@output_options
def status(output: Output) -> None:
    """Show the master keys in use, and which may be dropped.

    Workers are the service's running processes, on all machines; "role here" is the role in this command's
    own keyring. During a rotation, distributing the new key is complete once all workers have it, and the
    swap is complete once all workers encrypt under it.

    Exits with 1 if a key in use is missing here. Otherwise the command is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    with connected(output, reading=True) as parts:
        found = key_statuses(parts.keyring)
        is_missing = any(key.role is KeyRole.MISSING for key in found)
        if not is_missing:
            attempt = Attempt(action=Action.KEYS_STATUS, principal=OPERATOR, details={"keys": len(found)})
            # Without the service's keys, the entry's signature would not verify; only the table is shown.
            with suppress(KeyMissingError):
                reader.record(attempt)
    output.table(_COLUMNS, map(_row, found))
    for weakness in parts.settings.weak_keys:
        output.note(f"warning: {weakness}. Hint: rotate it")
    sys.exit(is_missing)


def _row(key: KeyStatus) -> Row:
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
        verdict = "no, values without key ID exist"
    return asdict(key) | {"droppable": key.droppable, "verdict": verdict}


@keys.command()
@click.option("--dry-run", is_flag=True, help="Decrypt the remaining values; change nothing.")
@output_options
def rewrap(output: Output, dry_run: bool) -> None:
    """Re-encrypt all values under the primary key.

    These are all versions of secrets, and the key of all tokens. Safe to interrupt, to repeat and to run
    concurrently. Exits with 1 while any value needs another key. Repeat it if workers encrypted under another
    key meanwhile. While a key in use is missing here, only --dry-run works.
    """
    with connected(output, reading=dry_run) as parts, output.bar("Rewrapping") as shown:

        def show(outcome: Rewrap) -> None:
            shown.reach(outcome.seen, outcome.total)

        outcome = rewrap_all(parts.keyring, parts.guard, dry_run=dry_run, progress=show)
        writing = other_writing_keys(parts.keyring)
    verb = "could be rewrapped" if dry_run else "rewrapped"
    output.result(
        asdict(outcome),
        f"{outcome.rewrapped} {verb}, {outcome.overtaken} changed meanwhile, "
        f"{outcome.unreadable} failed, {outcome.left} left",
    )
    if writing:
        output.note(
            f"warning: some workers still encrypt under {', '.join(map(printable, sorted(writing)))}. "
            "Hint: run this again once `secret-manager keys status` shows that none of them does"
        )
    sys.exit(outcome.left > 0)
