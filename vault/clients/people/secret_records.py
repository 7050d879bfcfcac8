"""The commands `secret list`, `describe`, `delete`, `restore` and `purge`: secrets without their values."""

import sys
from datetime import timedelta
from functools import partial
from typing import Any

import click

from vault.common.attributes import ATTRIBUTES, NAMES
from vault.common.errors import ServiceRefusedError
from vault.common.text import quantity
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Column, Output, cell, confirm, facts, moment_cell, output_options
from vault.toolkit.client.secrets import Secrets, reference
from vault.toolkit.client.service import Service

_SCOPE_MISSING = "scope_missing"

_SECRET = click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)


@click.command("list")
@click.argument("prefix", required=False, default="", type=parameters.prefix)
@parameters.description_options("filter_help")
@click.option("--deleted", is_flag=True, help="List deleted secrets that can be restored instead.")
@click.option("--search", metavar="TEXT", help=f"Only secrets with all these words in name or {NAMES}.")
@click.option(
    "--expiring",
    metavar="DURATION",
    type=parameters.duration,
    help="Only secrets that expire within this time, such as 30d, the next one first.",
)
@service_options
@output_options
def list_secrets(
    prefix: str,
    description: dict[str, Any],
    deleted: bool,
    search: str | None,
    expiring: timedelta | None,
    service: Service,
    output: Output,
) -> None:
    """List secrets, without their values.

    Lists those whose names begin with PREFIX, or all of them. A search ignores case.
    """
    seconds = int(expiring.total_seconds()) if expiring else None
    rows = list(
        Secrets(service).listed(prefix, deleted=deleted, search=search, expires_within=seconds, **description)
    )
    columns: dict[str, Column] = {
        "name": "name",
        "ID": "secret_id",
        **{one.name: partial(_attribute, name=one.name) for one in ATTRIBUTES},
    }
    if expiring:
        rows.sort(key=lambda row: str(row.get("expires_at")))
        columns["expires"] = lambda row: moment_cell(row.get("expires_at"))
    output.table(columns, rows)
    output.note(quantity(len(rows), "secret"))


@click.command
@_SECRET
@service_options
@output_options
def describe(secret: str, service: Service, output: Output) -> None:
    """Print everything about a secret except its value."""
    found = Secrets(service).describe(reference(secret))
    output.result(found, facts(_facts(found)))


@click.command
@_SECRET
@click.option("--yes", is_flag=True, help="Do not ask.")
@service_options
@output_options
def delete(secret: str, yes: bool, service: Service, output: Output) -> None:
    """Delete a secret, with all its versions.

    Asks first on a terminal. Elsewhere, --yes is required if the service cannot restore deleted secrets.
    """
    secrets = Secrets(service)
    if not yes and not sys.stdin.isatty() and not _is_restorable(secrets, secret):
        raise click.UsageError("Add --yes: the secret cannot be restored.")
    confirm(f"Delete {secret}, with all its versions?", yes, "not deleted")
    done = secrets.call_for("delete", reference(secret))
    until = done.get("restorable_until")
    end = f"it can be restored until {moment_cell(until)}" if until else "it cannot be restored"
    output.result(done, f"deleted {secret}; {end}")


@click.command
@_SECRET
@service_options
@output_options
def restore(secret: str, service: Service, output: Output) -> None:
    """Restore a deleted secret, with all its versions."""
    done = Secrets(service).call_for("restore", reference(secret))
    output.result(done, f"restored {secret}")


@click.command
@_SECRET
@click.option("--version", metavar="N", type=click.IntRange(1), help="Destroy only this older version.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@service_options
@output_options
def purge(secret: str, version: int | None, yes: bool, service: Service, output: Output) -> None:
    """Destroy a deleted secret, or an older version.

    It cannot be restored, and its name is free immediately. Needs the scope secret:purge, and asks first on a
    terminal.
    """
    what = f"version {version} of {secret}" if version else secret
    confirm(f"Destroy {what}, so that it cannot be restored?", yes, "not purged")
    done = Secrets(service).call_for("purge", {**reference(secret), "version": version})
    output.result(done, f"purged {what}")


def _is_restorable(secrets: Secrets, secret: str) -> bool:
    """Return whether a deleted *secret* can be restored, and False if the caller may not know."""
    try:
        return bool(secrets.describe(reference(secret)).get("recovery_days"))
    except ServiceRefusedError as error:
        if error.code == _SCOPE_MISSING:
            return False
        raise


def _attribute(found: dict[str, Any], name: str) -> str:
    value = found.get(name) or ""
    return value if isinstance(value, str) else " ".join(f"{key}={value[key]}" for key in sorted(value))


def _hosts(rules: list[dict[str, Any]]) -> str:
    return " ".join(sorted({host for rule in rules for host in rule.get("hosts", ())}))


def _facts(found: dict[str, Any]) -> dict[str, Any]:
    versions = {
        f"version {cell(one['version'])}": moment_cell(one["created_at"])
        + (f", deleted {moment_cell(one['deleted_at'])}" if one["deleted_at"] else "")
        for one in found["versions"]
    }
    return {
        "name": found["name"],
        "ID": found["secret_id"],
        **{one.name: _attribute(found, one.name) for one in ATTRIBUTES},
        "created": moment_cell(found["created_at"]),
        "expires": moment_cell(found["expires_at"] or "never"),
        "reads left": found["reads_left"] if found["max_reads"] else "no limit",
        "last fetched": moment_cell(found["last_fetched_at"]),
        **({"canary": "each read is an alarm"} if found.get("canary") else {}),
        **({"used at": _hosts(found["use_rules"])} if found.get("use_rules") else {}),
        **versions,
    }
