"""The commands `secret history` and `secret diff`: versions of a secret, and their differences."""

import json
from base64 import b64encode
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from vault.common import strict_json
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, cell, moment_cell, output_options
from vault.toolkit.client.secrets import Secrets, all_of, reference
from vault.toolkit.client.service import Service

_SECRET = click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)
_VERSION = click.IntRange(1)

#: The name of a change of a value without members.
_WHOLE = "the value"


@click.command
@_SECRET
@service_options
@output_options
def history(secret: str, service: Service, output: Output) -> None:
    """List the versions of a secret, the newest first.

    A deleted version can come back, a purged one cannot.
    """
    found = Secrets(service).describe(reference(secret))
    output.table(
        {
            "version": "version",
            "state": "state",
            "created": lambda row: moment_cell(row["created_at"]),
            "deleted": lambda row: moment_cell(row["deleted_at"]),
        },
        sorted(_versions(found), key=lambda row: row["version"], reverse=True),
    )


def _versions(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the versions in the description *found*."""
    now = datetime.now(UTC)
    for one in found["versions"]:
        deleted_at = one["deleted_at"]
        if deleted_at and datetime.fromisoformat(deleted_at) <= now:
            state = "deleted"
        else:
            state = "current" if one["version"] == found["version"] else "replaced"
        yield {
            "version": one["version"],
            "state": state,
            "created_at": one["created_at"],
            "deleted_at": deleted_at,
        }
    for version in found["purged_versions"]:
        yield {"version": version, "state": "purged", "created_at": None, "deleted_at": None}


@click.command
@_SECRET
@click.argument("before", metavar="VERSION", type=_VERSION)
@click.argument("after", metavar="VERSION", type=_VERSION)
@click.option("--show-values", is_flag=True, help="Show the values as well.")
@service_options
@output_options
def diff(secret: str, before: int, after: int, show_values: bool, service: Service, output: Output) -> None:
    """Compare two versions of a secret.

    Prints what changed, but no values; of JSON objects, the names of the members that changed. Reads both
    versions, which counts for a read limit.
    """
    shown = [f"{secret}, version {version}" for version in (before, after)]
    references = [{**reference(secret), "version": version} for version in (before, after)]
    found = all_of(Secrets(service).fetch(references), shown)
    changes = list(_changes(*(one.value for one in found)))
    lines = [_line(change, show_values=show_values) for change in changes]
    if not show_values:
        changes = [{name: change[name] for name in ("member", "change")} for change in changes]
    output.result(
        {"secret_id": found[0].secret_id, "versions": [before, after], "changes": changes},
        "\n".join(lines) or "no difference",
    )


def _changes(before: bytes, after: bytes) -> Iterator[dict[str, Any]]:
    """Yield the changes between two values: of each member if both are JSON objects, or else of the whole.

    A change without a `member` is one of the whole value. A value that is not text is in base64.
    """
    if before == after:
        return
    old, new = _members(before), _members(after)
    whole = {"member": None, "before": _text(before), "after": _text(after)}
    if old is None or new is None:
        yield {**whole, "change": "changed"}
        return
    if _json(old) == _json(new):
        yield {**whole, "change": "reformatted"}
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield {"member": name, "change": "removed", "before": old[name]}
        elif name not in old:
            yield {"member": name, "change": "added", "after": new[name]}
        elif _json(old[name]) != _json(new[name]):
            yield {"member": name, "change": "changed", "before": old[name], "after": new[name]}


def _members(value: bytes) -> dict[str, Any] | None:
    try:
        found = strict_json.decode(value)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeError:
        return f"base64:{b64encode(value).decode()}"


def _json(found: Any) -> str:
    return json.dumps(found, ensure_ascii=False, sort_keys=True)


def _line(change: Mapping[str, Any], *, show_values: bool) -> str:
    name = _WHOLE if change["member"] is None else cell(change["member"])
    line = f"{name}: {change['change']}"
    if show_values:
        line += f", {' → '.join(_json(change[side]) for side in ('before', 'after') if side in change)}"
    return line
