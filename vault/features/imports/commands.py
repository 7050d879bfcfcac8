"""The command `import vault`: move secrets in from HashiCorp Vault or OpenBao."""

import os
import re
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import TextIO

import click
from marshmallow import ValidationError

from vault.common.config import validators as forms
from vault.common.paths import is_path, path_flaw
from vault.common.text import printable, quantity
from vault.core.principal import DEFAULT_NAMESPACE
from vault.features.imports.importer import Importer, ImportOutcome, Result
from vault.features.imports.kv_source import ImportSourceError, KVSource
from vault.features.imports.writer import ImportWriter
from vault.service.commands.context import connected
from vault.toolkit.cli import parameters
from vault.toolkit.cli.output import Output, output_options

#: What can be in a header.
_VISIBLE = re.compile("[!-~]+")

_PROGRESS_INTERVAL_SECONDS = 5


def _address(text: str) -> str:
    """Return the URL of a server that is reached with certainty, as values and a token travel."""
    try:
        forms.public_url(text)
    except ValidationError as error:
        raise click.BadParameter(str(error.messages[0])) from None
    if "?" in text or "#" in text:
        raise click.BadParameter("must not have a query or a fragment")
    return text


def _path(text: str) -> str:
    text = text.lstrip("/")
    if text and (flaw := path_flaw(text)):
        raise click.BadParameter(f"must be a name of a secret, or a folder such as billing/, which {flaw}")
    return text


def _folder(text: str) -> str:
    if text and not (is_path(text) and text.endswith("/")):
        raise click.BadParameter("must be a folder that ends in a slash, such as imported/")
    return text


def _mount(text: str) -> str:
    if path_flaw(text):
        raise click.BadParameter("must be the path of a secrets engine, such as secret")
    return text.rstrip("/")


def _header(text: str) -> str:
    if text and not _VISIBLE.fullmatch(text):
        raise click.BadParameter("must have visible ASCII characters only")
    return text


@click.group("import")
def imports() -> None:
    """Move secrets in from another secret manager."""


@imports.command("vault")
@click.option(
    "--address",
    metavar="URL",
    type=_address,
    envvar=["BAO_ADDR", "VAULT_ADDR"],
    required=True,
    help="The source: https://…, or http://… on this machine.  [default: BAO_ADDR or VAULT_ADDR]",
)
@click.option(
    "--mount",
    metavar="PATH",
    type=_mount,
    default="secret",
    help="The source's secrets engine KV, version 2.  [default: secret]",
)
@click.option(
    "--path",
    metavar="PATH",
    type=_path,
    default="",
    help="A secret of the source, or a folder, such as billing/.  [default: all]",
)
@parameters.namespace_option(
    "The namespace of the secrets here.  [default: default]", default=DEFAULT_NAMESPACE
)
@click.option(
    "--prefix",
    metavar="FOLDER",
    type=_folder,
    default="",
    help="A folder for the secrets here, such as imported/.",
)
@click.option(
    "--source-namespace",
    metavar="NAME",
    type=_header,
    envvar=["BAO_NAMESPACE", "VAULT_NAMESPACE"],
    default="",
    help="The namespace in the source.  [default: BAO_NAMESPACE or VAULT_NAMESPACE]",
)
@click.option(
    "--token-file",
    metavar="FILE",
    type=parameters.TEXT_FILE,
    help="The source's token; - for standard input.  [default: BAO_TOKEN or VAULT_TOKEN]",
)
@click.option(
    "--ca-cert",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    envvar=["BAO_CACERT", "VAULT_CACERT"],
    help="The source's CA in PEM.  [default: BAO_CACERT, VAULT_CACERT, or the system's]",
)
@click.option("--dry-run", is_flag=True, help="List what would be imported, and write nothing.")
@click.option("--verify", is_flag=True, help="Only compare the secrets here with the source.")
@output_options
def from_vault(
    output: Output,
    address: str,
    mount: str,
    path: str,
    namespace: str,
    prefix: str,
    source_namespace: str,
    token_file: TextIO | None,
    ca_cert: str | None,
    dry_run: bool,
    verify: bool,
) -> None:
    """Copy secrets from HashiCorp Vault or OpenBao.

    All their versions are copied. Secrets that exist here are never changed: equal ones are skipped, others
    are listed. So an import can be interrupted and repeated. At the end, both sides are read again and
    compared by hash. Exits with 1 if they differ, or if a secret could not be imported.
    """
    if dry_run and verify:
        raise click.UsageError("Use either --dry-run or --verify.")
    token = _token(token_file)
    with (
        closing(
            KVSource(address, mount=mount, token=token, namespace=source_namespace, ca_file=ca_cert)
        ) as source,
        connected(output, reading=dry_run or verify) as parts,
    ):
        source.check()
        importer = Importer(
            source,
            parts.keyring,
            namespace=namespace,
            prefix=prefix,
            max_bytes=parts.settings.max_secret_bytes,
            max_versions=parts.settings.max_versions,
        )
        report = _Report(importer, output, is_dry=dry_run)
        if not verify:
            writer = ImportWriter(parts.keyring, parts.guard, namespace=namespace, source=source.url)
            write = None if dry_run else writer.write
            report.show(_Progress("read", output).each(importer.run(path, write)))
        if not dry_run:
            # Nothing is written from here on: the claim must not keep workers with another key from serving.
            parts.guard.close()
            report.compare(_Progress("compared", output).each(importer.run(path)))
    sys.exit(not report.is_good)


def _token(file: TextIO | None) -> str:
    """Return the token: from *file*, or from the variables of Vault's own clients."""
    variables = os.environ.get("BAO_TOKEN") or os.environ.get("VAULT_TOKEN") or ""
    token = (file.read() if file else variables).strip()
    if not token:
        raise click.UsageError("Set VAULT_TOKEN to a token of the source, or add --token-file.")
    if not _VISIBLE.fullmatch(token):
        raise click.UsageError("The token must have visible ASCII characters only.")
    return token


class _Progress:
    """Lines on standard error while secrets pass, one every few seconds."""

    def __init__(self, done: str, output: Output) -> None:
        self._done = done
        self._note = output.note
        self._due = time.monotonic() + _PROGRESS_INTERVAL_SECONDS

    def each(self, results: Iterable[Result]) -> Iterator[Result]:
        """Yield *results*, and print how many there were."""
        for count, result in enumerate(results, 1):
            yield result
            if time.monotonic() >= self._due:
                self._note(f"{quantity(count, 'secret')} {self._done}")
                self._due += _PROGRESS_INTERVAL_SECONDS


class _Report:
    """The report of an import on standard output: what needs a look, counts, and hashes."""

    def __init__(self, importer: Importer, output: Output, *, is_dry: bool) -> None:
        self._output = output
        self._hashes = importer.hashes()
        self._is_dry = is_dry
        self._shown: set[tuple[str, ImportOutcome]] = set()
        self.is_good = True

    def show(self, results: Iterable[Result]) -> None:
        """Print the outcomes of an import, or of a dry run."""
        secrets: Counter[ImportOutcome] = Counter()
        versions: Counter[ImportOutcome] = Counter()
        for result in results:
            secrets[result.outcome] += 1
            versions[result.outcome] += len(result.versions)
            self._look_at(result)
            for note in result.notes if result.outcome is not ImportOutcome.SAME else ():
                self._tell("not copied", result, note)
            if self._is_dry and result.outcome is ImportOutcome.MISSING:
                numbers = ", ".join(map(str, result.versions)) or "none"
                self._tell("to import", result, f"versions {numbers}")
        _require_any(secrets)
        first = ImportOutcome.MISSING if self._is_dry else ImportOutcome.IMPORTED
        for outcome in (first, ImportOutcome.SAME, ImportOutcome.DIFFERS, ImportOutcome.REFUSED):
            count = quantity(secrets[outcome], "secret")
            self._output.result(
                {"total": outcome, "secrets": secrets[outcome], "versions": versions[outcome]},
                f"{outcome}: {count}, {quantity(versions[outcome], 'version')}",
            )

    def compare(self, results: Iterable[Result]) -> None:
        """Print the hash of each side."""
        counts: Counter[str] = Counter()
        for result in results:
            if result.outcome is ImportOutcome.MISSING:
                self._problem(result, "it is not here")
            self._look_at(result)
            counts["all"] += 1
            if result.there:
                counts["secrets"] += 1
                counts["versions"] += len(result.versions)
            self._hashes.add(result)
        _require_any(counts)
        is_equal = self._hashes.there == self._hashes.here
        self.is_good &= is_equal
        secrets, versions = counts["secrets"], counts["versions"]
        lines = (
            f"compared: {quantity(secrets, 'secret')}, {quantity(versions, 'version')}",
            # Keyed, so that they reveal nothing.
            f"hash of the source, with a key of this run: {self._hashes.there}",
            f"hash of the secrets here, with the same key: {self._hashes.here}",
            "the hashes are equal" if is_equal else "the hashes DIFFER",
        )
        data = {"total": "compared", "secrets": secrets, "versions": versions, "equal": is_equal}
        self._output.result(data, "\n".join(lines))

    def _tell(self, what: str, result: Result, text: str) -> None:
        data = {"outcome": what, "name": result.name, "reason": text}
        self._output.result(data, f"{what}: {printable(result.name)}: {text}")

    def _look_at(self, result: Result) -> None:
        if result.outcome in (ImportOutcome.DIFFERS, ImportOutcome.REFUSED):
            self._problem(result, result.reason)

    def _problem(self, result: Result, reason: str) -> None:
        """Print a secret that needs a look, once."""
        self.is_good = False
        if (result.name, result.outcome) not in self._shown:
            self._shown.add((result.name, result.outcome))
            label = "not here" if result.outcome is ImportOutcome.MISSING else result.outcome
            self._tell(label, result, reason)


def _require_any(counts: Counter[ImportOutcome] | Counter[str]) -> None:
    if not counts:
        raise ImportSourceError("the source has no secrets at this path")
