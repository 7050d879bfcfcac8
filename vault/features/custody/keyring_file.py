"""The keyring file: the wrapped master keys. It is not secret. A writer to it can prevent a start.

In a confirmed file, format 2, each key has a MAC over all IDs, roles and slots, so a writer without all keys
cannot make one. The MAC is HMAC-SHA256 under HKDF-SHA256 of the key, over `KeyringFile.confirmable`. Files of
1.1.0, format 1, have none.
"""

import hashlib
import hmac
import json
import os
import re
import stat
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field, replace
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path
from typing import Any, NoReturn

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vault.common import strict_json
from vault.common.text import visible_flaw
from vault.features.custody.errors import KeyringFileError
from vault.features.custody.provider import MAX_BLOB_BYTES
from vault.toolkit.client import private_files

#: The format of a file without MACs, and of one with them.
UNCONFIRMED, CONFIRMED = 1, 2
PRIMARY, FALLBACK = "primary", "fallback"

_MAX_BYTES = 1_048_576
_MAX_KEYS = _MAX_SLOTS = 16
_MAX_KEK_BYTES = 1_024
_ID = re.compile("[0-9a-f]{16}")
_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,31}")
_SCHEME = re.compile("[a-z0-9]{1,16}")
_MAC_INFO = b"secret-manager keyring file"
_MAC_BYTES = 32
_MAC = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Slot:
    """A master key wrapped under the KEK of one provider."""

    name: str
    scheme: str
    kek: str
    blob: bytes = field(default=b"", repr=False)

    def __post_init__(self) -> None:
        """Refuse texts that could not be a slot's."""
        if not _NAME.fullmatch(self.name):
            _refuse("a slot's name has up to 32 lower-case letters, digits, hyphens and underscores")
        if not _SCHEME.fullmatch(self.scheme):
            _refuse(f"slot {self.name} has a scheme that no provider has")
        if not self.kek or visible_flaw(self.kek, max_bytes=_MAX_KEK_BYTES):
            _refuse(f"the KEK of slot {self.name} is not one line of visible characters")
        if len(self.blob) > MAX_BLOB_BYTES:
            _refuse(f"slot {self.name} is larger than {MAX_BLOB_BYTES} bytes")


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A master key, by its ID, in one or more slots, each of which opens it."""

    id: str
    role: str
    slots: tuple[Slot, ...]

    def __post_init__(self) -> None:
        """Refuse an invalid ID or role, and slots that are missing or not distinct."""
        if not _ID.fullmatch(self.id):
            _refuse("a key's ID has 16 hexadecimal digits")
        if self.role not in (PRIMARY, FALLBACK):
            _refuse(f"the role of key {self.id} is neither primary nor fallback")
        if not 1 <= len({slot.name for slot in self.slots}) == len(self.slots) <= _MAX_SLOTS:
            _refuse(f"key {self.id} needs 1 to {_MAX_SLOTS} slots, each with a name of its own")


@dataclass(frozen=True, slots=True)
class KeyringFile:
    """The content of a keyring file."""

    keys: tuple[WrappedKey, ...]
    #: The MAC of each key, in the same order; empty without MACs. Every edit leaves them out.
    macs: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        """Refuse keys that are not distinct, and anything but one primary key."""
        if len({key.id for key in self.keys}) != len(self.keys) or len(self.keys) > _MAX_KEYS:
            _refuse(f"there are at most {_MAX_KEYS} keys, each once")
        if [key.role for key in self.keys].count(PRIMARY) != 1:
            _refuse("exactly one key is the primary one")

    @property
    def primary(self) -> WrappedKey:
        """The primary key."""
        return next(key for key in self.keys if key.role == PRIMARY)

    @property
    def slot_names(self) -> list[str]:
        """The names of all slots, in the order of their first occurrence."""
        return list(dict.fromkeys(slot.name for key in self.keys for slot in key.slots))

    @classmethod
    def parse(cls, content: bytes) -> "KeyringFile":
        """Return the file of this *content*.

        Raises:
            KeyringFileError: It has another format, an unknown member or a contradiction.
        """
        try:
            document = strict_json.decode(content, is_own=True)
        except strict_json.InvalidJSONError as error:
            _refuse(str(error))
        found = _members(document, {"format": int, "keys": list})
        if found["format"] not in (UNCONFIRMED, CONFIRMED):
            _refuse(f"the format is neither {UNCONFIRMED} nor {CONFIRMED}")
        macs = tuple(map(_mac, found["keys"])) if found["format"] == CONFIRMED else ()
        return cls(tuple(map(_key, found["keys"])), macs)

    @classmethod
    def read(cls, path: Path) -> "KeyringFile":
        """Return the file at *path*.

        Raises:
            KeyringFileError: It cannot be read, or `parse` refuses its content; the message names *path*.
        """
        content = _read(path)
        try:
            return cls.parse(content)
        except KeyringFileError as error:
            former = path.with_name(f"{path.name}.before")
            hint = f"{former} has the file before its last change" if former.exists() else ""
            raise KeyringFileError(f"{path} is {error.problem}", hint=hint) from None

    def text(self) -> str:
        """Return the content of the file."""
        document = self._document()
        for key, mac in zip(document["keys"], self.macs, strict=False):
            key["mac"] = mac.hex()
        text = json.dumps(document, indent=1, ensure_ascii=False, default=_base64)
        return f"{text}\n"

    def _document(self) -> dict[str, Any]:
        """Return the members of the file, except its MACs."""
        return {"format": CONFIRMED if self.macs else UNCONFIRMED, "keys": [*map(asdict, self.keys)]}

    @property
    def is_confirmed(self) -> bool:
        """True with MACs. Whether they are right, `unconfirmed` says."""
        return bool(self.macs)

    @property
    def confirmable(self) -> bytes:
        """The message of a MAC: the file of format 2 without its MACs, as JSON in UTF-8.

        It has sorted keys, no white space and only the escapes that JSON requires.
        """
        document = self._document() | {"format": CONFIRMED}
        options: dict[str, Any] = {"sort_keys": True, "separators": (",", ":"), "ensure_ascii": False}
        return json.dumps(document, default=_base64, **options).encode()

    def confirmed(self, materials: Mapping[str, bytes]) -> "KeyringFile":
        """Return this file with the MACs of all its keys, whose *materials* are given by ID."""
        return replace(self, macs=tuple(_mac_of(materials[key.id], self.confirmable) for key in self.keys))

    def unconfirmed(self, materials: Mapping[str, bytes]) -> list[str]:
        """Return the IDs of the keys in *materials* that are in this file and have not confirmed it."""
        return [
            key.id
            for key, mac in zip(self.keys, self.macs or (b"",) * len(self.keys), strict=True)
            if key.id in materials
            and not hmac.compare_digest(mac, _mac_of(materials[key.id], self.confirmable))
        ]

    @property
    def digest(self) -> str:
        """The SHA-256 hash of the content, in hexadecimal."""
        return hashlib.sha256(self.text().encode()).hexdigest()

    def with_slots(self, slots: Mapping[str, Slot]) -> "KeyringFile":
        """Return this file with the slot in *slots* of each key, by key ID, in place of its namesake."""
        keys = [replace(key, slots=(*_others(key, slots[key.id].name), slots[key.id])) for key in self.keys]
        return KeyringFile(tuple(keys))

    def without_slot(self, name: str) -> "KeyringFile":
        """Return this file without the slot *name* of all keys.

        Raises:
            KeyringFileError: No key has it, or a key would have no other slot.
        """
        if name not in self.slot_names:
            raise KeyringFileError(f"there is no slot {name}", hint="see `secret-manager keys custody show`")
        others = [_others(key, name) for key in self.keys]
        if any(not slots for slots in others):
            raise KeyringFileError(f"slot {name} is the last one of a key", hint="add another slot first")
        keys = [replace(key, slots=slots) for key, slots in zip(self.keys, others, strict=True)]
        return KeyringFile(tuple(keys))

    def promoted(self, key_id: str) -> "KeyringFile":
        """Return this file with the key *key_id* as the primary one, and all others as fallbacks.

        Raises:
            KeyringFileError: There is no such key.
        """
        self._require(key_id)
        keys = [replace(key, role=PRIMARY if key.id == key_id else FALLBACK) for key in self.keys]
        return KeyringFile(tuple(sorted(keys, key=lambda key: key.role != PRIMARY)))

    def without_key(self, key_id: str) -> "KeyringFile":
        """Return this file without the key *key_id*.

        Raises:
            KeyringFileError: There is no such key, or it is the primary one.
        """
        self._require(key_id)
        if self.primary.id == key_id:
            raise KeyringFileError(f"key {key_id} is the primary one", hint="promote another one first")
        return KeyringFile(tuple(key for key in self.keys if key.id != key_id))

    def _require(self, key_id: str) -> None:
        if key_id not in {key.id for key in self.keys}:
            raise KeyringFileError(
                f"there is no key {key_id} in the file", hint="see `secret-manager keys custody show`"
            )


def write(path: Path, new: KeyringFile, *, before: KeyringFile | None, announce: Callable[[], None]) -> None:
    """Put *new* in place of the file at *path*, which still has the content *before*; None for no file.

    *announce* runs at the last moment at which nothing has changed; if it raises, nothing does. The former
    file stays as `FILE.before`. Whenever this process ends, the file is whole: the former or the new one.

    Raises:
        KeyringFileError: The file changed meanwhile, another process is changing it, or it cannot be written.
    """
    path = path.resolve()
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            # Not waiting: once the other command has ended, the file is not the one that this command read.
            flock(folder, LOCK_EX | LOCK_NB)
            _replace(path, new, before=before, announce=announce)
            os.fsync(folder)
        finally:
            os.close(folder)
    except BlockingIOError:
        raise KeyringFileError(
            f"another command is changing a file in {path.parent}", hint="run the command again"
        ) from None
    except OSError as error:
        raise KeyringFileError(f"{error.filename or path} cannot be written: {error.strerror}") from None


def _replace(
    path: Path, new: KeyringFile, *, before: KeyringFile | None, announce: Callable[[], None]
) -> None:
    if before is None and path.exists():
        raise KeyringFileError(
            f"{path} exists", hint="choose another file, or use `secret-manager keys custody add`"
        )
    content = b"" if before is None else _read(path)
    if before is not None and KeyringFile.parse(content) != before:
        raise KeyringFileError(f"{path} was changed meanwhile", hint="run the command again")
    with ExitStack() as files:
        # Both are written before *announce*, and then take their names: first FILE.before.
        _write(files, path, new.text().encode(), like=path)
        if content:
            _write(files, path.with_name(f"{path.name}.before"), content, like=path)
        announce()


def _write(files: ExitStack, path: Path, content: bytes, *, like: Path) -> None:
    file = files.enter_context(private_files.replacement(path))
    # The service may run as another user than the one who changes the file.
    with suppress(FileNotFoundError):
        state = like.stat()
        os.fchmod(file.fileno(), state.st_mode & 0o777)
        os.fchown(file.fileno(), state.st_uid, state.st_gid)
    file.write(content)
    file.flush()


def _opened(path: str, flags: int) -> int:
    # A pipe without a writer would block.
    return os.open(path, flags | os.O_NONBLOCK)


def _read(path: Path) -> bytes:
    try:
        with open(path, "rb", opener=_opened) as file:
            state = os.fstat(file.fileno())
            # A device has no end.
            if not stat.S_ISREG(state.st_mode):
                raise KeyringFileError(f"{path} is not a regular file")
            if state.st_mode & stat.S_IWOTH:
                raise KeyringFileError(f"everyone can write to {path}", hint="run `chmod o-w` on it")
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise KeyringFileError(
            f"{path} cannot be read: {error.strerror}", hint="MASTER_KEYRING_FILE names it"
        ) from None
    if len(content) > _MAX_BYTES:
        raise KeyringFileError(f"{path} is larger than {_MAX_BYTES} bytes")
    return content


def _others(key: WrappedKey, name: str) -> tuple[Slot, ...]:
    return tuple(slot for slot in key.slots if slot.name != name)


def _refuse(reason: str) -> NoReturn:
    raise KeyringFileError(f"not a valid keyring file: {reason}")


def _members(document: Any, types: Mapping[str, type]) -> dict[str, Any]:
    """Return *document*, an object with exactly the members of *types*."""
    if not isinstance(document, dict) or document.keys() != types.keys():
        _refuse(f"an object must have exactly the members {', '.join(types)}")
    if wrong := [name for name, kind in types.items() if type(document[name]) is not kind]:
        _refuse(f"{wrong[0]} has the wrong type")
    return document


def _base64(blob: bytes) -> str:
    return b64encode(blob).decode()


def _mac_of(material: bytes, content: bytes) -> bytes:
    key = HKDF(algorithm=SHA256(), length=_MAC_BYTES, salt=None, info=_MAC_INFO).derive(material)
    return hmac.digest(key, content, "sha256")


def _mac(document: Any) -> bytes:
    """Take the MAC out of the key in *document*."""
    text = document.pop("mac", None) if isinstance(document, dict) else None
    if not isinstance(text, str) or not _MAC.fullmatch(text):
        _refuse(f"a key's mac has {2 * _MAC_BYTES} hexadecimal digits")
    return bytes.fromhex(text)


def _key(document: Any) -> WrappedKey:
    found = _members(document, {"id": str, "role": str, "slots": list})
    return WrappedKey(found["id"], found["role"], tuple(map(_slot, found["slots"])))


def _slot(document: Any) -> Slot:
    found = _members(document, {"name": str, "scheme": str, "kek": str, "blob": str})
    try:
        blob = b64decode(found.pop("blob"), validate=True)
    except (Base64Error, ValueError):
        _refuse("a blob is not base64")
    return Slot(**found, blob=blob)
