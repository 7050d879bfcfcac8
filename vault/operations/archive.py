"""The file of a backup: a tar archive of one gzipped BSON dump a collection, and behind them the manifest.

There is one way to write what a manifest describes, so no byte of a file is free: a file is held against that
way, header by header, before anything in it is used.
"""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import IO, Any, BinaryIO, cast

from vault.crypto import chain
from vault.errors import InvalidBackupError

MANIFEST = "manifest.json"
_SUFFIX = ".bson.gz"

_END = bytes(2 * tarfile.BLOCKSIZE)
_CHUNK = 1_048_576
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

    def add(self, collection: str, batches: Iterator[bytes], progress: Callable[[int], None]) -> None:
        """Add the dump of a *collection* that comes in *batches* of whole BSON documents."""
        # Size and digest are known only at the end.
        self._file.write(bytes(tarfile.BLOCKSIZE))
        hashed = _Hashed(self._file)
        documents = 0
        with gzip.GzipFile("", "wb", _COMPRESSION, cast(IO[bytes], hashed), mtime=0) as packed:
            for batch in batches:
                packed.write(batch)
                count = _count(batch)
                documents += count
                progress(count)
        self._file.write(_padding(hashed.size))
        name = collection + _SUFFIX
        self.members.append(Member(name, documents, hashed.size, hashed.digest.hexdigest()))

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Add the *manifest*, which has `members` and `ts`, and put the headers in their places."""
        self._file.write(_tail(manifest))
        for place, member in _places(self.members):
            self._file.seek(place)
            self._file.write(_header(member.name, member.size, manifest))


def read_manifest(file: BinaryIO) -> dict[str, Any]:
    """Return what the manifest in *file* says, which nobody vouches for yet.

    Raises:
        InvalidBackupError: There is none, or it is damaged.
    """
    file.seek(0)
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            member = archive.extractfile(MANIFEST)
            manifest: dict[str, Any] = json.loads(member.read() if member else b"")
        if manifest["hash"] == chain.digest(manifest):
            return manifest
    except (tarfile.TarError, KeyError, OverflowError, RecursionError, TypeError, ValueError):
        raise InvalidBackupError("this is not a backup, or it is damaged: it has no manifest") from None
    raise InvalidBackupError("the backup is damaged: its manifest is not as it was written")


def verify(file: BinaryIO, manifest: Mapping[str, Any], progress: Callable[[int], None]) -> None:
    """Return if *file* is what was written with *manifest*, to the last byte.

    Raises:
        InvalidBackupError: It is not.
    """
    file.seek(0)
    for member in members(manifest):
        _expect(file, _header(member.name, member.size, manifest), member.name)
        found = sha256()
        for size in _chunks(member.size):
            found.update(file.read(size))
            progress(size)
        if found.hexdigest() != member.sha256:
            raise _damaged(member.name)
        _expect(file, _padding(member.size), member.name)
    _expect(file, _tail(manifest), MANIFEST)
    if file.read(1):
        raise _damaged("what stands behind its end")


def members(manifest: Mapping[str, Any]) -> list[Member]:
    """Return the dumps that *manifest* describes, in order."""
    return [Member(**described) for described in manifest["members"]]


def documents(file: BinaryIO, manifest: Mapping[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield all documents of a verified *file* as BSON, each with the name of its collection."""
    for place, member in _places(members(manifest)):
        file.seek(place + tarfile.BLOCKSIZE)
        with gzip.GzipFile(fileobj=file) as dump:
            for _ in range(member.documents):
                size = dump.read(4)
                yield member.collection, size + dump.read(int.from_bytes(size, "little") - 4)


def _places(found: Iterable[Member]) -> Iterator[tuple[int, Member]]:
    """Yield where the header of each member is."""
    place = 0
    for member in found:
        yield place, member
        place += tarfile.BLOCKSIZE + member.size + len(_padding(member.size))


def _count(batch: bytes) -> int:
    count = position = 0
    while position < len(batch):
        position += int.from_bytes(batch[position : position + 4], "little")
        count += 1
    return count


def _chunks(size: int) -> Iterator[int]:
    whole, rest = divmod(size, _CHUNK)
    yield from (_CHUNK for _ in range(whole))
    yield rest


def _expect(file: BinaryIO, expected: bytes, name: str) -> None:
    if file.read(len(expected)) != expected:
        raise _damaged(name)


def _damaged(name: str) -> InvalidBackupError:
    return InvalidBackupError(f"the backup is damaged: {name} is not as it was written")


def _tail(manifest: Mapping[str, Any]) -> bytes:
    text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    return _header(MANIFEST, len(text), manifest) + text + _padding(len(text)) + _END


def _header(name: str, size: int, manifest: Mapping[str, Any]) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    member.mtime = int(datetime.fromisoformat(manifest["ts"]).timestamp())
    # Not the form that came after it: that has a second header for a size of 8 GiB and more.
    return member.tobuf(tarfile.GNU_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)
