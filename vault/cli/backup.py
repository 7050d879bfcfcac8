"""Back up, restore, and drill that a backup can be restored."""

import errno
import os
import secrets
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from vault.backup import create as backups
from vault.backup import drill as drills
from vault.backup import dump
from vault.backup import restore as restores
from vault.backup.create import Backup, VerifiedBackup
from vault.cli.context import CommandContext, connected
from vault.cli.output import bar
from vault.core.errors import BackupRefusedError, RestoreRefusedError
from vault.core.text import printable
from vault.crypto import Keyring

_FILE = click.Path(path_type=Path, dir_okay=False)
_READABLE = click.File("rb")

#: The exit code of a drill whose findings need a look, as of `audit verify`.
_LOOK = 3

_DRILL_VERDICTS = {
    0: "the backup is good",
    1: "the backup is NOT good",
    _LOOK: "the backup is good, but findings about its trail need a look",
}


@click.command()
@click.argument("path", metavar="FILE", type=_FILE)
@click.option("--overwrite", is_flag=True, help="Replace FILE if it is a regular file.")
def backup(path: Path, overwrite: bool) -> None:
    """Write secrets and tokens into FILE, as of one moment and encrypted as they are, and the trail.

    The trail reaches some seconds further, so that what the service has written has its entry.
    """
    with (
        connected(reading=True, recorded=True) as operator,
        _new_file(path, overwrite=overwrite) as file,
        bar("Backing up", dump.estimate()) as shown,
    ):
        days = operator.audit_ttl_days
        made = backups.make(file, operator.keyring, audit_ttl_days=days, progress=shown.advance)
    click.echo(f"{_described(made)} in {printable(str(path))}, {path.stat().st_size:,} bytes")


@click.command()
@click.argument("file", type=_READABLE)
def restore(file: BinaryIO) -> None:
    """Put the backup in FILE into the database of MONGO_URI, which must be empty.

    The service must not run on it before that is done. What was interrupted goes on when the same FILE is
    restored again.
    """
    with connected(reading=True) as operator:
        found = _verified(file, operator.keyring)
        with bar("Restoring", sum(found.counts.values())) as shown:
            restores.restore(
                found,
                operator.database,
                audit_enabled=operator.audit_enabled,
                progress=shown.advance,
            )
    click.echo(f"{_described(found)} restored, as of {found.manifest['as_of']}")


@click.command()
@click.argument("file", type=_READABLE)
def drill(file: BinaryIO) -> None:
    """Restore FILE into a scratch database, decrypt and verify all of it, and remove the scratch.

    The scratch is on the server of MONGO_URI, which need not be the one that serves. Exits with 1 if anything
    does not verify, and with 3 if a finding about the trail needs a look. Where the database of MONGO_URI has
    an audit trail, the drill is on record in it.
    """
    with connected(reading=True) as operator:
        with _timed("verified the file"):
            found = _verified(file, operator.keyring)
        drills.record(found)
    name = f"drill_{secrets.token_hex(8)}"
    with connected(reading=True, scratch=name) as operator, _scratch(operator):
        code = _drill(found, operator)
    click.echo(_DRILL_VERDICTS[code])
    sys.exit(code)


def _drill(found: VerifiedBackup, operator: CommandContext) -> int:
    """Do it, tell how it went, and return the exit code."""
    keyring = operator.keyring
    with _timed(f"restored {_described(found)}"), bar("Restoring", sum(found.counts.values())) as shown:
        restores.fill(found, again=False, progress=shown.advance)
    # Before the indexes, which let MongoDB remove what has expired.
    with _timed("decrypted them"), bar("Decrypting", found.counts["secrets"]) as shown:
        versions = drills.decrypt_secrets(keyring, shown.advance)
        tokens = drills.verify_tokens(keyring)
    with _timed("built the indexes"):
        operator.database.build_indexes()
    with _timed("verified the trail"), bar("Verifying", found.counts["audit_logs"]) as shown:
        verifier, findings = drills.verify_trail(found, keyring, shown.advance)
    click.echo(f"secret versions: {versions.seen}, of which {versions.wrong} do not decrypt")
    click.echo(f"tokens: {tokens.seen}, of which {tokens.wrong} do not verify")
    click.echo(f"audit entries: {verifier.entries} in {verifier.streams} streams, {len(findings)} findings")
    for finding in findings:
        click.echo(printable(str(finding)))
    if versions.wrong or tokens.wrong or any(finding.tampering for finding in findings):
        return 1
    return _LOOK if findings else 0


def _verified(file: BinaryIO, keyring: Keyring) -> VerifiedBackup:
    size = os.fstat(file.fileno()).st_size
    with bar("Verifying the file", size) as shown:
        return backups.read(file, keyring, progress=shown.advance)


def _described(found: Backup) -> str:
    counts = found.counts
    return f"{counts['secrets']} secrets, {counts['tokens']} tokens and {counts['audit_logs']} audit entries"


@contextmanager
def _timed(what: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    click.echo(f"{what} in {time.monotonic() - started:.1f} s")


@contextmanager
def _scratch(operator: CommandContext) -> Iterator[None]:
    """Let the block have the scratch database, and remove it in any case."""
    if filled := dump.filled_collection():
        raise RestoreRefusedError(
            f"the scratch database {operator.database.name} exists, with {filled} in it"
        )
    click.echo(f"scratch database: {operator.database.name}")
    try:
        yield
    finally:
        operator.database.drop()


@contextmanager
def _new_file(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """Yield a file that gets its name *path* when the block is done, and is gone if that fails.

    Nothing is ever written through *path*: what has the name by then is replaced, or left as it is.

    Raises:
        BackupRefusedError: It exists, is not a regular file, or cannot be written.
    """
    _require_replaceable(path, overwrite=overwrite)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.unfinished")
    try:
        try:
            with open(unfinished, "xb", opener=_private) as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                _require_replaceable(path, overwrite=True)
            else:
                # Refused where there is one by now. A link would do it at once, but not on every filesystem.
                path.touch(0o600, exist_ok=False)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
        _sync(path.parent)
    except OSError as error:
        raise BackupRefusedError(f"{printable(str(path))} cannot be written: {error.strerror}") from None


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _require_replaceable(path: Path, *, overwrite: bool) -> None:
    """Return if *path* does not exist, or is a regular file that may be overwritten.

    Raises:
        BackupRefusedError: It exists, even as a symbolic link to nothing.
    """
    try:
        mode = path.lstat().st_mode
    except OSError:
        # There is none; any other trouble is told when the file is written.
        return
    shown = printable(str(path))
    if not stat.S_ISREG(mode):
        raise BackupRefusedError(f"{shown} exists and is not a regular file; choose another name")
    if not overwrite:
        raise BackupRefusedError(f"{shown} exists; --overwrite takes its place")


def _sync(folder: Path) -> None:
    """Let the names in *folder* last as well as the files."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Of some network filesystems, which cannot.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)
