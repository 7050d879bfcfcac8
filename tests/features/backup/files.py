"""Shared helpers of the backup tests: files."""

import io
import tarfile

from vault.core.crypto import Keyring, audit_chain
from vault.core.trail.streams import checkpoint
from vault.features.backup import archive, create
from vault.features.backup.create import VerifiedBackup


def nothing(_more: int) -> None:
    """Show no progress."""


def made(keyring: Keyring) -> tuple[bytes, VerifiedBackup]:
    """Return a backup of the connected database, as bytes and as an object."""
    file = io.BytesIO()
    create.make(file, keyring, audit_ttl_days=0, progress=nothing)
    return file.getvalue(), read(file.getvalue(), keyring)


def read(content: bytes, keyring: Keyring) -> VerifiedBackup:
    """Return the backup in *content*. Errors as `vault.features.backup.create.read`."""
    return create.read(io.BytesIO(content), keyring, progress=nothing)


def changed(content: bytes, keyring: Keyring, **changes: object) -> bytes:
    """Return *content* with another manifest, all digests correct, signed with *keyring*.

    A field changed to None is omitted.
    """
    manifest = archive.read_manifest(io.BytesIO(content), {}) | changes
    seals = dict.fromkeys(("hash", "signer", "signature"))
    rest = {name: value for name, value in (manifest | seals).items() if value is not None}
    made = checkpoint.signed(rest | {"hash": audit_chain.digest(rest)}, keyring) | {
        name: value for name, value in changes.items() if name in seals
    }
    kept = {name: value for name, value in made.items() if value is not None}
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        start = opened.getmember(archive.MANIFEST).offset
    return content[:start] + archive.tail(kept)
