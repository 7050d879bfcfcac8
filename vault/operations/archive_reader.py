"""Reading the file of a backup that anybody may have made.

A file is held against the one way to write it, header by header, before anything in it is used.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from io import SEEK_END
from typing import Any, BinaryIO

from vault.crypto import chain
from vault.errors import InvalidBackupError
from vault.operations.archive import (
    MANIFEST,
    MANIFEST_BYTES,
    Member,
    Progress,
    document_ends,
    header,
    padding,
    places,
    tail,
)

#: Bytes that are read at a time. What is packed in them can be a thousand times as much.
_CHUNK = 262_144
_GZIP = 16 + zlib.MAX_WBITS


def read_manifest(file: BinaryIO) -> dict[str, Any]:
    """Return what the manifest in *file* says, which nobody vouches for yet.

    Raises:
        InvalidBackupError: There is none, or it is damaged.
    """
    if not file.seekable():
        raise InvalidBackupError("a backup is read twice: it must be a file, and cannot be a pipe")
    try:
        manifest: dict[str, Any] = json.loads(_manifest_text(file))
        if manifest["hash"] == chain.digest(manifest):
            return manifest
    except (tarfile.TarError, KeyError, RecursionError, TypeError, ValueError):
        raise InvalidBackupError("this is not a backup, or it is damaged: it has no manifest") from None
    raise InvalidBackupError("the backup is damaged: its manifest is not as it was written")


def _manifest_text(file: BinaryIO) -> bytes:
    # Not by `tarfile`: it believes what headers say of sizes, and of holes that are to be filled.
    end, place = file.seek(0, SEEK_END), 0
    while True:
        file.seek(place)
        place += tarfile.BLOCKSIZE
        member = tarfile.TarInfo.frombuf(file.read(tarfile.BLOCKSIZE), "ascii", "strict")
        if member.type != tarfile.REGTYPE or not 0 <= member.size <= end - place:
            raise ValueError
        if member.name == MANIFEST:
            if member.size > MANIFEST_BYTES:
                raise ValueError
            return file.read(member.size)
        place += member.size + len(padding(member.size))


def verify(file: BinaryIO, manifest: Mapping[str, Any], progress: Progress) -> list[bytes]:
    """Return if *file* is what was written with *manifest*, to the last byte, with what `documents` needs.

    Raises:
        InvalidBackupError: It is not.
    """
    file.seek(0)
    digests: list[bytes] = []
    for member in members(manifest):
        _expect(file, header(member.name, member.size, manifest), member.name)
        found = sha256()
        for packed in _chunks(file, member.size):
            found.update(packed)
            digests.append(found.digest())
            progress(len(packed))
        if found.hexdigest() != member.sha256:
            raise _damaged(member.name)
        _expect(file, padding(member.size), member.name)
    _expect(file, tail(manifest), MANIFEST)
    if file.read(1):
        raise _damaged("what stands behind its end")
    return digests


def members(manifest: Mapping[str, Any]) -> list[Member]:
    """Return the dumps that *manifest* describes, in order."""
    return [Member(**described) for described in manifest["members"]]


def documents(
    file: BinaryIO, manifest: Mapping[str, Any], digests: Sequence[bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield all documents of *file* as BSON, each with the name of its collection.

    They are those that were verified, by the *digests* that `verify` returned.

    Raises:
        InvalidBackupError: The file was changed since. No document was yielded that is not as verified.
    """
    verified = iter(digests)
    for place, member in places(members(manifest)):
        file.seek(place + tarfile.BLOCKSIZE)
        unpacker, found, rest = zlib.decompressobj(wbits=_GZIP), sha256(), b""
        for packed in _chunks(file, member.size):
            found.update(packed)
            if found.digest() != next(verified):
                raise InvalidBackupError(
                    "the backup was changed while it was read: let nobody write to it, and try again"
                )
            rest += unpacker.decompress(packed)
            start = 0
            for end in document_ends(rest):
                yield member.collection, rest[start:end]
                start = end
            rest = rest[start:]


def _chunks(file: BinaryIO, size: int) -> Iterator[bytes]:
    for place in range(0, size, _CHUNK):
        yield file.read(min(_CHUNK, size - place))


def _expect(file: BinaryIO, expected: bytes, name: str) -> None:
    if file.read(len(expected)) != expected:
        raise _damaged(name)


def _damaged(name: str) -> InvalidBackupError:
    return InvalidBackupError(f"the backup is damaged: {name} is not as it was written")
