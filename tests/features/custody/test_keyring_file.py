"""The keyring file: what it refuses, its edits, and writes that leave a whole file whatever happens."""

import hashlib
import hmac
import json
import os
from fcntl import LOCK_EX, flock
from pathlib import Path
from typing import Any

import pytest

from tests.core.crypto.reference import hkdf
from vault.features.custody import keyring_file
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.keyring_file import KeyringFile, Slot
from vault.toolkit.client import private_files

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parents[2] / "vectors" / "keyring-file-2.json").read_text()
)
ONE, TWO = "1" * 16, "2" * 16
SLOT = {"name": "hsm", "scheme": "pkcs11", "kek": "pkcs11:token=sm;object=kek-1", "blob": "YmxvYg=="}


def document(**changes: Any) -> dict[str, Any]:
    """Return a valid document, or one with *changes* to its primary key."""
    primary = {"id": ONE, "role": "primary", "slots": [SLOT]} | changes
    return {"format": 1, "keys": [primary, {"id": TWO, "role": "fallback", "slots": [SLOT]}]}


def parsed(found: Any) -> KeyringFile:
    """Return the file with this document."""
    return KeyringFile.parse(json.dumps(found).encode())


def slot(name: str, kek: str = "k") -> Slot:
    """Return a slot."""
    return Slot(name, "command", kek, b"blob")


def test_a_file_is_read_as_it_is_written() -> None:
    """The text of a file has the same keys, slots and blobs."""
    file = parsed(document())
    assert KeyringFile.parse(file.text().encode()) == file
    assert json.loads(file.text()) == document()
    assert file.primary.id == ONE
    assert "blob" not in repr(file.keys[0].slots[0]).replace("blob=", "")


def test_the_hash_of_a_file_is_that_of_its_content() -> None:
    """The hash is what `sha256sum` prints for a file as it is written; another layout has the same one."""
    file = parsed(document())
    assert file.digest == hashlib.sha256(file.text().encode()).hexdigest()
    assert file.promoted(TWO).digest != file.digest


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_stored_files_stay_confirmed(vector: dict[str, Any]) -> None:
    """A stored file is permanently confirmed by its keys, and is written as it was."""
    materials = {key_id: bytes.fromhex(key) for key_id, key in vector["master_keys"].items()}
    file = parsed(vector["file"])
    assert file.is_confirmed
    assert file.unconfirmed(materials) == []
    assert file.digest == vector["sha256"]
    assert KeyringFile(file.keys).confirmed(materials) == file
    assert file.unconfirmed(dict.fromkeys(materials, bytes(32))) == [*materials]
    assert file.promoted(file.primary.id).is_confirmed is False


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_macs_follow_from_the_description(vector: dict[str, Any]) -> None:
    """Each MAC is HMAC-SHA256 under a key of its purpose, over canonical JSON of all but the MACs."""
    document = vector["file"]
    macs = {key["id"]: key.pop("mac") for key in document["keys"]}
    message = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    for key_id, material in vector["master_keys"].items():
        key = hkdf(bytes.fromhex(material), info=b"secret-manager keyring file", size=32)
        assert hmac.new(key, message, hashlib.sha256).hexdigest() == macs[key_id]


INVALID: list[Any] = [
    [],
    {"format": 3, "keys": []},
    {"format": 2, "keys": []},
    {"format": 2, "keys": [1]},
    document() | {"format": 2},
    document(mac="0" * 64),
    document(mac="A" * 64) | {"format": 2},
    document(mac=0) | {"format": 2},
    {"format": True, "keys": []},
    {"format": 1, "keys": []},
    document() | {"more": 1},
    {"format": 1, "keys": "none"},
    document(role="fallback"),
    document(role="other"),
    document(id="xyz"),
    document(id=TWO),
    document(more=1),
    document(slots=[]),
    document(slots=[SLOT, SLOT]),
    document(slots=[1]),
    document(slots=[{**SLOT, "name": n} for n in map(str, range(17))]),
    {
        "format": 1,
        "keys": [
            {"id": f"{n:016x}", "role": "primary" if not n else "fallback", "slots": [SLOT]}
            for n in range(17)
        ],
    },
    *(
        document(slots=[{**SLOT, **change}])
        for change in (
            {"name": "No"},
            {"name": 1},
            {"scheme": "PKCS"},
            {"kek": ""},
            {"kek": "a\nb"},
            {"kek": "k" * 1_025},
            {"blob": "no base64"},
            {"blob": "é"},
            {"blob": "AAAA" * 11_000},
            {"pin": "1234"},
        )
    ),
]


@pytest.mark.parametrize("found", INVALID, ids=range(len(INVALID)))
def test_an_invalid_file_is_refused(found: Any) -> None:
    """Unknown members and formats, contradictions and oversized parts are refused."""
    with pytest.raises(KeyringFileError, match="not a valid keyring file"):
        parsed(found)


def test_unreadable_files_are_refused(tmp_path: Path) -> None:
    """A missing file, no JSON, a file that grows, blocks or has no end, and everyone's file are refused."""
    path, pipe = tmp_path / "file", tmp_path / "pipe"
    with pytest.raises(KeyringFileError, match="cannot be read"):
        KeyringFile.read(path)
    for content in (
        b"{",
        b'{"format": 1, "format": 1}',
        b"[" * 1_000_000,
        b'{"format": 1, "keys": 1e999999}',
    ):
        path.write_bytes(content)
        with pytest.raises(KeyringFileError, match=f"{path} is not a valid keyring file") as caught:
            KeyringFile.read(path)
        assert not caught.value.hint
    former = tmp_path / "file.before"
    former.touch()
    with pytest.raises(KeyringFileError) as caught:
        KeyringFile.read(path)
    assert str(former) in caught.value.hint
    os.truncate(path, 1 << 40)
    with pytest.raises(KeyringFileError, match="larger"):
        KeyringFile.read(path)
    os.mkfifo(pipe)
    for special, reason in (
        *((pipe, "not a regular file"), (Path("/dev/zero"), "not a regular file")),
        (tmp_path, "Is a directory"),
    ):
        with pytest.raises(KeyringFileError, match=f"{special}.*{reason}"):
            KeyringFile.read(special)
    path.chmod(0o646)
    with pytest.raises(KeyringFileError, match="everyone can write"):
        KeyringFile.read(path)


def test_keys_are_promoted_and_dropped() -> None:
    """One key is primary at a time, and that one stays."""
    promoted = parsed(document()).promoted(TWO)
    assert [(key.id, key.role) for key in promoted.keys] == [(TWO, "primary"), (ONE, "fallback")]
    assert [key.id for key in promoted.without_key(ONE).keys] == [TWO]
    with pytest.raises(KeyringFileError, match="is the primary one"):
        promoted.without_key(TWO)
    for edit in (promoted.promoted, promoted.without_key):
        with pytest.raises(KeyringFileError, match="there is no key"):
            edit("3" * 16)


def test_a_write_replaces_the_file_and_keeps_the_former_one(tmp_path: Path) -> None:
    """The former file stays as FILE.before, and the new one keeps its mode, also through a link."""
    path, link = tmp_path / "keyring.json", tmp_path / "link"
    link.symlink_to(path)
    first = parsed(document())
    announced: list[str] = []
    keyring_file.write(path, first, before=None, announce=lambda: announced.append("new"))
    path.chmod(0o644)
    second = first.promoted(TWO)
    keyring_file.write(link, second, before=first, announce=lambda: announced.append("changed"))
    assert KeyringFile.read(path) == second
    assert KeyringFile.read(tmp_path / "keyring.json.before") == first
    assert path.stat().st_mode & 0o777 == 0o644
    assert announced == ["new", "changed"]
    (tmp_path / "keyring.json.before").unlink()
    (tmp_path / "keyring.json.before").symlink_to(tmp_path / "other")
    with pytest.raises(KeyringFileError, match="before cannot be written"):
        keyring_file.write(path, first, before=second, announce=lambda: None)
    assert KeyringFile.read(path) == second
    assert not (tmp_path / "other").exists()


def test_a_write_is_refused_if_the_file_is_not_the_expected_one(tmp_path: Path) -> None:
    """No command overwrites another's change, an existing file, or anything without its entry."""
    path = tmp_path / "keyring.json"
    first = parsed(document())
    keyring_file.write(path, first, before=None, announce=lambda: None)
    with pytest.raises(KeyringFileError, match="exists"):
        keyring_file.write(path, first, before=None, announce=lambda: None)
    with pytest.raises(KeyringFileError, match="changed meanwhile"):
        keyring_file.write(path, first, before=first.promoted(TWO), announce=lambda: None)

    def fail() -> None:
        raise LookupError

    other = os.open(tmp_path, os.O_RDONLY)
    flock(other, LOCK_EX)
    with pytest.raises(KeyringFileError, match=f"another command is changing a file in {tmp_path}"):
        keyring_file.write(path, first.promoted(TWO), before=first, announce=fail)
    os.close(other)
    with pytest.raises(LookupError):
        keyring_file.write(path, first.promoted(TWO), before=first, announce=fail)
    with pytest.raises(KeyringFileError, match="cannot be written"):
        keyring_file.write(tmp_path / "none" / "f", first, before=None, announce=fail)
    assert KeyringFile.read(path) == first
    assert [entry.name for entry in tmp_path.iterdir()] == ["keyring.json"]


@pytest.mark.promise(7)
@pytest.mark.process
def test_a_kill_at_any_step_leaves_a_whole_file(tmp_path: Path) -> None:
    """A process that is killed at any step of a write leaves the former file or the new one."""
    path = tmp_path / "keyring.json"
    first, second = parsed(document()), parsed(document()).promoted(TWO)
    keyring_file.write(path, first, before=None, announce=lambda: None)
    seen = set()
    for step in range(40):
        pid = os.fork()
        if not pid:
            _kill_at(step)
            keyring_file.write(path, second, before=first, announce=lambda: None)
            os._exit(0)
        os.waitpid(pid, 0)
        found = KeyringFile.read(path)
        assert found in (first, second)
        seen.add(found.primary.id)
        path.write_text(first.text())
    assert seen == {ONE, TWO}


def _kill_at(step: int) -> None:
    """End this process at its *step*-th system call of those that change files."""
    left = [step]

    def counted(function: Any) -> Any:
        def call(*arguments: Any, **options: Any) -> Any:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            return function(*arguments, **options)

        return call

    for name in ("fsync", "fchmod", "fchown", "replace", "open"):
        setattr(os, name, counted(getattr(os, name)))
    private_files.mkstemp = counted(private_files.mkstemp)
