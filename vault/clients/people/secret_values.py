"""The commands `secret get` and `secret set`: values of secrets."""

import json
import os
import sys
from base64 import b64encode
from contextlib import AbstractContextManager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import click

from vault.common import kv_values, strict_json
from vault.common.errors import FieldNotFoundError, VaultError
from vault.common.limits import MAX_READS
from vault.common.text import is_shown
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Output, output_options, warn
from vault.toolkit.cli.value_input import LENGTH, STANDARD, new_value, require_size
from vault.toolkit.client import private_files
from vault.toolkit.client.secrets import Fetched, Secrets, all_of, is_id, reference
from vault.toolkit.client.service import Service

_FILE = click.Path(dir_okay=False, allow_dash=True, path_type=Path)
_INPUT = click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)

_FIELD_FORMS = "must be KEY for a hidden prompt, KEY=@FILE, or KEY=- for standard input"

_AS_VALUE = "--base64, --field, --out and --json are alternatives"


@click.command
@click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)
@click.option("--version", metavar="N", type=click.IntRange(1), help="The version.  [default: the newest]")
@click.option("--base64", "as_base64", is_flag=True, help="Print the value in base64.")
@click.option("--field", metavar="FIELD", help="Print one field of a value that is a JSON object.")
@click.option("--out", metavar="FILE", type=_FILE, help="Write the value to a file that only you can read.")
@service_options
@output_options
def get(
    secret: str,
    version: int | None,
    as_base64: bool,
    field: str | None,
    out: Path | None,
    service: Service,
    output: Output,
) -> None:
    """Print a secret's value.

    Prints exactly the bytes that were stored; on a terminal, a newline follows. With --json, the value is in
    `value` if it is text, and in `base64`.
    """
    if sum(map(bool, (as_base64, field is not None, out, output.as_json))) > 1:
        raise click.UsageError(f"{_AS_VALUE}: choose one of them.")
    if out == STANDARD:
        out = None
    shown = f"{secret}, version {version}" if version else secret
    # Before the fetch, which can be the last one that is allowed.
    with _replacement(out) if out else nullcontext() as file:
        [found] = all_of(Secrets(service).fetch([{**reference(secret), "version": version}]), [shown])
        if file:
            file.write(found.value)
    if out:
        output.note(f"wrote version {found.version} of {secret} to {out}")
    elif output.as_json:
        output.result(_described(found), "")
    elif as_base64:
        click.echo(b64encode(found.value))
    else:
        _print(found.value if field is None else _field(found.value, field))


def _field_source(text: str) -> tuple[str, Path | None]:
    """Return the name of a field and the file of its value, or None for a prompt.

    The message does not have the text: it may be a value.
    """
    key, separator, source = text.partition("=")
    if not key or not is_shown(key):
        raise click.BadParameter(_FIELD_FORMS)
    if not separator:
        return key, None
    if source == "-":
        return key, STANDARD
    if not source.startswith("@"):
        raise click.BadParameter(f"{_FIELD_FORMS}: other users can see a value that is an argument")
    path = Path(source[1:])
    if path != STANDARD and (path.is_dir() or not os.access(path, os.R_OK)):
        raise click.BadParameter(f"{_FIELD_FORMS}: the file cannot be read")
    return key, path


@click.command("set")
@click.argument("secret", metavar="NAME", type=parameters.secret)
@click.argument("values", metavar="", nargs=-1, type=click.UNPROCESSED)
@click.option("--from-file", metavar="FILE", type=_INPUT, help="Store the content of a file, byte for byte.")
@click.option(
    "--field",
    "fields",
    metavar="KEY[=@FILE|=-]",
    multiple=True,
    type=_field_source,
    help="A field of a JSON object, from a hidden prompt, a file or standard input. Can be repeated.",
)
@click.option(
    "--generate",
    metavar="N",
    type=LENGTH,
    help="Store a random value of N letters and digits.",
)
@click.option(
    "--ttl",
    "--expires-in",
    "ttl",
    metavar="DURATION",
    type=parameters.duration,
    help="Time until it expires, such as 30d or 12h.",
)
@click.option(
    "--max-reads", metavar="N", type=click.IntRange(1, MAX_READS), help="Maximum number of fetches."
)
@parameters.description_options("option_help")
@click.option(
    "--expected-version",
    metavar="N",
    type=click.IntRange(0),
    help="Refuse if the newest version is another; 0: if the secret exists.",
)
@click.option("--canary", is_flag=True, help="Make a new secret whose reads are alarms.")
@service_options
@output_options
def set_value(
    secret: str,
    values: tuple[str, ...],
    from_file: Path | None,
    fields: tuple[tuple[str, Path | None], ...],
    generate: int | None,
    ttl: timedelta | None,
    max_reads: int | None,
    description: dict[str, Any],
    expected_version: int | None,
    canary: bool,
    service: Service,
    output: Output,
) -> None:
    """Store a value, typed at a hidden prompt.

    If standard input is not a terminal, its bytes are the value. If the secret exists, the value is its next
    version; --ttl and --label then apply to all versions.
    """
    if values:
        raise click.UsageError(
            "A value cannot be an argument, because other users can see those. Leave it out, and type it at "
            "the prompt, or send it to standard input."
        )
    if sum(map(bool, (from_file, fields, generate))) > 1:
        raise click.UsageError("--from-file, --field and --generate are alternatives: choose one of them.")
    _require_sources(fields)
    if canary and (expected_version or is_id(secret)):
        raise click.UsageError("--canary is for a new secret, by its name.")
    value = _object(fields, output) if fields else new_value(secret, from_file, generate, output)
    properties: dict[str, Any] = {
        **description,
        "ttl_seconds": int(ttl.total_seconds()) if ttl else None,
        "max_reads": max_reads,
    }
    if canary:
        written = Secrets(service).create(value, name=secret, canary=True, **properties)
    else:
        written = Secrets(service).put(secret, value, expected_version=expected_version, **properties)
    if written.warning:
        warn(f"warning: {written.warning}")
    result = {"secret_id": written.secret_id, "version": written.version}
    output.result(result, f"stored version {written.version} of {secret}")


def _require_sources(fields: tuple[tuple[str, Path | None], ...]) -> None:
    """Require that each of *fields* has a name and a source of its own; no message has a name."""
    paths = [path for _, path in fields]
    if len(dict(fields)) < len(fields):
        raise click.UsageError("A --field is given twice.")
    if paths.count(STANDARD) > 1:
        raise click.UsageError("Only one --field can be standard input.")
    if None in paths and not sys.stdin.isatty():
        raise click.UsageError(
            "A prompt for a --field needs a terminal. Without one, use KEY=@FILE or KEY=-."
        )


def _object(fields: tuple[tuple[str, Path | None], ...], output: Output) -> bytes:
    """Return the JSON object of *fields*, as Vault's API stores it."""
    texts = {}
    for key, path in fields:
        try:
            texts[key] = new_value(key, path, None, output).decode()
        except UnicodeDecodeError:
            raise VaultError(f"the field {key} is not text in UTF-8", hint="store its base64") from None
    value = kv_values.encode(texts)
    require_size(value)
    return value


def _described(found: Fetched) -> dict[str, Any]:
    """Return the result for `--json`; `value` is null if it is not text."""
    text = None
    with suppress(UnicodeError):
        text = found.value.decode()
    return {
        "secret_id": found.secret_id,
        "name": found.name,
        "version": found.version,
        "value": text,
        "base64": b64encode(found.value).decode(),
    }


def _field(value: bytes, name: str) -> bytes:
    """Return one field of the JSON object *value*: a text as it is, everything else as JSON."""
    try:
        fields = strict_json.decode(value)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise VaultError("the value is not a JSON object, so it has no fields", hint="omit --field")
    if name not in fields:
        raise FieldNotFoundError(f"the value has no field {name}")
    found = fields[name]
    text = found if isinstance(found, str) else json.dumps(found, ensure_ascii=False)
    return text.encode()


def _print(value: bytes) -> None:
    """Print *value*; on a terminal in base64 if it is not text: other bytes can change the terminal."""
    if sys.stdout.isatty():
        if not is_shown(value.decode(errors="replace").replace("\ufffd", "\0")):
            warn("warning: the value is not text for a terminal, so this is its base64")
            value = b64encode(value)
        value += b"\n"
    click.echo(value, nl=False)


def _replacement(path: Path) -> AbstractContextManager[BinaryIO]:
    if not private_files.is_replaceable(path):
        raise click.BadParameter("must be a regular file", param_hint="--out")
    return private_files.replacement(path)
