"""The commands `backup`, `restore` and `drill`."""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import click

from vault.common.text import printable, quantity
from vault.core.crypto import Keyring
from vault.features.backup import create as backups
from vault.features.backup import drill as drills
from vault.features.backup import dump
from vault.features.backup import restore as restores
from vault.features.backup.archive import Progress
from vault.features.backup.commands.scratch import scratch_database
from vault.features.backup.copies import sync
from vault.features.backup.create import Backup, VerifiedBackup
from vault.features.backup.drill import Report, Step
from vault.features.backup.errors import BackupRefusedError
from vault.service.commands.context import connected, opened_attempts
from vault.toolkit.cli.output import Output, output_options
from vault.toolkit.client import private_files

#: A text: as a `Path`, the file `./-` would be standard output.
_FILE = click.Path(dir_okay=False, allow_dash=True)
_STANDARD_OUTPUT = "-"
_READABLE = click.File("rb")

#: The exit codes of a drill, as of `audit verify`.
_GOOD, _FAILED, _LOOK = 0, 1, 3
_VERDICTS = {
    _GOOD: "the backup is good",
    _FAILED: "the backup FAILED the drill",
    _LOOK: "the backup is good, but findings about its trail need a look",
}

#: The label of each step's progress bar, and the words for its end.
_STEPS = {
    Step.RESTORE: ("Restoring", "restored the backup"),
    Step.DECRYPT_SECRETS: ("Decrypting", "decrypted the secrets"),
    Step.VERIFY_TOKENS: ("Verifying the tokens", "verified the tokens"),
    Step.BUILD_INDEXES: ("Building the indexes", "built the indexes"),
    Step.VERIFY_TRAIL: ("Verifying the trail", "verified the trail"),
}


@click.command()
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is a regular file.")
@output_options
def backup(output: Output, path: str, overwrite: bool) -> None:
    """Write a backup to FILE, or to standard output.

    It has the secrets, tokens, issuers, roles and the audit trail. All except the trail are as of one moment,
    and stay encrypted. The trail reaches a little further, so that everything written has its entry.

    With - as FILE, the backup is first made in a temporary file in TMPDIR, and then written to standard
    output, which cannot be a terminal.
    """
    is_piped = path == _STANDARD_OUTPUT
    if is_piped and overwrite:
        raise click.UsageError("Leave out --overwrite: it needs the name of a FILE.")
    if is_piped and sys.stdout.isatty():
        raise click.UsageError("Redirect standard output to a file or a pipe: it is a terminal.")
    with connected(output, reading=True, recorded=True) as parts:
        target = _standard_output() if is_piped else _new_file(Path(path), overwrite=overwrite)
        with output.bar("Backing up", dump.estimate()) as shown:
            days = parts.settings.audit_ttl_days
            made, size = backups.write(target, parts.keyring, audit_ttl_days=days, progress=shown.advance)
    if is_piped:
        output.note(f"{_described(made)} written to standard output, {size:,} bytes")
    else:
        text = f"{_described(made)} in {printable(path)}, {size:,} bytes"
        output.result(_data(made) | {"file": path, "bytes": size}, text)


@click.command()
@click.argument("file", type=_READABLE)
@output_options
def restore(output: Output, file: BinaryIO) -> None:
    """Restore the backup in FILE into MONGO_URI's empty database.

    Do not run the service on that database until this is done. To resume an interrupted restore, restore the
    same FILE again.
    """
    with connected(output, reading=True) as parts:
        found = _verified(file, parts.keyring, output)
        with output.bar("Restoring", sum(found.counts.values())) as shown:
            restores.restore(
                found,
                parts.database,
                audit_enabled=parts.audit_enabled,
                # The keyring file of this command is the one to use from now on.
                also=opened_attempts(parts.settings, accepts=True),
                progress=shown.advance,
            )
    output.result(_data(found), f"{_described(found)} restored, as of {found.manifest['as_of']}")


@click.command()
@click.argument("file", type=_READABLE)
@output_options
def drill(output: Output, file: BinaryIO) -> None:
    """Check a backup: restore FILE into a scratch database.

    Decrypts and verifies everything, then removes the scratch database. It is on the server of
    DRILL_MONGO_URI, by default that of MONGO_URI, which need not be the one that serves. Exits with 1 if
    anything fails, and with 3 if a finding about the trail needs a look. If MONGO_URI's database has an audit
    trail, the drill is recorded there.
    """
    with connected(output, reading=True) as parts:
        with _timed("verified the file", output):
            found = _verified(file, parts.keyring, output)
        drills.record(found)
    with scratch_database(output) as parts:
        output.note(f"{_described(found)} for the scratch database {parts.database.name}")
        report = drills.drill(found, parts.database, parts.keyring, show=partial(_show, output))
        # Printed before the database is dropped, which can fail.
        code = _print(report, found, output)
    sys.exit(code)


@contextmanager
def _show(output: Output, step: Step, total: int = 0) -> Iterator[Progress]:
    """Show the bar of *step* while the block runs, and its time afterwards."""
    label, done = _STEPS[step]
    with _timed(done, output), output.bar(label, total) as shown:
        yield shown.advance


def _print(report: Report, backup: Backup, output: Output) -> int:
    code = _FAILED if not report.is_good else _LOOK if report.findings else _GOOD
    entries = quantity(report.entries, "entry", "entries")
    streams, findings = quantity(report.streams, "stream"), quantity(len(report.findings), "finding")
    shown = [printable(str(finding)) for finding in report.findings]
    lines = (
        f"secret versions: {report.versions}",
        f"tokens: {report.tokens}",
        f"issuers and roles: {report.roles}",
        f"audit trail: {entries} in {streams}, {findings}",
        *shown,
        _VERDICTS[code],
    )
    output.result(
        _data(backup) | asdict(report) | {"findings": shown, "verdict": _VERDICTS[code]}, "\n".join(lines)
    )
    return code


def _verified(file: BinaryIO, keyring: Keyring, output: Output) -> VerifiedBackup:
    size = os.fstat(file.fileno()).st_size
    with output.bar("Verifying the file", size) as shown:
        return backups.read(file, keyring, progress=shown.advance)


def _data(found: Backup) -> dict[str, Any]:
    return {"as_of": found.manifest["as_of"], "documents": dict(found.counts)}


def _described(found: Backup) -> str:
    counts = found.counts
    stored, tokens = quantity(counts["secrets"], "secret"), quantity(counts["tokens"], "token")
    return f"{stored}, {tokens} and {quantity(counts['audit_logs'], 'audit entry', 'audit entries')}"


@contextmanager
def _timed(done: str, output: Output) -> Iterator[None]:
    started = time.monotonic()
    yield
    output.note(f"{done} in {time.monotonic() - started:.1f} s")


@contextmanager
def _new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Yield a new file that gets its name *path* after the block, or is removed if the block fails.

    Nothing is ever written through *path*: an existing file is replaced, or left unchanged.
    """
    _require_replaceable(path, overwrite=overwrite)
    try:
        with private_files.replacement(path, overwrite=overwrite) as file:
            yield file
        sync(path.parent)
    except OSError as error:
        raise BackupRefusedError(f"{printable(str(path))} cannot be written: {error.strerror}") from None


@contextmanager
def _standard_output() -> Iterator[BinaryIO]:
    """Yield a temporary file that is copied to standard output after the block, unless that fails."""
    with (
        _refused("the temporary file of the backup", "set TMPDIR to a folder with more room"),
        tempfile.TemporaryFile() as file,
    ):
        yield file
        file.seek(0)
        with (
            _refused("standard output", "discard what it has; a part cannot be restored"),
            # Not `sys.stdout`: it keeps what it cannot write, and tries again when the process ends.
            open(sys.stdout.fileno(), "wb", closefd=False) as out,
        ):
            shutil.copyfileobj(file, out)


@contextmanager
def _refused(name: str, hint: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        # Quiet, as for any command.
        raise
    except OSError as error:
        raise BackupRefusedError(f"{name} cannot be written: {error.strerror}", hint=hint) from None


def _require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Return if *path* does not exist, or is a regular file that may be overwritten."""
    shown = printable(str(path))
    if not private_files.is_replaceable(path):
        raise BackupRefusedError(f"{shown} exists and is not a regular file", hint="choose another name")
    if os.path.lexists(path) and not overwrite:
        raise BackupRefusedError(f"{shown} exists", hint="use --overwrite to replace it")
