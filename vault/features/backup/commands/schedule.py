"""The command `backup schedule`."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import click

from vault.common.observability import logs
from vault.core.parts import Parts
from vault.features.backup import record as records
from vault.features.backup.commands.scratch import scratch_database
from vault.features.backup.record import Record
from vault.features.backup.schedule import Plan, Schedule, Site, wait_until
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options

_FOLDER = click.Path(exists=True, file_okay=False, writable=True, resolve_path=True, path_type=Path)
_PROGRAM = click.Path(exists=True, dir_okay=False, executable=True, resolve_path=True)


#: The settings' file is named once, by other commands.
_QUIET = Output(quiet=True)


@contextmanager
def connect() -> Iterator[Site]:
    """Connect to the database; raises as `connected`."""
    with connected(_QUIET, reading=True, recorded=True) as parts:
        yield site(parts)


@contextmanager
def connect_scratch(owner: str) -> Iterator[Site]:
    """Connect to the scratch database of *owner*; raises as `scratch_database`."""
    with scratch_database(_QUIET, owner) as parts:
        yield site(parts)


def site(parts: Parts) -> Site:
    """Return what a schedule needs of the *parts*."""
    return Site(parts.keyring, parts.database, parts.settings.audit_ttl_days)


@click.command()
@click.option(
    "--to", "folder", metavar="DIR", type=_FOLDER, help="The folder for the copies, and for no others."
)
@click.option(
    "--every",
    metavar="TIME",
    type=parameters.duration,
    default="24h",
    show_default=True,
    help="The period of copies.",
)
@click.option(
    "--keep",
    metavar="N",
    type=click.IntRange(1),
    default=14,
    show_default=True,
    help="The number of copies to keep, besides the newest that passed a drill.",
)
@click.option(
    "--drill-every", metavar="TIME", type=parameters.duration, help="The period of drills.  [default: none]"
)
@click.option(
    "--then",
    "program",
    metavar="PROGRAM",
    type=_PROGRAM,
    help="Run PROGRAM with the path of each copy, to keep it elsewhere, too.  [default: none]",
)
@click.option("--once", is_flag=True, help="Do what is due, and exit: for a timer of this period.")
@click.option(
    "--off",
    is_flag=True,
    help="Once you make no more copies, forget the schedule: until then, the service warns of old ones.",
)
@output_options
def schedule(
    output: Output,
    folder: Path | None,
    every: timedelta,
    keep: int,
    drill_every: timedelta | None,
    program: str | None,
    once: bool,
    off: bool,
) -> None:
    """Make backups regularly, until it is stopped.

    A copy gets its name, such as vault-20261203T000743Z.tar, once it was read back and verified. Then old
    copies are removed. What fails is tried again. Of several processes, one works. The log is one JSON object
    a line. See docs/backup.md.
    """
    if off:
        with connected(output, reading=True, recorded=True):
            is_found = records.forget()
        output.result({"is_found": is_found}, "Forgotten." if is_found else "There is no schedule.")
        return
    if folder is None:
        raise click.UsageError("Set --to.")
    plan = Plan(
        folder=folder,
        # The timer has the period: with all of it, a copy would wait for the next time.
        due_after=every / 2 if once else every,
        every=every,
        keep=keep,
        drill_every=drill_every,
        program=program,
    )
    found = Schedule(plan, connect, connect_scratch)
    if once:
        _show(found.act(), output)
        return
    logs.configure("warning" if output.quiet else "info")
    with suppress(KeyboardInterrupt):
        found.run(wait_until)


def _show(record: Record, output: Output) -> None:
    copy = record.success
    assert copy is not None, "it has been made"  # noqa: S101 - for mypy
    data = {"file": copy.name, "as_of": copy.as_of, "bytes": copy.bytes, "drilled": record.passed or None}
    drilled = f", the last drill of {record.passed} passed" if record.passed else ""
    output.result(data, f"{copy.name}, as of {copy.as_of}, {copy.bytes:,} bytes{drilled}")
