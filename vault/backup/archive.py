"""The file of a backup: a tar archive of one gzipped BSON dump a collection, and behind them the manifest.

There is one way to write what a manifest describes, so no byte of a file is free, see `archive_reader`.
"""

import gzip
import json
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import SEEK_END
from typing import IO, Any, BinaryIO, cast

from vault.core.errors import BackupRefusedError, InvalidBackupError
from vault.crypto import chain

MANIFEST = "manifest.json"
_SUFFIX = ".bson.gz"

#: Is told how much more has been done, in documents or, while a file is verified, in bytes.
Progress = Callable[[int], None]

#: More is read into memory by nobody, because what it says is not verified yet: 300,000 streams and more.
MANIFEST_BYTES = 67_108_864
#: What every BSON document begins with is its own length.
_LENGTH_BYTES = 4
_END = bytes(2 * tarfile.BLOCKSIZE)
#: Half of it for the cost of reading; more takes longer and saves nothing, as ciphertext does not shrink.
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One dump in the archive."""

    name: str
    documents: int
    #: Of the compressed bytes, as is the digest.
    size: int
    sha256: str

    @property
    def collection(self) -> str:
        """Whose dump it is."""
        return self.name.removesuffix(_SUFFIX)


class _Hashed:
    """Counts and hashes what is written to *file*."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        return self._file.write(data)


class ArchiveWriter:
    """Writes an archive from its beginning to its end; *file* must be seekable."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.members: list[Member] = []

    def add(self, collection: str, batches: Iterator[bytes], progress: Progress) -> None:
        """Add the dump of a *collection* that comes in *batches* of whole BSON documents."""
        # Size and digest are known only at the end.
        self._file.write(bytes(tarfile.BLOCKSIZE))
        hashed = _Hashed(self._file)
        documents = 0
        with gzip.GzipFile("", "wb", _COMPRESSION, cast(IO[bytes], hashed), mtime=0) as packed:
            for batch in batches:
                packed.write(batch)
                count = sum(1 for _ in document_ends(batch))
                documents += count
                progress(count)
        self._file.write(padding(hashed.size))
        name = collection + _SUFFIX
        self.members.append(Member(name, documents, hashed.size, hashed.digest.hexdigest()))

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Add the *manifest*, which has `members` and `ts`, and put the headers in their places.

        Raises:
            BackupRefusedError: It is larger than what is read.
        """
        end = tail(manifest)
        if len(end) > MANIFEST_BYTES:
            raise BackupRefusedError(
                "the audit trail has too many streams to list: let AUDIT_TTL_DAYS remove old entries"
            )
        self._file.write(end)
        for place, member in places(self.members):
            self._file.seek(place)
            self._file.write(header(member.name, member.size, manifest))


def places(found: Iterable[Member]) -> Iterator[tuple[int, Member]]:
    """Yield where the header of each member is."""
    place = 0
    for member in found:
        yield place, member
        place += tarfile.BLOCKSIZE + member.size + len(padding(member.size))


def document_ends(batch: bytes) -> Iterator[int]:
    """Yield where each BSON document in *batch* ends; the last one may not be whole, and then has no end."""
    end = 0
    while len(batch) - end >= _LENGTH_BYTES:
        end += int.from_bytes(batch[end : end + _LENGTH_BYTES], "little")
        if end <= len(batch):
            yield end


def tail(manifest: Mapping[str, Any]) -> bytes:
    """Return what stands behind the dumps: the *manifest*, which has `ts`, and the archive's end."""
    text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    return header(MANIFEST, len(text), manifest) + text + padding(len(text)) + _END


def header(name: str, size: int, manifest: Mapping[str, Any]) -> bytes:
    """Return the header of a member of *size* bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    member.mtime = int(datetime.fromisoformat(manifest["ts"]).timestamp())
    # Not the form that came after it: that has a second header for a size of 8 GiB and more.
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return what fills the last block of a member of *size* bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


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
