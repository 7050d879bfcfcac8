"""Secrets in MongoDB: the schema for writes, and one decoder for stored documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from mongoengine import (
    BinaryField,
    BooleanField,
    DateTimeField,
    DictField,
    EmbeddedDocument,
    EmbeddedDocumentField,
    IntField,
    ListField,
    StringField,
    signals,
)
from pymongo.errors import BulkWriteError

from vault.core.errors import DecryptionError
from vault.core.principal import DEFAULT_NAMESPACE
from vault.crypto import Binding, Keyring
from vault.crypto.envelope import OVERHEAD as ENVELOPE_OVERHEAD
from vault.documents.base import BaseDocument, decrypt, is_text
from vault.documents.write_rules import WriteRules

#: MongoDB's condition for a secret that has reached its read limit.
IS_USED_UP = {"$and": [{"$gt": ["$max_reads", None]}, {"$gte": ["$reads", "$max_reads"]}]}


def purge_at(expiry: object) -> dict[str, Any]:
    """Return MongoDB's expression for the purge time of a secret with this *expiry*.

    If a read in progress was the last one, it has set the time.
    """
    return {"$cond": [IS_USED_UP, "$purge_at", expiry]}


#: MongoDB's expression for the purge time of a secret that keeps its expiry.
PURGE_AT_EXPIRY = purge_at({"$ifNull": ["$expires_at", "$$REMOVE"]})

_DUPLICATE_KEY = 11_000

#: More than a secret can have changes.
_MAX_CHANGES = 2**53

#: Optional fields that the ciphertext is bound to.
_BOUND_FIELDS = ("expires_at", "max_reads", "name")

#: Optional fields that can hide a secret from readers. The ciphertext is not bound to them.
_STATE_FIELDS = ("reads", "deleted_at")

#: The fields that a fetch reads, without the envelopes.
_FETCHED_FIELDS = (
    *("namespace", "version", "key_id", "pending", "states", "purged"),
    *_BOUND_FIELDS,
    *_STATE_FIELDS,
)


class _Bound:
    """Fields that the ciphertext is bound to."""

    id: str
    namespace: str
    expires_at: datetime | None
    max_reads: int | None
    name: str | None

    def binding(self, version: int) -> Binding:
        """Return the binding of the ciphertext of *version*."""
        return Binding(
            secret_id=self.id,
            version=version,
            namespace=self.namespace,
            expires_at=self.expires_at,
            max_reads=self.max_reads,
            name=self.name,
        )


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


class StoredSecret(_Bound):
    """A secret, decoded from its document in MongoDB.

    Anyone with write access to MongoDB can store a field of another type. This class alone handles that: such
    a field reads as unset, so every attribute has its declared type. If the ciphertext is bound to the field,
    the secret does not decrypt. If the field can hide the secret, the secret is hidden.
    """

    #: The projection of a document for a fetch of the newest version.
    NEWEST: Mapping[str, Any] = {"older": 0, "labels": 0, "held_reads": 0}

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
        self.reads = _integer(document.get("reads"))
        self.deleted_at = _time(document.get("deleted_at"))
        self._is_well_formed = bool(self.id and self.namespace) and self._is_decoded(_BOUND_FIELDS)
        self._states = _states(document.get("states", ()))
        self._is_hidden = (
            bool(document.get("pending")) or self._states is None or not self._is_decoded(_STATE_FIELDS)
        )

    def _is_decoded(self, names: Sequence[str]) -> bool:
        """Return whether each of the optional fields is unset or has the right type."""
        return all(self._document.get(name) is getattr(self, name) for name in names)

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
        """The number of changes to labels, write rules and expiry."""
        number = _integer(self._document.get("metadata_version")) or 0
        # An attacker may have stored a number that has no next one.
        return number if 0 <= number < _MAX_CHANGES else 0

    @property
    def rules(self) -> WriteRules:
        """The write rules."""
        return WriteRules.of_stored(self._document.get("rules"))

    @property
    def labels(self) -> dict[str, str]:
        """The labels, by their keys."""
        pairs = (label.partition("=") for label in texts(self._document.get("labels")))
        return {key: value for key, _, value in pairs}

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
        return decrypt(stored, lambda: self._checked_binding(stored), keyring)

    def _checked_binding(self, stored: StoredVersion) -> Binding:
        if not (self._is_well_formed and stored.is_well_formed):
            raise DecryptionError
        return self.binding(stored.version)


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


def text(value: object) -> str:
    """Return *value* if it is a text, else an empty one."""
    return value if is_text(value) else ""


def texts(value: object) -> Sequence[str]:
    """Return the texts in *value* if it is a list, else nothing."""
    return [element for element in _list(value) if is_text(element)]


def has_readable_newest(now: datetime) -> dict[str, Any]:
    """Return the condition for secrets whose newest version is readable: the twin of `is_readable`.

    It ignores fields of other types, which an attacker may have stored.
    """
    version = {"$ifNull": ["$version", 1]}
    is_deleted = [
        {"$eq": ["$$this.version", version]},
        {"$gt": ["$$this.deleted_at", None]},
        {"$lte": ["$$this.deleted_at", now]},
    ]
    deleted = {"$filter": {"input": _listed("$states"), "cond": {"$and": is_deleted}}}
    is_purged = {"$in": [version, _listed("$purged")]}
    return {"$expr": {"$and": [{"$ne": [version, 0]}, {"$eq": [deleted, []]}, {"$not": [is_purged]}]}}


def _listed(field: str) -> dict[str, Any]:
    """Return the expression for a list in a *field*; empty if an attacker has stored another type."""
    return {"$cond": [{"$isArray": field}, field, []]}


#: A secret's ID or name, and the number of a version, or None for the newest.
Asked = tuple[str, int | None]


def bounded_fetch(
    max_bytes: int, *, by_id: Sequence[Asked] = (), by_name: Sequence[Asked] = ()
) -> dict[str, Any]:
    """Return the projection of documents for fetches, which withholds larger plaintexts than *max_bytes*.

    Only the versions that are asked for are read.
    """
    fetched: dict[str, Any] = dict.fromkeys(_FETCHED_FIELDS, 1)
    if not any(version for _, version in (*by_id, *by_name)):
        return fetched | _bounded("$envelope", max_bytes)
    asked = {"$_id": list(map(list, by_id)), "$name": list(map(list, by_name))}
    # An attacker may have stored something else than a version there.
    is_asked_version = {"$and": [{"$isNumber": "$$this.version"}, _is_asked(asked, "$$this.version")]}
    older = {"$filter": {"input": _listed("$older"), "cond": is_asked_version}}
    bounded = {"$mergeObjects": ["$$this", _bounded("$$this.envelope", max_bytes)]}
    fetched["older"] = {"$map": {"input": older, "as": "this", "in": bounded}}
    is_asked = {"$or": [_is_asked(asked, {"$ifNull": ["$version", 1]}), _is_asked(asked, None)]}
    return fetched | _bounded("$envelope", max_bytes, is_asked)


def _is_asked(asked: Mapping[str, Sequence[object]], version: object) -> dict[str, Any]:
    """Return the condition for a *version* of a document that is *asked* for by one of its fields."""
    return {"$or": [{"$in": [[field, version], pairs]} for field, pairs in asked.items()]}


def _bounded(envelope: str, max_bytes: int, is_asked: object = True) -> dict[str, Any]:
    """Return the fields for an *envelope*, whose plaintext is withheld if it is larger than *max_bytes*."""
    # An attacker may have stored another type.
    is_binary = {"$eq": [{"$type": envelope}, "binData"]}
    size = {"$cond": [is_binary, {"$binarySize": envelope}, 0]}
    is_large = {"$gt": [size, max_bytes + ENVELOPE_OVERHEAD]}
    is_read = {"$and": [is_asked, is_binary, {"$not": [is_large]}]}
    return {"envelope": {"$cond": [is_read, envelope, None]}, "withheld": is_large}


class SecretVersion(EmbeddedDocument):
    """The schema of an older version."""

    version = IntField(required=True)
    envelope = BinaryField(required=True)
    #: The hexadecimal ID of the envelope's master key.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)

    meta = {"strict": False}  # noqa: RUF012 - MongoEngine's own form


class _Encryptable(_Bound):
    """A secret that has its plaintext until it is encrypted, just before it is stored."""

    version: int
    envelope: bytes
    key_id: str

    _plaintext: bytes | None = None

    def set_plaintext(self, plaintext: bytes) -> None:
        """Keep *plaintext* until the document is saved, which encrypts it."""
        self._plaintext = plaintext

    def encrypt(self, keyring: Keyring) -> None:
        """Encrypt the plaintext into the envelope, and drop it; do nothing without one."""
        if self._plaintext is not None:
            self.envelope = keyring.encrypt(self._plaintext, self.binding(self.version))
            self.key_id = keyring.primary.id
            self._plaintext = None


@dataclass(kw_only=True, eq=False, repr=False)
class UnstoredSecret(_Encryptable):
    """A new secret. Its fields are those of `Secret`, and None stands for a missing one.

    `Secret` itself would take a fifth of a create: it converts each value, on the way in and again on the way
    out. The values of a new secret have the right types.
    """

    id: str
    namespace: str = DEFAULT_NAMESPACE
    version: int = 1
    envelope: bytes = field(init=False)
    key_id: str = field(init=False)
    created_at: datetime
    updated_at: datetime | None = None
    #: As `StoredVersion` reads them.
    older: Sequence[Mapping[str, Any]] | None = None
    purged: Sequence[int] | None = None
    states: Sequence[Mapping[str, Any]] | None = None
    metadata_version: int | None = None
    rules: Mapping[str, Any] | None = None
    expires_at: datetime | None = None
    max_reads: int | None = None
    name: str | None = None
    labels: Sequence[str] | None = None
    pending: bool | None = None
    purge_at: datetime | None = None

    #: Set before the first write.
    may_be_stored: bool = field(default=False, init=False)

    def document(self) -> dict[str, Any]:
        """Return the document to store.

        Raises:
            AttributeError: The secret is not encrypted.
        """
        values = {name: getattr(self, name) for name in _DOCUMENT_FIELDS}
        return {"_id": self.id} | {name: value for name, value in values.items() if value is not None}


#: The fields of a new secret's document after its `_id`, in the order of `Secret`.
_DOCUMENT_FIELDS = tuple(
    name for name in UnstoredSecret.__dataclass_fields__ if name not in ("id", "may_be_stored")
)


class Secret(_Encryptable, BaseDocument):
    """The schema of a secret; `UnstoredSecret` is for new secrets, `StoredSecret` for reading.

    The newest version is in the document's own fields, the versions before it in `older`. The plaintext is
    never a field, so no code can write it. Updates by queryset (`Secret.objects.update`) send no signal and
    would bypass the hook that encrypts, so none may change the ciphertext. `Lease.apply` and
    `rewrap.write_rewrapped` change it, and their callers pass encrypted values.
    """

    id = StringField(primary_key=True)
    namespace = StringField(required=True, default=DEFAULT_NAMESPACE)
    version = IntField(required=True, default=1)
    envelope = BinaryField(required=True)
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)
    #: The time of the newest version; missing while that is the first.
    updated_at = DateTimeField()
    older = ListField(EmbeddedDocumentField(SecretVersion), default=None)
    #: Numbers of purged versions, while the versions around them are kept. If the newest is purged, its
    #: envelope is that of an empty value, which no other version has: one always verifies.
    purged = ListField(IntField(), default=None)
    #: Deleted and purged versions, as `VersionInfo.stored_state` returns them.
    states = ListField(DictField(), default=None)
    #: The number of changes to labels, write rules and expiry.
    metadata_version = IntField()
    #: As `WriteRules.stored` returns them.
    rules = DictField(default=None)
    expires_at = DateTimeField()
    max_reads = IntField()
    #: Reads so far, counted only with a read limit; see `vault.secrets.read_limits`.
    reads = IntField()
    name = StringField()
    #: Each has the form `key=value`.
    labels = ListField(StringField(), default=None)
    #: The time of deletion, if the secret can still be restored.
    deleted_at = DateTimeField()
    #: Set until the audit entry of a named secret is durable; no caller can find the secret until then.
    pending = BooleanField()
    #: The time from which MongoDB may remove the document.
    purge_at = DateTimeField()

    meta: ClassVar = {"collection": "secrets"}

    @classmethod
    def insert_all(cls, secrets: Sequence[UnstoredSecret]) -> None:
        """Store all of the new *secrets*."""
        cls.insert(cls._documents(secrets))

    @classmethod
    def insert_each(cls, secrets: Sequence[UnstoredSecret]) -> list[UnstoredSecret]:
        """Store each of the new *secrets*, even if others fail; return those whose names are not free."""
        try:
            cls.raw().insert_many(cls._documents(secrets), ordered=False)
        except BulkWriteError as error:
            failures = error.details["writeErrors"]
            is_other = any(failure["code"] != _DUPLICATE_KEY for failure in failures)
            if is_other or error.details["writeConcernErrors"]:
                raise
            return [secrets[failure["index"]] for failure in failures]
        return []

    @classmethod
    def _documents(cls, secrets: Sequence[UnstoredSecret]) -> list[dict[str, Any]]:
        """Return the documents to store, which `EncryptOnSave` encrypts when it receives the signal."""
        signals.pre_bulk_insert.send(cls, documents=secrets)
        return [secret.document() for secret in secrets]

    @classmethod
    def find(cls, query: Mapping[str, Any], *, without: Sequence[str] = ()) -> StoredSecret | None:
        """Return the secret that *query* finds, less the fields in *without*.

        MongoEngine's queries are avoided: they take as much CPU time as the rest of a fetch.
        """
        document = cls.raw().find_one(query, dict.fromkeys(without, 0) or None)
        return StoredSecret(document) if document else None
