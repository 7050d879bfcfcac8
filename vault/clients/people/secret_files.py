"""The commands `secret import` and `secret export`: secrets from and to files."""

import sys
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import click

from vault.clients.people import formats, transfer
from vault.clients.people.formats import Format
from vault.clients.people.transfer import Change, Effect
from vault.common.credentials import masked
from vault.common.errors import ServiceRefusedError, TransferError, VaultError
from vault.common.text import is_shown, quantity
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options, warn
from vault.toolkit.client.secrets import Secrets, all_of, none_below
from vault.toolkit.client.service import Service
from vault.toolkit.client.variables import require_harmless, variable_of

_MAX_BYTES = 64 * 1_048_576

_FORMAT = click.Choice([form.value for form in Format])


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--prefix", metavar="PREFIX", type=parameters.prefix, default="", help="Put this before each name."
)
@click.option("--format", "form", type=_FORMAT, help="The format.  [default: by the file's suffix, or env]")
@click.option("--apply", "is_applied", is_flag=True, help="Make the changes, and do not only show them.")
@click.option("--dry-run", "is_shown_only", is_flag=True, help="Only show the changes.  [default]")
@click.option("--skip-empty", is_flag=True, help="Leave out names without a value.")
@click.option("--show-values", is_flag=True, help="Show the values as well.")
@service_options
@output_options
def import_file(
    file: str,
    prefix: str,
    form: str | None,
    is_applied: bool,
    is_shown_only: bool,
    skip_empty: bool,
    show_values: bool,
    service: Service,
    output: Output,
) -> None:
    """Store the secrets of a file: .env or JSON.

    Shows what would change, and changes nothing without --apply. With -, reads standard input.
    """
    if is_applied and is_shown_only:
        raise click.UsageError("--apply and --dry-run are alternatives: choose one of them.")
    parameters.note_joined_names(prefix, output)
    given = Format(form) if form else Format.of(file)
    named = _read(_content(file), given, prefix, skip_empty=skip_empty)
    secrets = Secrets(service, wait=partial(_wait, output))
    with output.bar("comparing", len(named)) as bar:
        changes = transfer.plan(secrets, named)
        bar.advance(len(named))
    if is_applied:
        _apply(secrets, changes, output)
        return
    columns = {"name": "name", "change": "change"} | ({"value": "value"} if show_values else {})
    output.table(columns, [_row(change, show_values=show_values) for change in changes])
    due = sum(change.kind is not Effect.NONE for change in changes)
    output.note(f"{quantity(due, 'change')} due; run it again with --apply" if due else "nothing to change")


@click.command
@click.argument("prefix", required=False, default="", type=parameters.prefix)
@click.option(
    "--prefix", "named_prefix", metavar="PREFIX", type=parameters.prefix, help="PREFIX, as an option."
)
@click.option("--format", "form", type=_FORMAT, default="env", show_default=True, help="The format.")
@click.option("--use-reads", is_flag=True, help="Use a read of each secret with a read limit.")
@service_options
@output_options
def export(
    prefix: str, named_prefix: str | None, form: str, use_reads: bool, service: Service, output: Output
) -> None:
    """Print secrets with their values, as .env, JSON or YAML.

    Prints those whose names begin with PREFIX, or all of them. The format env names them as `secret run`
    does, and shells can read it too; JSON and YAML have their whole names.
    """
    if prefix and named_prefix:
        raise click.UsageError("PREFIX and --prefix are alternatives: choose one of them.")
    prefix = prefix or named_prefix or ""
    parameters.note_cut_names([prefix], output)
    secrets = Secrets(service)
    names = [str(row["name"]) for row in secrets.listed(prefix) if row["name"] is not None]
    if not names:
        raise none_below(prefix)
    given = Format.JSON if output.as_json else Format(form)
    variables = _variables(names, prefix) if given is Format.ENV else {}
    limited = [name for name in names if secrets.describe({"name": name}).get("max_reads")]
    if limited and not use_reads:
        raise TransferError(
            f"this would use a read of {', '.join(limited)}", hint="add --use-reads to read them as well"
        )
    found: dict[str, bytes] = {}
    with output.bar("fetching", len(names)) as bar:
        # Reads are used last, once all other values are known to fit.
        for part in ([name for name in names if name not in limited], limited):
            fetched = all_of(secrets.fetch([{"name": name} for name in part]), part)
            found |= {name: one.value for name, one in zip(part, fetched, strict=True)}
            formats.write(found, given, variables)
            _require_shown(found, given, variables)
            bar.advance(len(part))
    content = formats.write({name: found[name] for name in names}, given, variables)
    click.echo(content, nl=False)


def _content(file: str) -> bytes:
    if file == "-":
        content = sys.stdin.buffer.read(_MAX_BYTES + 1)
    else:
        with Path(file).open("rb") as opened:
            content = opened.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise TransferError("the file is larger than 64 MiB", hint="import it in parts")
    return content


def _read(content: bytes, form: Format, prefix: str, *, skip_empty: bool) -> dict[str, bytes]:
    """Return the values in *content*, or print all of its problems and fail."""
    try:
        return formats.read(content, form, prefix=prefix, skip_empty=skip_empty)
    except TransferError as error:
        for part in error.parts:
            warn(masked(part))
        raise


def _wait(output: Output, limited: ServiceRefusedError) -> None:
    """Wait until the service takes requests again, as its refusal says."""
    if not limited.retry_after:
        raise limited
    output.note(f"the rate limit is reached: waiting {quantity(limited.retry_after, 'second')}")
    time.sleep(limited.retry_after)


def _require_shown(values: Mapping[str, bytes], form: Format, variables: Mapping[str, str]) -> None:
    """Require that standard output, if it is a terminal, shows *values* as they are written in *form*."""
    if not sys.stdout.isatty():
        return
    for name, value in values.items():
        if not is_shown(formats.write({name: value}, form, variables)):
            raise TransferError(
                f"{name} is not text for a terminal", hint="send the output to a file or a program"
            )


def _variables(names: list[str], prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in names:
        variable = variable_of(name, prefix)
        require_harmless(variable, name)
        if variable in found:
            raise TransferError(
                f"{found[variable]} and {name} would both be {variable}", hint="use --format json"
            )
        found[variable] = name
    return {name: variable for variable, name in found.items()}


def _row(change: Change, *, show_values: bool) -> dict[str, str | None]:
    row: dict[str, str | None] = {"name": change.name, "change": change.kind.value}
    return row | ({"value": change.value.decode(errors="replace")} if show_values else {})


def _apply(secrets: Secrets, changes: list[Change], output: Output) -> None:
    unchanged = sum(change.kind is Effect.NONE for change in changes)
    done: list[Effect] = []
    failed: dict[str, VaultError] = {}
    with output.bar("storing", len(changes) - unchanged) as bar:
        for change, error in transfer.apply(secrets, changes):
            bar.advance(1)
            if error:
                failed[change.name] = error
            else:
                done.append(change.kind)
    created = done.count(Effect.CREATE)
    counts = {"created": created, "updated": len(done) - created, "unchanged": unchanged}
    output.result(counts, ", ".join(f"{count} {what}" for what, count in counts.items()))
    if failed:
        for name, error in failed.items():
            warn(f"{name}: {error}")
        raise VaultError(
            f"{quantity(len(failed), 'secret')} not stored",
            hint="remove the causes above, and run the same import again",
        )
