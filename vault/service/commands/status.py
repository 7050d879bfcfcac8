"""The command `status`: the whole installation in one look."""

import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict

import click

from vault.common.errors import VaultError
from vault.common.outcomes import Exit
from vault.core.documents import Database
from vault.core.parts import Parts
from vault.core.status import Overview, State, gravest
from vault.core.trail.reader import record
from vault.service.commands.context import opened_attempts, settings_of_service, unchecked
from vault.toolkit.cli.output import Column, Output, output_options

#: Timeout of one MongoDB operation: a look must not take long.
_TIMEOUT_SECONDS = 10

_COLUMNS: Mapping[str, Column] = {
    **{name: name for name in ("subject", "state", "text")},
    "page": lambda line: line["page"] if line["state"] != State.WELL else "",
}

_EXIT_CODES = {State.WELL: Exit.DONE, State.LOOK: Exit.NOT_FOUND, State.DOWN: Exit.UNAVAILABLE}


@click.command()
@output_options
def status(output: Output) -> None:
    """Show what needs a look, in one line for each part.

    Run it with the settings of a replica. It asks MongoDB, and no replica: a line is about all replicas, or
    about one with these settings on this machine. Each line that is not well names the page that helps.

    Exits with 0 if all is well, with 3 if a line needs a look, and with 5 if the service does not serve. It
    changes nothing, and needs only the role read. Only the opening of keys under custody leaves an entry in
    the trail.
    """
    settings = settings_of_service().with_keys()
    database = Database(
        settings.mongo_uri, audit_ttl_days=settings.audit_ttl_days, timeout_seconds=_TIMEOUT_SECONDS
    )
    # As a replica with these settings.
    parts = Parts(settings, database, auth_enabled=settings.auth_enabled)
    with unchecked(output, parts):
        lines = Overview(parts).lines()
        for one in opened_attempts(settings):
            with suppress(VaultError):
                record(one)
    output.table(_COLUMNS, map(asdict, lines))
    sys.exit(_EXIT_CODES[gravest(lines)])
