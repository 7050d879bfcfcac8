"""Secrets as read from MongoDB: one decoder, whatever a document contains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from secrets import randbits
from typing import Any

from vault.common.attributes import ATTRIBUTES, Description, Form
from vault.common.errors import DecryptionError
from vault.core.crypto import Binding, Keyring
from vault.core.crypto.encoding import canonical
from vault.core.documents.base import decrypt, is_text, text, texts
from vault.core.documents.write_rules import WriteRules
from vault.core.principal import DEFAULT_NAMESPACE

#: More than a secret can have changes.
_MAX_CHANGES = 2**53

#: Optional fields that the ciphertext is bound to.
BOUND_FIELDS = ("expires_at", "max_reads", "name", "use_rules")

#: The fields of which every change of a secret changes one. Expressions cover reads and rewraps in between.
_CHANGED_FIELDS = ("version", "metadata_version", "expires_at", "deleted_at", "states", "purged", "pending")

#: Optional fields that can hide a secret from readers. The ciphertext is not bound to them.
STATE_FIELDS = ("reads", "deleted_at")


#: Use rules: an object each.
UseRules = Sequence[Mapping[str, Any]]


class BoundFields:
    """Fields that the ciphertext is bound to."""

    id: str
    namespace: str
    expires_at: datetime | None
    max_reads: int | None
    name: str | None
    #: Where a value may be used by those who never get it, as the feature of use rules stores it. A value of
    #: another form, which an attacker may have stored, does not decrypt.
    use_rules: UseRules | None
    #: Whether a read of the secret is an alarm. No stored field shows it.
    is_canary: bool

    def binding(self, version: int) -> Binding:
        """Return the binding of the ciphertext of *version*."""
        return self._bound(version, is_canary=self.is_canary)

    def _bound(self, version: int, *, is_canary: bool) -> Binding:
        return Binding(
            secret_id=self.id,
            version=version,
            namespace=self.namespace,
            expires_at=self.expires_at,
            max_reads=self.max_reads,
            name=self.name,
            is_canary=is_canary,
            use_rules=encoded(self.use_rules),
        )


def encoded(use_rules: UseRules | None) -> bytes:
    """Return *use_rules* as a binding has them.

    Raises:
        DecryptionError: Someone stored a value that JSON cannot represent.
    """
    try:
        return canonical({"use_rules": use_rules}) if use_rules else b""
    except (TypeError, ValueError):
        raise DecryptionError from None


@dataclass(slots=True, repr=False)
class StoredVersion:
    """One stored version of a secret's value. A missing field, or one of another type, is empty."""

    version: int
    envelope: bytes
    key_id: str
    created_at: datetime | None
    #: The texts of a key ID that is a list. MongoDB finds such a version by each of them.
    listed_key_ids: Sequence[str]
    #: The envelope was not read, because it is too large for a batch.
    is_withheld: bool

    @classmethod
    def of(
        cls, fields: Mapping[str, Any], *, created_at: object, default_version: object = None
    ) -> "StoredVersion":
        """Decode the *fields* of a version."""
        key = fields.get("key_id")
        return cls(
            version=_number(fields.get("version", default_version)),
            envelope=_binary(fields.get("envelope")),
            key_id=text(key),
            created_at=_time(created_at),
            listed_key_ids=texts(key),
            is_withheld=fields.get("withheld") is True,
        )

    @property
    def is_well_formed(self) -> bool:
        """True if every field that decryption needs has the right type."""
        return bool(self.version >= 0 and self.envelope and self.key_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """A version without its value. Of a purged one, nothing else is stored."""

    version: int
    #: None for versions that an earlier release purged.
    created_at: datetime | None
    #: When it was, or will be, deleted; a deleted version can be restored.
    deleted_at: datetime | None = None
    is_purged: bool = False

    def is_readable(self, now: datetime) -> bool:
        """Return whether the version has a value, and is not deleted."""
        return not self.is_purged and (self.deleted_at is None or self.deleted_at > now)

    def stored_state(self) -> dict[str, Any]:
        """Return what a secret's document has in `states` for a deleted or purged version."""
        return {"version": self.version, "created_at": self.created_at, "deleted_at": self.deleted_at}


class StoredSecret(BoundFields):
    """A secret, decoded from its document in MongoDB.

    Anyone with write access to MongoDB can store a field of another type. This class alone handles that: such
    a field reads as unset, so every attribute has its declared type. If the ciphertext is bound to the field,
    the secret does not decrypt. If the field can hide the secret, the secret is hidden. `is_canary`, and so
    `binding`, exist once a version was decrypted: only the ciphertext shows it.
    """

    #: The projection of a document for a fetch of the newest version.
    NEWEST: Mapping[str, Any] = {"older": 0, "held_reads": 0}

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.id = text(document.get("_id"))
        self.namespace = text(document.get("namespace", DEFAULT_NAMESPACE))
        self.newest = StoredVersion.of(
            document, created_at=document.get("updated_at") or document.get("created_at"), default_version=1
        )
        self.expires_at = _time(document.get("expires_at"))
        self.max_reads = _integer(document.get("max_reads"))
        self.name = _text(document.get("name"))
        self.use_rules = _rules(document.get("use_rules"))
        self.reads = _integer(document.get("reads"))
        self.deleted_at = _time(document.get("deleted_at"))
        self._is_well_formed = bool(self.id and self.namespace) and self._is_decoded(BOUND_FIELDS)
        self._states = _states(document.get("states", ()))
        self._is_hidden = (
            bool(document.get("pending")) or self._states is None or not self._is_decoded(STATE_FIELDS)
        )

    def _is_decoded(self, names: Sequence[str]) -> bool:
        """Return whether each of the optional fields is unset or has the right type."""
        return all(self._document.get(name) is getattr(self, name) for name in names)

    @property
    def is_leased(self) -> bool:
        """True if a request has a lease on the secret, or had one that it did not end."""
        return self._document.get("lease") is not None

    @property
    def unchanged(self) -> dict[str, Any]:
        """The condition that no request has changed the secret since it was read, or has leased it."""
        # An attacker may have stored what MongoDB would take for an operator.
        return {name: {"$eq": self._document.get(name)} for name in _CHANGED_FIELDS} | {"lease": None}

    @property
    def size(self) -> int:
        """The bytes of the whole document, if they were read."""
        return _integer(self._document.get("size")) or 0

    @property
    def version(self) -> int:
        """The number of the newest version."""
        return self.newest.version

    @property
    def created_at(self) -> datetime | None:
        """The time of the first version."""
        return _time(self._document.get("created_at"))

    @property
    def metadata_version(self) -> int:
        """The number of changes to attributes, write rules and expiry."""
        number = _integer(self._document.get("metadata_version")) or 0
        # An attacker may have stored a number that has no next one.
        return number if 0 <= number < _MAX_CHANGES else 0

    @property
    def rules(self) -> WriteRules:
        """The write rules."""
        return WriteRules.of_stored(self._document.get("rules"))

    @property
    def description(self) -> Description:
        """The values of its attributes."""
        decoded = {Form.TEXT: text, Form.PAIRS: _pairs}
        return Description.of(
            {one.name: decoded[one.form](self._document.get(one.name)) for one in ATTRIBUTES}
        )

    @property
    def older(self) -> list[StoredVersion]:
        """The older versions, newest first. An element that is not a document is ignored."""
        return [
            StoredVersion.of(fields, created_at=fields.get("created_at"))
            for fields in reversed(_list(self._document.get("older")))
            if isinstance(fields, dict)
        ]

    @property
    def versions(self) -> list[StoredVersion]:
        """All stored versions, newest first."""
        return [self.newest, *self.older]

    def stored(self, version: int | None) -> StoredVersion | None:
        """Return the newest, or the given, *version*; None if it is not stored."""
        if version is None:
            return self.newest
        return next((stored for stored in self.versions if stored.version == version), None)

    @property
    def purged_versions(self) -> list[int]:
        """The numbers of purged versions in ascending order."""
        numbers = map(_integer, _list(self._document.get("purged")))
        # An attacker may have stored those of versions that are yet to come.
        return sorted({number for number in numbers if number and 0 < number <= self.version})

    @property
    def states(self) -> Sequence[VersionInfo]:
        """The deleted and purged versions, without those that an earlier release purged."""
        return [state for state in (self._states or {}).values() if state.version <= self.version]

    @cached_property
    def infos(self) -> list[VersionInfo]:
        """All versions that are stored, or purged while those around them are kept, newest first."""
        states, purged = self._states or {}, self.purged_versions
        created = {stored.version: stored.created_at for stored in self.versions if stored.version > 0}
        gone = {number: states[number].created_at if number in states else None for number in purged}
        return [
            VersionInfo(
                version=number,
                created_at=created_at,
                deleted_at=states[number].deleted_at if number in states else None,
                is_purged=number in purged,
            )
            for number, created_at in sorted((gone | created).items(), reverse=True)
        ]

    def info(self, version: int) -> VersionInfo | None:
        """Return the *version* from `infos`; None if it is missing."""
        return next((info for info in self.infos if info.version == version), None)

    def is_readable(self, version: int, now: datetime) -> bool:
        """Return whether the *version*, which is stored, has a value and is not deleted."""
        # Most secrets have none of these fields.
        state = self._states.get(version) if self._states else None
        return version not in self.purged_versions and (state is None or state.is_readable(now))

    @property
    def reads_left(self) -> int | None:
        """The number of remaining reads; None without a read limit."""
        return None if self.max_reads is None else max(0, self.max_reads - (self.reads or 0))

    @property
    def held_tokens(self) -> Sequence[str]:
        """The tokens of all reserved reads, including expired ones."""
        held = _list(self._document.get("held_reads"))
        return texts([read.get("token") for read in held if isinstance(read, dict)])

    def is_expired(self, now: datetime) -> bool:
        """Return whether the secret has expired. MongoDB removes expired secrets only once a minute."""
        return self.expires_at is not None and self.expires_at <= now

    def is_visible(self, now: datetime) -> bool:
        """Return whether readers may know of the secret."""
        is_gone = self.deleted_at or self.is_expired(now) or self.reads_left == 0
        return not (self._is_hidden or is_gone)

    def is_restorable(self, now: datetime) -> bool:
        """Return whether the secret is deleted, and MongoDB may not remove it yet."""
        purge_at = _time(self._document.get("purge_at"))
        return self.deleted_at is not None and purge_at is not None and purge_at > now

    def decrypt(self, keyring: Keyring) -> bytes:
        """Return the plaintext of the newest version. Raises the errors of `decrypt_version`."""
        return self.decrypt_version(self.newest, keyring)

    def decrypt_version(self, stored: StoredVersion, keyring: Keyring) -> bytes:
        """Return the plaintext of one of this secret's versions.

        Raises:
            KeyMissingError: *keyring* lacks the master key of the version.
            DecryptionError: The document was changed since the service stored it.
        """
        plaintext, binding = decrypt(stored, lambda: self._bindings(stored), keyring)
        self.is_canary = binding.is_canary
        return plaintext

    def _bindings(self, stored: StoredVersion) -> Sequence[Binding]:
        """Return both bindings that *stored* can have, in a random order: the time must not show which."""
        if not (self._is_well_formed and stored.is_well_formed):
            raise DecryptionError
        first = bool(randbits(1))
        return [self._bound(stored.version, is_canary=flag) for flag in (first, not first)]


def _rules(value: object) -> UseRules | None:
    # None for an empty list: the service stores none.
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        return value
    return None


def _pairs(value: object) -> dict[str, str]:
    pairs = (label.partition("=") for label in texts(value))
    return {key: text for key, _, text in pairs}


def _number(value: object) -> int:
    """Return the number of a version, or one that none has. Before its first, a secret has version 0."""
    number = _integer(value)
    return -1 if number is None else number


def _states(value: object) -> dict[int, VersionInfo] | None:
    """Return the states of versions by their numbers; None if there is anything of another type."""
    if not isinstance(value, list | tuple) or not all(map(_is_state, value)):
        return None
    return {
        state["version"]: VersionInfo(
            version=state["version"], created_at=state["created_at"], deleted_at=state["deleted_at"]
        )
        for state in value
    }


def _is_state(value: object) -> bool:
    """Return whether *value* has what `VersionInfo.stored_state` returns; a later release may add to it."""
    if not isinstance(value, dict) or not value.keys() >= {"version", "created_at", "deleted_at"}:
        return False
    times = value["created_at"], value["deleted_at"]
    return _integer(value["version"]) is not None and all(time is None or _time(time) for time in times)


def _integer(value: object) -> int | None:
    # To Python, a bool is an integer. To MongoDB, it is greater than every number.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _binary(value: object) -> bytes:
    return value if isinstance(value, bytes) else b""


def _text(value: object) -> str | None:
    return value if is_text(value) else None


def _time(value: object) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else ()
