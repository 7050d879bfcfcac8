"""The command `secret rules`: where a broker may use a secret."""

from collections.abc import Mapping
from typing import Any, BinaryIO

import click

from vault.common import strict_json
from vault.common.errors import VaultError
from vault.toolkit.cli import parameters
from vault.toolkit.cli.connection import service_options
from vault.toolkit.cli.output import Column, Output, output_options
from vault.toolkit.client.secrets import Secrets, reference
from vault.toolkit.client.service import Service

#: More than the longest rules take. White space counts, too.
_MAX_FILE_BYTES = 65_536


def _header(rule: Mapping[str, Any]) -> str:
    if "basic" in rule:
        return f"Authorization: Basic of {rule['basic']}:{{}}"
    return f"{rule.get('header')}: {rule.get('format')}"


_COLUMNS: dict[str, Column] = {
    **{name: name for name in ("hosts", "methods", "paths")},
    "header": _header,
}


@click.command
@click.argument("secret", metavar="NAME_OR_ID", type=parameters.secret)
@click.option(
    "--set", "file", metavar="FILE", type=click.File("rb"), help="Replace all rules by those in FILE."
)
@click.option("--clear", is_flag=True, help="Remove all rules.")
@service_options
@output_options
def rules(secret: str, file: BinaryIO | None, clear: bool, service: Service, output: Output) -> None:
    """Show, set or remove the use rules of a secret.

    FILE has a JSON list of rules, as --json prints them under `use_rules`; - stands for standard input.
    Setting or removing them needs the scopes secret:update and secret:fetch.
    """
    if file and clear:
        raise click.UsageError("--set and --clear are alternatives.")
    secrets = Secrets(service)
    if file or clear:
        new = _read(file) if file else []
        secrets.call_for("update-metadata", {**reference(secret), "use_rules": new})
    found = secrets.describe(reference(secret)).get("use_rules")
    if not isinstance(found, list) or not all(isinstance(rule, dict) for rule in found):
        raise service.odd_reply()
    if output.as_json:
        output.result({"use_rules": found}, "")
        return
    output.table(_COLUMNS, found)


def _read(file: BinaryIO) -> Any:
    text = file.read(_MAX_FILE_BYTES + 1)
    if len(text) > _MAX_FILE_BYTES:
        raise VaultError(f"the rules take more than {_MAX_FILE_BYTES} bytes")
    try:
        return strict_json.decode(text, is_own=True)
    except strict_json.InvalidJSONError as error:
        raise VaultError(f"the file with the rules {error}") from None
