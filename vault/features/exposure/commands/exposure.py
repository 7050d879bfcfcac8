"""The command `exposure`: who has got which value."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from ipaddress import ip_address
from pathlib import Path

import click

from vault.common.errors import SecretNotFoundError, TokenNotFoundError
from vault.common.networks import unmapped
from vault.common.text import quantity
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.documents.guard import storage_errors
from vault.core.keys import guard
from vault.core.parts import Parts
from vault.core.principal import DEFAULT_NAMESPACE, OPERATOR
from vault.core.trail import reader
from vault.core.trail.activity import shown_name
from vault.core.trail.streams import signing_keys
from vault.features.exposure import certificate as certificates
from vault.features.exposure import exposure as exposures
from vault.features.exposure import lookup
from vault.features.exposure.exposure import MAX_LIMIT, UNKNOWN
from vault.features.exposure.knowledge import Question, Use
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Lines, Output, Row, moment_cell, output_options
from vault.toolkit.client import private_files
from vault.toolkit.client.secrets import is_id

#: The headings, and the minimum widths of their columns.
_COLUMNS = {"secret": 12, "version": 7, "principal": 10, "how": 5, "count": 5, "first": 17, "last": 17}
_USE_COLUMNS = {"secret": 12, "version": 7, "used by": 10, "host": 15, "count": 5, "first": 17, "last": 17}
_STEPS = 1_000


def _address(text: str) -> str:
    try:
        return str(ip_address(unmapped(text)))
    except ValueError:
        raise click.BadParameter("must be an IP address") from None


@click.command()
@click.argument("secret", metavar="[SECRET]", required=False, type=parameters.secret)
@click.option("--principal", metavar="NAME", help="What this principal knows.")
@click.option(
    "--token",
    metavar="NAME",
    type=parameters.name_of_token,
    help="What the caller with this token knows; also by its accessor.",
)
@click.option("--address", metavar="IP", type=_address, help="What was released to this address.")
@click.option("--service", metavar="NAME", help="What was delivered for this service.")
@click.option("--node", metavar="ID", help="What was delivered to this node.")
@parameters.since_option
@click.option("--stale", is_flag=True, help="Also replaced versions and deleted secrets.")
@click.option(
    "--certificate",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Verify the whole trail, and write the answer, signed, to FILE.",
)
@parameters.namespace_option(
    "The namespace of the named SECRET.", default=DEFAULT_NAMESPACE, show_default=True
)
@output_options
def exposure(
    output: Output,
    secret: str | None,
    namespace: str,
    principal: str | None,
    token: str | None,
    address: str | None,
    service: str | None,
    node: str | None,
    since: datetime | None,
    stale: bool,
    path: Path | None,
) -> None:
    """List who knows the current value of SECRET, a name or an ID.

    Or list the current values that a principal, or another one of the options, has got: who fetched or
    unwrapped a version, or wrote it. Who only used a value through a broker is listed apart. The entries of
    the audit trail prove it; `audit verify` verifies them. The question is recorded: it needs a MongoDB user
    who may insert into the trail.
    """
    if not any((secret, principal, token, address, service, node)):
        raise click.UsageError("Add SECRET, --principal, --token, --address, --service or --node.")
    is_name = secret is not None and not is_id(secret)
    question = Question(
        secret_id=None if is_name else secret and secret.lower(),
        secret_name=secret if is_name else None,
        namespace=namespace,
        principal=principal,
        token=token,
        address=address,
        service=service,
        node=node,
        since=since,
        stale=stale,
    )
    with connected(output, reading=True, recorded=True) as parts:
        if path is not None:
            # A certificate of another key would verify nowhere.
            guard.require_signer(parts.keyring, signing_keys.trusted)
        attempt = Attempt(action=Action.AUDIT_EXPOSURE, principal=OPERATOR)
        question.record(attempt)
        reader.record(attempt)
        number = _show(question, output) if path is None else _certify(question, path, parts, output)
        if number == 0:
            _require_known(question, output)
    output.note(f"The trail cannot know: {'; '.join(UNKNOWN.values())}")


def _require_known(question: Question, output: Output) -> None:
    """Refuse an empty answer about what does not exist; note one about a principal, which can be misspelled.

    Raises:
        SecretNotFoundError, TokenNotFoundError: It does not exist.
    """
    with storage_errors():
        if question.is_about_secret and lookup.is_unknown_secret(question):
            hint = "" if question.stale else "add --stale for those that had it"
            raise SecretNotFoundError("no secret has this name or ID", hint=hint)
        if question.token is not None and lookup.is_unknown_token(question.token):
            hint = "use its accessor, or its name in the trail: NAMESPACE/NAME"
            raise TokenNotFoundError("no token has this name or accessor", hint=hint)
        principals = lookup.principals_of(question)
        if principals and not lookup.is_in_trail(principals):
            output.note("The trail has no entry of this principal: is this its name there, NAMESPACE/NAME?")


def _certify(question: Question, path: Path, parts: Parts, output: Output) -> int:
    """Certify the answer to *question* in the file *path*, and return the number of its lines."""
    with output.bar("Verifying", reader.estimate()) as bar:
        days = parts.settings.audit_ttl_days
        made = certificates.make(question, parts.keyring, retention_days=days, progress=bar.advance)
    private_files.write(path, json.dumps(made).encode() + b"\n")
    Lines(output, _COLUMNS, _texts).show(made["exposures"])
    _show_uses(made["uses"], output)
    counts, until = (len(made["exposures"]), len(made["uses"])), made["query"]["complete_until"]
    output.note(f"{_quantities(*counts)}, complete until {until}, certified in {path}")
    return sum(counts)


def _show(question: Question, output: Output) -> int:
    """Show the answer to *question*, and return the number of its lines."""
    lines, number, cursor = Lines(output, _COLUMNS, _texts), 0, None
    uses: list[Use] = []
    first: exposures.ExposurePage | None = None
    # On one terminal, the bar would be between the lines.
    with replace(output, quiet=output.quiet or sys.stdout.isatty()).bar("Exposures", _STEPS) as bar:
        while True:
            page = exposures.read(question, OPERATOR, cursor=cursor, limit=MAX_LIMIT)
            # Entries that arrive later can be missing from it.
            first = first or page
            lines.show(map(asdict, page.exposures))
            bar.reach(int(page.progress * _STEPS), _STEPS)
            uses += page.uses
            number, cursor = number + len(page.exposures), page.cursor
            if cursor is None:
                break
    _show_uses([*map(asdict, uses)], output)
    output.note(f"{_quantities(number, len(uses))}, complete until {moment(first.complete_until)}")
    return number + len(uses)


def _show_uses(uses: Sequence[Row], output: Output) -> None:
    if uses:
        Lines(output, _USE_COLUMNS, _use_texts).show(uses)


def _quantities(exposures: int, uses: int) -> str:
    return f"{quantity(exposures, 'exposure')}" + (f", {quantity(uses, 'use')}" if uses else "")


def _texts(row: Row) -> list[str]:
    how = [*row["how"], *(f"({service})" for service in row["services"])]
    return _cells(row, " ".join(how))


def _use_texts(row: Row) -> list[str]:
    return _cells(row, row["host"])


def _cells(row: Row, how: str) -> list[str]:
    times = (moment_cell(row[name]) for name in ("first_at", "last_at"))
    secret = shown_name(row["secret_id"], row["name"], row["namespace"])
    version = f"{row['version']}{'' if row['is_current'] else ' (stale)'}"
    return [secret, version, row["principal"], how, str(row["count"]), *times]
