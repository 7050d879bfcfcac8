"""The file of a backup: a tar archive of one gzipped BSON dump a collection, and behind them the manifest.

There is one way to write what a manifest describes, so no byte of a file is free, see `archive_reader`.
"""

import gzip
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import IO, Any, BinaryIO, cast

from vault.errors import BackupRefusedError

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
