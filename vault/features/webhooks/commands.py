"""The commands `webhooks …`: create, list, delete, test and replay webhooks."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime

import click

from vault.common.config import validators as forms
from vault.common.outcomes import Exit
from vault.common.paths import Paths
from vault.core.attempt import Action
from vault.features.webhooks.kinds import kinds
from vault.features.webhooks.webhooks import NewWebhook, Webhooks
from vault.service.commands.arguments import checked
from vault.service.commands.context import operator_attempt
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Column, Output, output_options

_COLUMNS: Mapping[str, Column] = {
    "id": "webhook_id",
    **{name: name for name in ("state", "url", "events", "namespace", "paths", "error")},
    "next attempt": "next_attempt_at",
    "expires": "expires_at",
}


def _id(text: str) -> str:
    if not re.fullmatch("[0-9a-f]{16}", text):
        raise click.BadParameter("must be the ID of a webhook: 16 hexadecimal digits")
    return text


_id_argument = click.argument("webhook_id", metavar="ID", type=_id)


@click.group()
def webhooks() -> None:
    """Create, list, test, replay and delete webhooks."""


@webhooks.command()
@click.argument("url")
@click.option(
    "--event",
    "events",
    multiple=True,
    required=True,
    metavar="KIND",
    type=click.Choice(list(kinds())),
    help="A kind of events, such as secret.updated. Can be repeated.",
)
@parameters.paths_option("webhook")
@parameters.namespace_option("The namespace of its secrets.  [default: default]")
@output_options
def create(
    output: Output, url: str, events: tuple[str, ...], paths: tuple[str, ...], namespace: str | None
) -> None:
    """Send events to URL from now on.

    Prints the secret that verifies signatures, only once.
    """
    checked("URL", forms.public_url, url)
    new = NewWebhook(url=url, events=frozenset(events), paths=Paths.of(paths), namespace=namespace)
    with operator_attempt(output, Action.WEBHOOK_CREATE) as (parts, attempt):
        created = parts.of(Webhooks).create(new, attempt=attempt)
    output.result(asdict(created), f"created: {created.webhook_id}\nsecret: {created.secret}")


@webhooks.command("list")
@output_options
def list_webhooks(output: Output) -> None:
    """List all webhooks."""
    with operator_attempt(output, Action.WEBHOOK_LIST) as (parts, attempt):
        infos = parts.of(Webhooks).list(attempt=attempt)
    output.table(_COLUMNS, map(asdict, infos))


@webhooks.command()
@_id_argument
@output_options
def delete(output: Output, webhook_id: str) -> None:
    """Delete the webhook ID."""
    with operator_attempt(output, Action.WEBHOOK_DELETE) as (parts, attempt):
        parts.of(Webhooks).delete(webhook_id, attempt=attempt)
    output.result({"webhook_id": webhook_id, "state": "deleted"}, f"deleted: {webhook_id}")


@webhooks.command()
@_id_argument
@output_options
def test(output: Output, webhook_id: str) -> None:
    """Send the event webhook.test to the webhook ID."""
    with operator_attempt(output, Action.WEBHOOK_TEST) as (parts, attempt):
        error = parts.of(Webhooks).test(webhook_id, attempt=attempt)()
    output.result(
        {"webhook_id": webhook_id, "delivered": not error, "error": error},
        f"not delivered: {error}" if error else f"delivered: {webhook_id}",
    )
    raise SystemExit(Exit.FAILED if error else Exit.DONE)


@webhooks.command()
@_id_argument
@click.option(
    "--from",
    "since",
    metavar="TIME",
    type=parameters.time,
    required=True,
    help="Events from this time on, such as 2026-11-24, or from 12h ago.",
)
@output_options
def replay(output: Output, webhook_id: str, since: datetime) -> None:
    """Send events to the webhook ID again, and make a dead one active.

    Events keep their IDs, so that receivers recognize them.
    """
    with operator_attempt(output, Action.WEBHOOK_REPLAY) as (parts, attempt):
        parts.of(Webhooks).replay(webhook_id, since, attempt=attempt)
    output.result({"webhook_id": webhook_id, "from": since}, f"replaying: {webhook_id}")
