"""The file format of a backup: a tar archive of gzipped BSON dumps, one per collection, and the manifest.

`ArchiveWriter` writes it; `read_manifest`, `verify` and `documents` read it. A manifest determines every byte
around the dumps, and has their sizes and digests: `verify` compares all of the file with it.
"""

import gzip
import json
import re
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from io import SEEK_END, BytesIO
from typing import IO, Any, BinaryIO, cast

from vault.core.crypto import audit_chain
from vault.core.crypto.audit_chain import VerifyingKey
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError

MANIFEST = "manifest.json"
_SUFFIX = ".bson.gz"

#: Receives the number of documents done since the last call; of bytes, while a file is verified.
Progress = Callable[[int], None]

#: The maximum size of a manifest, which is read into memory unverified; enough for over 300,000 streams.
MANIFEST_BYTES = 67_108_864
#: The maximum size of a manifest that is parsed unverified, so that a refusal can name the missing keys.
#: Parsed, a hostile one takes up to 30 times its size. Enough for 5,000 streams.
_UNVERIFIED_BYTES = 1_048_576
#: A line of the manifest with a seal, which the signature does not cover.
_SEAL = re.compile(rb' "(hash|signature|signer)": "([0-9a-f]+)",\n')
#: The lines of a genuine manifest are longer on average, and each is shorter than the maximum.
_MIN_MEAN_LINE_BYTES, _MAX_LINE_BYTES = 16, 65_536
#: The length that every BSON document begins with.
_LENGTH_BYTES = 4
_END = bytes(2 * tarfile.BLOCKSIZE)
#: Halves the size at the cost of reading; higher levels save nothing more, as ciphertext does not shrink.
_COMPRESSION = 1


@dataclass(frozen=True, slots=True)
class Member:
    """One dump in the archive."""

    name: str
    documents: int
    #: Size and digest of the compressed dump.
    size: int
    sha256: str

    @property
    def collection(self) -> str:
        """The name of the collection."""
        return self.name.removesuffix(_SUFFIX)


class _Hashed:
    """A file that counts and hashes the bytes written to it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.size = 0
        self.digest = sha256()

    def write(self, data: bytes) -> int:
        self.size += len(data)
        self.digest.update(data)
        return self._file.write(data)


class ArchiveWriter:
    """Writes an archive into *file*, which must be seekable."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.members: list[Member] = []

    def add(self, collection: str, batches: Iterator[bytes], progress: Progress) -> None:
        """Add the dump of a *collection*, in *batches* of whole BSON documents."""
        # Leave room for the header: the size is known only at the end.
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
        """Add the *manifest*, which has `members` and `ts`, and write all headers.

        Raises:
            BackupRefusedError: The manifest is too large to be read again.
        """
        end = tail(manifest)
        if len(end) > MANIFEST_BYTES:
            raise BackupRefusedError(
                "the audit trail has too many streams to list", hint="remove old entries with AUDIT_TTL_DAYS"
            )
        self._file.write(end)
        for place, member in places(self.members):
            self._file.seek(place)
            self._file.write(header(member.name, member.size, manifest))


def places(found: Iterable[Member]) -> Iterator[tuple[int, Member]]:
    """Yield the offset of each member's header, with the member."""
    place = 0
    for member in found:
        yield place, member
        place += tarfile.BLOCKSIZE + member.size + len(padding(member.size))


def document_ends(batch: bytes) -> Iterator[int]:
    """Yield the end of each BSON document in *batch*, except of a last one that is incomplete."""
    end = 0
    while len(batch) - end >= _LENGTH_BYTES:
        end += int.from_bytes(batch[end : end + _LENGTH_BYTES], "little")
        if end <= len(batch):
            yield end


def tail(manifest: Mapping[str, Any]) -> bytes:
    """Return the bytes after the dumps: the *manifest*, which has `ts`, and the end of the archive."""
    text = json.dumps(manifest, indent=1, sort_keys=True).encode() + b"\n"
    return header(MANIFEST, len(text), manifest) + text + padding(len(text)) + _END


def header(name: str, size: int, manifest: Mapping[str, Any]) -> bytes:
    """Return the header of a member of *size* bytes."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    member.mtime = int(datetime.fromisoformat(manifest["ts"]).timestamp())
    # Newer tar formats have a second header for sizes from 8 GiB.
    return member.tobuf(tarfile.GNU_FORMAT)


def padding(size: int) -> bytes:
    """Return the bytes that fill the last block of a member of *size* bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


#: Bytes to read at a time, and to unpack at a time: unpacked, they can be a thousand times as many.
_CHUNK = 262_144
_UNPACKED = 1_048_576
_GZIP = 16 + zlib.MAX_WBITS


def read_manifest(file: BinaryIO, keys: Mapping[str, VerifyingKey]) -> dict[str, Any]:
    """Return the manifest in *file*. Its hash is right, but its signature by one of *keys* is not verified.

    Raises:
        InvalidBackupError: It is missing or damaged, or it is large and none of *keys* signed it.
    """
    if not file.seekable():
        raise InvalidBackupError(
            "a backup is read twice, and a pipe cannot be", hint="write the backup to a file, and name that"
        )
    try:
        text = _manifest_text(file)
        if len(text) > _UNVERIFIED_BYTES and not _is_signed(text, keys):
            raise InvalidBackupError(
                "the backup was altered, or made elsewhere: its manifest is not signed by a master key here",
                hint="run this command with the master keys of its service",
            )
        manifest: dict[str, Any] = json.loads(text)
        if manifest["hash"] == audit_chain.digest(manifest):
            return manifest
    except (tarfile.TarError, KeyError, RecursionError, TypeError, ValueError):
        raise InvalidBackupError("this is not a backup, or it is damaged: it has no manifest") from None
    raise InvalidBackupError("the backup is damaged: its manifest is not as it was written")


def _manifest_text(file: BinaryIO) -> bytes:
    # Not by `tarfile`: it trusts the sizes in headers, and fills the holes of sparse files.
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


def _is_signed(text: bytes, keys: Mapping[str, VerifyingKey]) -> bool:
    """Return whether one of *keys* signed the manifest *text*, in the form of `tail`, without parsing it."""
    if text.count(b"\n") > len(text) // _MIN_MEAN_LINE_BYTES:
        return False
    canonical, seals = bytearray(), {b"signer": b"", b"signature": b""}
    stream = BytesIO(text)
    for line in iter(lambda: stream.readline(_MAX_LINE_BYTES), b""):
        if seal := _SEAL.fullmatch(line):
            seals[seal[1]] = seal[2]
        else:
            canonical += line.strip().replace(b'": ', b'":', 1)
    key = keys.get(seals[b"signer"].decode())
    return key is not None and key.verifies(seals[b"signature"].decode(), bytes(canonical))


def verify(file: BinaryIO, manifest: Mapping[str, Any], progress: Progress) -> list[bytes]:
    """Require that *file* is exactly as it was written with *manifest*; return the digests for `documents`.

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
        raise _damaged("its end")
    return digests


def members(manifest: Mapping[str, Any]) -> list[Member]:
    """Return the dumps that *manifest* describes, in order."""
    return [Member(**described) for described in manifest["members"]]


def documents(
    file: BinaryIO, manifest: Mapping[str, Any], digests: Sequence[bytes]
) -> Iterator[tuple[str, bytes]]:
    """Yield all documents of *file* as BSON, each with the name of its collection.

    The *digests* from `verify` ensure that every document is the verified one.

    Raises:
        InvalidBackupError: The file was changed after it was verified. No changed document is yielded.
    """
    verified = iter(digests)
    for place, member in places(members(manifest)):
        file.seek(place + tarfile.BLOCKSIZE)
        unpacker, found, rest = zlib.decompressobj(wbits=_GZIP), sha256(), b""
        for packed in _chunks(file, member.size):
            found.update(packed)
            if found.digest() != next(verified):
                raise InvalidBackupError(
                    "the backup was changed while it was read",
                    hint="keep others from writing to it, and try again",
                )
            while packed:
                rest += unpacker.decompress(packed, _UNPACKED)
                packed = unpacker.unconsumed_tail
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
