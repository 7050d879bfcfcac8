"""The command `offboard`: end the access of a principal, and list what it knows."""

from collections.abc import Mapping
from dataclasses import asdict

import click

from vault.audit import exposure as exposures
from vault.audit import reader
from vault.audit.exposure import MAX_LIMIT
from vault.audit.knowledge import Exposure, Question
from vault.audit.summary import shown_name
from vault.cli.operator.context import connected
from vault.cli.shell.output import Column, Output, output_options
from vault.core.attempt import Action, Attempt
from vault.core.principal import OPERATOR, RESERVED_NAMES
from vault.core.text import quantity
from vault.core.timestamps import moment

_COLUMNS: Mapping[str, Column] = {
    "rotate": lambda row: shown_name(row["secret_id"], row["name"], row["namespace"]),
    "version": "version",
    "how": "how",
    "count": "count",
    "last": "last_at",
}


def _principal(text: str) -> str:
    if text in RESERVED_NAMES:
        raise click.BadParameter(f"{text} is not the name of one principal")
    return text


@click.command()
@click.option(
    "--principal",
    metavar="NAME",
    type=_principal,
    required=True,
    help="The principal, as the trail names it.",
)
@click.option("--plan", "is_plan", is_flag=True, help="Only show what would end; change nothing.")
@output_options
def offboard(output: Output, principal: str, is_plan: bool) -> None:
    """End the access of a principal, and list the secrets to rotate.

    Revokes its tokens, and ends everything that it created, directly or through other tokens: tokens, roles,
    issuers and webhooks. Then lists each secret whose current value it knows, the one last read first. To
    repeat it is not an error.
    """
    with connected(output, reading=is_plan, recorded=True) as parts:
        question = Question(principal=principal)
        asked = Attempt(action=Action.AUDIT_EXPOSURE, principal=OPERATOR)
        question.record(asked)
        reader.record(asked)
        attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
        ended = parts.tokens.offboard(principal, is_plan=is_plan, attempt=attempt)
        for kind, name in ended:
            done = ("would end" if is_plan else "ended") + f": {kind} {name}"
            output.result({"ends": kind, "name": name}, done)
        found, until = _exposures(question, output)
    output.table(_COLUMNS, map(asdict, found))
    if not ended:
        output.note("No token: a JWT's principal has to be removed at its issuer")
    output.note(f"{quantity(len(found), 'secret')} to rotate, complete until {until}")


def _exposures(question: Question, output: Output) -> tuple[list[Exposure], str]:
    """Return all exposures, the latest first, and the time until which they are complete."""
    found, cursor = list[Exposure](), None
    with output.bar("Exposures") as bar:
        while True:
            page = exposures.read(question, OPERATOR, cursor=cursor, limit=MAX_LIMIT)
            found += page.exposures
            bar.advance(len(page.exposures))
            cursor = page.cursor
            if cursor is None:
                found.sort(key=lambda one: one.last_at, reverse=True)
                return found, moment(page.complete_until)
