"""The command `audit reconcile`: the trail and a provider's own log, side by side."""

import sys
from dataclasses import asdict
from typing import TextIO

import click

from vault.common.text import printable, quantity
from vault.common.timestamps import moment
from vault.features.custody.trail import ProviderLog, known_keks, mismatches
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options


@click.command()
@click.option(
    "--provider-log",
    "file",
    type=parameters.TEXT_FILE,
    required=True,
    help="OpenBao's audit log as a file, or CloudTrail's JSON.",
)
@output_options
def reconcile(output: Output, file: TextIO) -> None:
    """Compare custody's entries with the log of a provider.

    Lists unwraps of a master key without an entry, and entries in the span of the log without an unwrap.
    Exits with 1 if there are any. A first `keys custody init` has no entry.
    """
    with connected(output, reading=True):
        log = ProviderLog.read(file, known_keks())
        found = mismatches(log)
    lines = [f"{moment(one.time)}  {one.kind}  {printable(one.request_id)}" for one in found]
    counts = f"{quantity(len(log.unwraps), 'unwrap')} in the log, {quantity(len(found), 'finding')}"
    output.result(
        {"unwraps": len(log.unwraps), "findings": [*map(asdict, found)]}, "\n".join([*lines, counts])
    )
    sys.exit(bool(found))
