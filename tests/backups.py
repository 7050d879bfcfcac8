"""What the tests of backups share: files, and time to make them."""

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient

from vault.audit import checkpoint
from vault.backup import archive, create
from vault.backup.create import VerifiedBackup
from vault.crypto import Keyring, chain


def nothing(_more: int) -> None:
    """Show no progress."""


def made(keyring: Keyring) -> tuple[bytes, VerifiedBackup]:
    """Return the bytes of a backup of the database that is connected, and the backup."""
    file = io.BytesIO()
    create.make(file, keyring, audit_ttl_days=0, progress=nothing)
    return file.getvalue(), read(file.getvalue(), keyring)


def read(content: bytes, keyring: Keyring) -> VerifiedBackup:
    """Return the backup that *content* is. Errors as `vault.backup.create.read`."""
    return create.read(io.BytesIO(content), keyring, progress=nothing)


def changed(content: bytes, keyring: Keyring, **changes: object) -> bytes:
    """Return *content* with another manifest, all digests right, signed with *keyring*.

    What is changed to None is left out.
    """
    manifest = archive.read_manifest(io.BytesIO(content)) | changes
    seals = dict.fromkeys(("hash", "signer", "signature"))
    rest = {name: value for name, value in (manifest | seals).items() if value is not None}
    made = checkpoint.signed(rest | {"hash": chain.digest(rest)}, keyring) | {
        name: value for name, value in changes.items() if name in seals
    }
    kept = {name: value for name, value in made.items() if value is not None}
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        start = opened.getmember(archive.MANIFEST).offset
    return content[:start] + archive.tail(kept)


@contextmanager
def history(uri: str) -> Iterator[None]:
    """Let MongoDB keep the past for as long as it does by default; the tests' own does not, see `mongod`."""
    with MongoClient[dict[str, Any]](uri) as client:
        name = "minSnapshotHistoryWindowInSeconds"
        before = client.admin.command("getParameter", 1, **{name: 1})[name]
        client.admin.command("setParameter", 1, **{name: 300})
        try:
            yield
        finally:
            client.admin.command("setParameter", 1, **{name: before})
