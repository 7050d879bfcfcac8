"""The file of a backup: readable by standard tools, and protected in every byte."""

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import tarfile
import tracemalloc
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.features.backup.files import nothing
from vault.core.crypto import audit_chain
from vault.core.crypto.audit_chain import SigningKey
from vault.core.crypto.master_key import MasterKey
from vault.features.backup import archive
from vault.features.backup.archive import ArchiveWriter
from vault.features.backup.errors import BackupRefusedError, InvalidBackupError

SIGNING_KEY = SigningKey(MasterKey(bytes(range(32))))
KEY = SIGNING_KEY.public

DOCUMENTS: dict[str, list[dict[str, Any]]] = {
    "tokens": [],
    "secrets": [{"_id": str(number), "envelope": bytes([number]) * 40, "n": number} for number in range(9)],
    "audit_logs": [{"_id": bson.ObjectId(), "ts": datetime(2026, 11, 24, tzinfo=UTC)}],
}


def written(documents: dict[str, list[dict[str, Any]]] = DOCUMENTS) -> bytes:
    file = io.BytesIO()
    writer = ArchiveWriter(file)
    for name, found in documents.items():
        halves = (found[: len(found) // 2], found[len(found) // 2 :])
        writer.add(name, iter([b"".join(map(bson.encode, half)) for half in halves]), nothing)
    members = [
        {"name": member.name, "documents": member.documents, "size": member.size, "sha256": member.sha256}
        for member in writer.members
    ]
    manifest: dict[str, Any] = {"ts": "2026-11-24T12:00:00.000Z", "members": members}
    writer.finish(manifest | {"hash": audit_chain.digest(manifest)})
    return file.getvalue()


def fifth(count: int) -> range:
    """Return every fifth number below *count*, from a random one on."""
    return range(random.randrange(5), count, 5)  # noqa: S311 - not secret


def checked(content: bytes) -> tuple[dict[str, Any], list[bytes]]:
    file = io.BytesIO(content)
    manifest = archive.read_manifest(file, {})
    return manifest, archive.verify(file, manifest, nothing)


@pytest.mark.parametrize("chunk", [archive._CHUNK, 7])
def test_a_written_archive_is_read_back(monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Every document comes back whole and in order, wherever a chunk ends: in a document or in its length."""
    monkeypatch.setattr(archive, "_CHUNK", chunk)
    content = written()
    manifest, digests = checked(content)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in DOCUMENTS}
    for name, document in archive.documents(io.BytesIO(content), manifest, digests):
        found[name].append(bson.decode(document))
    expected = [{**entry, "ts": entry["ts"].replace(tzinfo=None)} for entry in DOCUMENTS["audit_logs"]]
    assert found == {**DOCUMENTS, "audit_logs": expected}


@pytest.mark.process
def test_standard_tools_read_it(tmp_path: Path) -> None:
    """`tar` lists and extracts it, each dump is gzipped BSON, and its SHA-256 is the manifest's."""
    (tmp_path / "b.tar").write_bytes(written())
    listed = subprocess.run(
        ["tar", "-xvf", "b.tar"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert listed.split() == [f"{name}.bson.gz" for name in DOCUMENTS] + ["manifest.json"]
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    for member in manifest["members"]:
        dump = (tmp_path / member["name"]).read_bytes()
        assert hashlib.sha256(dump).hexdigest() == member["sha256"]
        assert len(bson.decode_all(gzip.decompress(dump))) == member["documents"]
    assert all((tmp_path / name).stat().st_mode & 0o777 == 0o600 for name in listed.split())


@pytest.mark.promise("purges")
def test_every_changed_byte_is_refused() -> None:
    """A changed byte in data, headers, padding, manifest or end is refused: a fifth of them in each run."""
    content = written()
    for place in fifth(len(content)):
        altered = bytearray(content)
        altered[place] ^= 1 << random.randrange(8)  # noqa: S311 - not secret
        with pytest.raises(InvalidBackupError):
            checked(bytes(altered))


def test_compressible_documents_are_unpacked_in_parts() -> None:
    """Documents that anyone can store, and that shrink to a thousandth, are not all in memory at once."""
    content = written({"secrets": [{"_id": number, "x": bytes(1_000_000)} for number in range(40)]})
    assert len(content) < 500_000
    manifest, digests = checked(content)
    tracemalloc.start()
    try:
        found = [len(document) for _, document in archive.documents(io.BytesIO(content), manifest, digests)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (len(found), min(found) > 1_000_000) == (40, True)
    assert peak < 10_000_000


@pytest.mark.promise("purges")
def test_only_verified_bytes_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a file is changed or cut after verification, no changed document is read."""
    monkeypatch.setattr(archive, "_CHUNK", 64)
    content = written()
    manifest, digests = checked(content)
    genuine = list(archive.documents(io.BytesIO(content), manifest, digests))
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        dumps = [member for member in opened.getmembers() if member.name != archive.MANIFEST]
    for dump in dumps:
        for place in (dump.offset_data + place for place in fifth(dump.size)):
            altered = bytearray(content)
            altered[place] ^= 1 << random.randrange(8)  # noqa: S311 - not secret
            for other in (bytes(altered), content[:place]):
                found = []
                with pytest.raises(InvalidBackupError, match="changed while it was read"):
                    found.extend(archive.documents(io.BytesIO(other), manifest, digests))
                assert found == genuine[: len(found)]


def sparse(size: int, *, pax: bool) -> bytes:
    """Return an archive whose manifest claims *size* bytes; the file has almost none of them."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as made:
        member = tarfile.TarInfo(archive.MANIFEST)
        if pax:
            member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
            member.pax_headers |= {"GNU.sparse.name": archive.MANIFEST, "GNU.sparse.realsize": str(size)}
            text = f"1\n{size}\n0\n".encode().ljust(512, b"\0")
            member.size = len(text)
            made.addfile(member, io.BytesIO(text))
            return file.getvalue()
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = tarfile.itn(size, 12, tarfile.GNU_FORMAT) + tarfile.itn(0, 12, tarfile.GNU_FORMAT)
    header[483:495] = tarfile.itn(size, 12, tarfile.GNU_FORMAT)
    header[148:156] = b"%06o\0 " % tarfile.calc_chksums(bytes(header))[0]
    return bytes(header) + bytes(1_024)


@pytest.mark.parametrize("pax", [False, True])
def test_a_small_file_uses_little_memory(pax: bool) -> None:
    """A header that claims a large sparse file is refused before it is read."""
    content = sparse(100_000_000, pax=pax)
    assert len(content) < 20_000
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBackupError):
            checked(content)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("size", [-512, -(2**70), 2**62, 2**70, 10_000])
@pytest.mark.parametrize("name", ["secrets.bson.gz", archive.MANIFEST])
def test_an_impossible_size_is_refused(name: str, size: int) -> None:
    """A member that claims to end before its start, or behind the end of the file, is refused."""
    member = tarfile.TarInfo(name)
    member.size = size
    with pytest.raises(InvalidBackupError):
        checked(member.tobuf(tarfile.GNU_FORMAT) + bytes(2_048))


def hostile(text: bytes) -> io.BytesIO:
    """Return an archive that has only a manifest, *text*."""
    head = archive.header(archive.MANIFEST, len(text), {"ts": "2026-11-24T12:00:00.000Z"})
    return io.BytesIO(head + text + archive.padding(len(text)) + bytes(1_024))


@pytest.mark.parametrize("part", [b"[],", b"\n", b' "numbers": [1, 2],\n'])
def test_a_large_unsigned_manifest_is_not_parsed(part: bytes) -> None:
    """A large manifest that no known key signed is refused before it becomes objects, 20 times its size."""
    size = 1_500_000
    seals = b'{\n "signature": "%s",\n "signer": "%s",\n' % (b"00" * 64, KEY.signer.encode())
    file = hostile(seals + b' "x": [' + part * (size // len(part)) + b"[]]}")
    tracemalloc.start()
    try:
        with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
            archive.read_manifest(file, {KEY.signer: KEY})
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * size


def test_a_large_signed_manifest_is_read() -> None:
    """The signature of a large manifest is verified from its text, and fails if a part is changed."""
    heads = [{"stream": f"2-{number:030x}", "seq": number, "hash": "ab" * 32} for number in range(10_000)]
    made: dict[str, Any] = {
        "audit_enabled": None,
        "heads": heads,
        "members": [],
        "ts": "2026",
        "version": "1",
    }
    made |= {"hash": audit_chain.digest(made), "retired": [], "signer": KEY.signer}
    made["hash"] = audit_chain.digest(made)
    made["signature"] = SIGNING_KEY.sign(audit_chain.canonical(made))
    text = json.dumps(made, indent=1, sort_keys=True).encode() + b"\n"
    assert len(text) > 1_048_576
    assert archive.read_manifest(hostile(text), {KEY.signer: KEY}) == made
    for other in (text.replace(b'"seq": 9,', b'"seq": 8,'), text.replace(b'"1"', b'"2"'), text + b"[]"):
        with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
            archive.read_manifest(hostile(other), {KEY.signer: KEY})
    with pytest.raises(InvalidBackupError, match="was altered, or made elsewhere"):
        archive.read_manifest(hostile(text), {})


def test_an_oversized_manifest_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest over the read limit makes no backup, and in a file it is refused unread."""
    content = written()
    monkeypatch.setattr(archive, "MANIFEST_BYTES", 100)
    with pytest.raises(BackupRefusedError, match="AUDIT_TTL_DAYS"):
        written({str(number): [] for number in range(10)})
    with pytest.raises(InvalidBackupError):
        checked(content)


def test_a_pipe_is_refused() -> None:
    """A pipe, which can be read only once, is distinguished from a damaged file."""
    source, target = os.pipe()
    os.close(target)
    with os.fdopen(source, "rb") as file, pytest.raises(InvalidBackupError, match="a pipe cannot be"):
        archive.read_manifest(file, {})


def test_every_truncation_and_addition_is_refused() -> None:
    """A file truncated at any byte, or with bytes after its end, is refused."""
    content = written()
    for length in fifth(len(content)):
        with pytest.raises(InvalidBackupError):
            checked(content[:length])
    for addition in (b"\0", bytes(512), content):
        with pytest.raises(InvalidBackupError):
            checked(content + addition)


def test_the_damaged_part_is_named() -> None:
    """The error for a damaged backup names the dumps that are still usable."""
    content = written()
    with tarfile.open(fileobj=io.BytesIO(content)) as opened:
        place = opened.getmember("secrets.bson.gz").offset_data
    altered = content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]
    with pytest.raises(InvalidBackupError, match=r"secrets\.bson\.gz is not as it was written"):
        checked(altered)


def test_a_reformatted_manifest_is_refused() -> None:
    """A manifest with the same content and hash in another format is refused."""
    content = written()
    text = json.dumps(archive.read_manifest(io.BytesIO(content), {}), indent=1, sort_keys=True)
    place = content.index(text.encode())
    for other in (text.replace("\n ", "\n\t", 1), text.replace('"ts"', '"\\u0074s"')):
        altered = content[:place] + other.encode() + content[place + len(text) :]
        if len(other) > len(text):
            altered = altered[: -(len(other) - len(text))]
        with pytest.raises(InvalidBackupError):
            checked(altered)


@given(st.binary(max_size=2_000))
def test_any_other_file_is_refused(content: bytes) -> None:
    """Any file that is not a backup is refused with the error for that."""
    for other in (content, written()[:1_000] + content):
        with pytest.raises(InvalidBackupError):
            checked(other)


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b'"a"', b"{" * 100_000, b'{"hash": "1"}', b"\xff"])
def test_an_invalid_manifest_is_refused(text: bytes) -> None:
    """An archive with an invalid manifest is refused as no backup."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as made:
        member = tarfile.TarInfo("manifest.json")
        member.size = len(text)
        made.addfile(member, io.BytesIO(text))
    with pytest.raises(InvalidBackupError):
        checked(file.getvalue())
