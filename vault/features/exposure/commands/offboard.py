"""The command `offboard`: end the access of a principal, and list what it knows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, replace
from itertools import chain
from pkgutil import resolve_name

import click

from vault.common import feature
from vault.common.text import quantity
from vault.common.timestamps import moment
from vault.core.attempt import Action, Attempt
from vault.core.documents.guard import storage_errors
from vault.core.parts import Parts
from vault.core.principal import OPERATOR, RESERVED_NAMES
from vault.core.secrets import wrapping
from vault.core.trail import reader
from vault.core.trail.activity import shown_name
from vault.features.exposure import exposure as exposures
from vault.features.exposure import lookup
from vault.features.exposure.exposure import MAX_LIMIT
from vault.features.exposure.knowledge import Exposure, Question
from vault.service.commands.context import connected
from vault.toolkit.cli.output import Column, Output, output_options

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
    """End a principal's access, and list the secrets to rotate.

    Revokes its tokens, and ends everything that it created, directly or through other tokens: tokens, roles,
    issuers, webhooks, requests, and wrapped or shared values that no one has taken. Pauses its rotation
    plans: check their servers before you run them. Then lists each secret
    whose current value it or these tokens know, or asked for in a wrapped reply, the one last read first.
    Starts their rotation plans, if they are not paused. To repeat it is not an error.
    """
    with connected(output, reading=is_plan, recorded=True) as parts:
        asked = Attempt(action=Action.AUDIT_EXPOSURE, principal=OPERATOR)
        Question(principal=principal).record(asked)
        reader.record(asked)
        attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR)
        ended, names = parts.tokens.offboard(principal, is_plan=is_plan, attempt=attempt)
        is_any = False
        for kind, name in chain(ended, _wrapped(names, is_plan=is_plan)):
            is_any = True
            done = ("would end" if is_plan else "ended") + f": {kind} {name}"
            output.result({"ends": kind, "name": name}, done)
        found, use_count, until = _exposures(names, output)
        for secret in [] if is_plan else found:
            for kind in _rotating(parts, secret):
                output.result({"starts": kind, "name": secret.name}, f"started: {kind} {secret.name}")
    output.table(_COLUMNS, map(asdict, found))
    if ":" in principal:
        output.note("A JWT stays valid until its exp: remove the principal at its issuer")
    elif not is_any:
        output.note("Nothing to end: is this the name in the trail, NAMESPACE/NAME?")
    output.note(f"{quantity(len(found), 'secret')} to rotate, complete until {until}")
    if use_count:
        output.note(
            f"{quantity(use_count, 'use')} of values through brokers: nothing to rotate, it never got them"
        )
    output.note(
        "Not listed: replaced values, and expired, deleted and used-up secrets. If such a value still works "
        "where it was used, change it there. `secret-manager exposure --principal NAME --stale` lists them"
    )
    if not is_plan:
        output.note("Repeat this in a minute: requests that were in progress can add to it")


def _rotating(parts: Parts, secret: Exposure) -> Iterator[str]:
    """Yield the name of each feature that can rotate a *secret* by itself, after it starts that."""
    for one in feature.active(parts.settings.features_off):
        if one.rotate and secret.name and secret.namespace:
            start = resolve_name(one.rotate)
            if start(parts, secret.name, secret.namespace):
                yield one.name


def _wrapped(names: Collection[str], *, is_plan: bool) -> Iterator[tuple[str, str]]:
    """Yield the kind and accessor of each reply that *names* had wrapped, after it ends without *is_plan*."""
    for accessors in wrapping.unspent():
        with storage_errors():
            wrapped = lookup.wrapped_by(names, accessors)
        for accessor, creator in wrapped.items():
            if not is_plan:
                details = {"created_by": creator}
                attempt = Attempt(action=Action.TOKEN_REVOKE, principal=OPERATOR, details=details)
                wrapping.end(accessor, attempt=attempt)
            yield "wrapped reply", accessor


def _exposures(names: Iterable[str], output: Output) -> tuple[list[Exposure], int, str]:
    """Return the exposures of each secret to *names* as one, the latest first, and the number of their uses.

    Also return the time until which all are included.
    """
    found, use_count, until = dict[str, Exposure](), 0, ""
    with output.bar("Exposures") as bar:
        for name in names:
            question, cursor = Question(principal=name, wrapped=True), None
            while True:
                page = exposures.read(question, OPERATOR, cursor=cursor, limit=MAX_LIMIT)
                # Entries that arrive later can be missing from the first page.
                until = until or moment(page.complete_until)
                for one in page.exposures:
                    other = found.get(one.secret_id)
                    found[one.secret_id] = _joined(other, one) if other else one
                use_count += sum(one.count for one in page.uses)
                bar.advance(len(page.exposures))
                cursor = page.cursor
                if cursor is None:
                    break
    return sorted(found.values(), key=lambda one: one.last_at, reverse=True), use_count, until


def _joined(one: Exposure, other: Exposure) -> Exposure:
    return replace(
        max(one, other, key=lambda each: each.last_at),
        how=sorted({*one.how, *other.how}),
        services=sorted({*one.services, *other.services}),
        first_at=min(one.first_at, other.first_at),
        count=one.count + other.count,
    )
