"""The command `audit compact`."""

from dataclasses import asdict
from datetime import timedelta

import click

from vault.common.text import quantity
from vault.core.principal import OPERATOR
from vault.features.compaction import compaction
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options


@click.command()
@click.option(
    "--idle",
    metavar="DURATION",
    type=parameters.duration,
    default="1d",
    show_default=True,
    help="Minimum time without an entry of streams to close.",
)
@output_options
def compact(output: Output, idle: timedelta) -> None:
    """Close idle streams, and list closed ones in summaries.

    Checkpoints, backups and retirements then name the summaries instead of all these streams. The service
    does the same once a day. Streams are listed an hour after they were closed: run the command again then.
    If a process still writes to an idle stream, its next request gets 503, and it continues in another one.
    """
    with connected(output) as parts:
        done = compaction.compact(parts.keyring, idle=idle, principal=OPERATOR)
    closed, listed = quantity(done.closed, "idle stream"), quantity(done.listed, "closed stream")
    output.result(asdict(done), f"Closed {closed}, listed {listed}")
    if done.waiting:
        output.note(f"{quantity(done.waiting, 'stream')} closed within the last hour: run this again later")
