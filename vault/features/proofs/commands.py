"""The command `audit witness`: show a checkpoint to the witnesses, and keep their answers.

And the section of `audit report` about them.
"""

import json
import os
from contextlib import nullcontext
from datetime import datetime
from typing import IO

import click

from vault.common.errors import SettingsError
from vault.core.keys import guard
from vault.core.parts import Parts
from vault.core.principal import OPERATOR
from vault.core.trail.streams import checkpoint, signing_keys
from vault.features.proofs.activity import WitnessActivity, witness_activity
from vault.features.proofs.errors import WitnessError
from vault.features.proofs.witnesses import Witnesses, confirmed, recently_closed
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Output, output_options


@click.command()
@click.option("--output", "path", metavar="FILE", help="Append to FILE, with mode 0600, instead.")
@output_options
def witness(output: Output, path: str | None) -> None:
    """Show a checkpoint to the witnesses, and print their answers.

    AUDIT_WITNESSES names them. Keep the output out of reach of anyone with write access to MongoDB: `audit
    verify --witnesses` takes it. Each answer is recorded, so the command needs a MongoDB user who may
    insert into the trail. The service does the same regularly, and writes the answers to its log.
    """
    problems: list[WitnessError] = []
    with connected(output, reading=True, recorded=True) as parts:
        witnesses = parts.of(Witnesses).all
        if not witnesses:
            raise SettingsError("AUDIT_WITNESSES is unset", hint="see docs/settings.md")
        # With another key, no head would verify.
        guard.require_signer(parts.keyring, signing_keys.trusted)
        days = parts.settings.audit_ttl_days
        with _opened(path) if path else nullcontext() as file:
            made = checkpoint.make(parts.keyring)
            closed = recently_closed(parts.keyring)
            for one in witnesses:
                try:
                    shown = confirmed(one, made, retention_days=days, closed=closed, principal=OPERATOR)
                except WitnessError as error:
                    problems.append(error)
                else:
                    click.echo(json.dumps(shown), file=file)
    if problems:
        text = "; ".join(error.problem for error in problems)
        raise WitnessError(text, is_refusal=any(error.is_refusal for error in problems))


def _opened(path: str) -> IO[str]:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode=0o600)
    return os.fdopen(descriptor, "a", encoding="utf-8")


def report_section(parts: Parts, since: datetime, until: datetime) -> WitnessActivity:
    """Return the work of witnesses for the report.

    Raises:
        StorageUnavailableError: MongoDB is unavailable.
    """
    return witness_activity(since, until, [one.host for one in parts.of(Witnesses).all])
