"""Secrets in MongoDB: the schema, and new secrets."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
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
from pymongo import DeleteOne, UpdateOne
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError

from vault.common.attributes import ATTRIBUTES, Description, Form
from vault.core.crypto import Keyring
from vault.core.documents.base import BaseDocument
from vault.core.documents.guard import best_effort_cleanup
from vault.core.documents.stored_secret import BoundFields, StoredSecret, UseRules
from vault.core.principal import DEFAULT_NAMESPACE

_DUPLICATE_KEY = 11_000


class SecretVersion(EmbeddedDocument):
    """The schema of an older version."""

    version = IntField(required=True)
    envelope = BinaryField(required=True)
    #: The hexadecimal ID of the envelope's master key.
    key_id = StringField(required=True)
    created_at = DateTimeField(required=True)

    meta = {"strict": False}  # noqa: RUF012 - MongoEngine's own form


class _Encryptable(BoundFields):
    """A secret that has its plaintext until it is encrypted, just before it is stored."""

    version: int
    envelope: bytes
    key_id: str

    is_canary = False
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
    use_rules: UseRules | None = None
    description: Description = field(default_factory=Description)
    pending: bool | None = None
    purge_at: datetime | None = None

    #: Part of the ciphertext's binding, and not of the document.
    is_canary: bool = False
    #: Set if a write may have stored it, or may still store it.
    may_be_stored: bool = field(default=False, init=False)
    #: Set before it is withdrawn: if a write still stores it, the writer removes it. Not with a name, by
    #: which others may have found it.
    is_abandoned: bool = field(default=False, init=False)

    @property
    def key(self) -> object:
        """What no other effect of the same commit may have."""
        return (self.namespace, self.name) if self.name is not None else self.id

    @property
    def size(self) -> int:
        """The bytes of the value, until it is encrypted."""
        return len(self._plaintext or b"")

    @property
    def query(self) -> dict[str, Any]:
        """What finds a document that is in its way."""
        return {"_id": self.id} if self.name is None else {"namespace": self.namespace, "name": self.name}

    def document(self) -> dict[str, Any]:
        """Return the document to store.

        Raises:
            AttributeError: The secret is not encrypted.
        """
        described = self.description.stored
        values = {
            name: described[name] if name in described else getattr(self, name) for name in DOCUMENT_FIELDS
        }
        return {"_id": self.id} | {name: value for name, value in values.items() if value is not None}


#: The fields of a new secret's document after its `_id`, in the order of `Secret`.
DOCUMENT_FIELDS = tuple(
    name
    for field_name in UnstoredSecret.__dataclass_fields__
    for name in (Description().stored if field_name == "description" else (field_name,))
    if name not in ("id", "is_canary", "may_be_stored", "is_abandoned")
)


@dataclass(kw_only=True, eq=False)
class SecretChange:
    """A change of a stored secret that meets a condition; it ends a lease on the secret."""

    key: str
    #: The condition, apart from the ID.
    condition: Mapping[str, Any] = field(repr=False)
    #: The fields to set, which are MongoDB expressions; None removes the secret with all its versions.
    fields: Mapping[str, Any] | None = field(repr=False)
    #: The bytes of the document, which MongoDB writes as a whole, and of a new value.
    size: int

    @property
    def query(self) -> dict[str, Any]:
        """What finds the secret while the change is possible."""
        return {"_id": self.key, **self.condition}

    def write(self) -> UpdateOne | DeleteOne:
        """Return the write."""
        if self.fields is None:
            return DeleteOne(self.query)
        return UpdateOne(self.query, [{"$set": self.fields}, {"$unset": "lease"}])


#: What the commit of its entry stores.
Effect = UnstoredSecret | SecretChange

_FIELDS = {Form.TEXT: StringField, Form.PAIRS: lambda: ListField(StringField(), default=None)}


class Secret(_Encryptable, BaseDocument):
    """The schema of a secret; `UnstoredSecret` is for new secrets, `StoredSecret` for reading.

    The newest version is in the document's own fields, the versions before it in `older`. The plaintext is
    never a field, so no code can write it. Updates by queryset (`Secret.objects.update`) send no signal and
    would bypass the hook that encrypts, so none may change the ciphertext. `apply_all` and
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
    #: The number of changes to attributes, write rules and expiry.
    metadata_version = IntField()
    #: As `WriteRules.stored` returns them.
    rules = DictField(default=None)
    expires_at = DateTimeField()
    max_reads = IntField()
    #: Reads so far, counted only with a read limit; see `vault.core.secrets.read_limits`.
    reads = IntField()
    #: The wrong passphrases for a shared value.
    tries = IntField()
    name = StringField()
    use_rules = ListField(DictField(), default=None)
    #: As `Description.stored` returns them.
    locals().update({one.name: _FIELDS[one.form]() for one in ATTRIBUTES})
    #: The time of deletion, if the secret can still be restored.
    deleted_at = DateTimeField()
    #: Set until the audit entry of a named secret is durable; no caller can find the secret until then.
    pending = BooleanField()
    #: The time from which MongoDB may remove the document.
    purge_at = DateTimeField()

    meta: ClassVar = {"collection": "secrets"}

    @classmethod
    def insert_all(cls, secrets: Sequence[UnstoredSecret], session: ClientSession | None = None) -> None:
        """Store all of the new *secrets*."""
        cls.insert(cls._documents(secrets), session)

    @classmethod
    def apply_all(cls, changes: Sequence[SecretChange], session: ClientSession | None = None) -> bool:
        """Make the *changes*, at least one; return whether each of them found its secret."""
        writes = [change.write() for change in changes]
        result = cls.raw().bulk_write(writes, ordered=False, session=session)
        return bool(result.matched_count + result.deleted_count == len(changes))

    @classmethod
    def found_keys(cls, effects: Sequence[Effect]) -> set[object]:
        """Return the keys of those of *effects*, at least one, whose query finds a document."""
        query = {"$or": [effect.query for effect in effects]}
        found = map(StoredSecret, cls.raw().find(query, {"namespace": 1, "name": 1}))
        return {key for one in found for key in (one.id, (one.namespace, one.name))}

    @classmethod
    def remove_abandoned(cls, secrets: Iterable[UnstoredSecret]) -> None:
        """Remove those of the new, stored *secrets* whose callers were cut off. Ignore errors."""
        if abandoned := [one.id for one in secrets if one.is_abandoned]:
            with best_effort_cleanup():
                cls.raw().bulk_write([DeleteOne({"_id": secret_id}) for secret_id in abandoned])

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
            # Made again after a timeout, some may be stored already.
            taken = [failure["index"] for failure in failures if "_id" not in failure.get("keyPattern", ())]
            return [secrets[index] for index in taken]
        return []

    @classmethod
    def _documents(cls, secrets: Sequence[UnstoredSecret]) -> list[dict[str, Any]]:
        """Return the documents to store, which `EncryptOnSave` encrypts when it receives the signal."""
        signals.pre_bulk_insert.send(cls, documents=secrets)
        return [secret.document() for secret in secrets]

    @classmethod
    def ids_of(cls, namespace: str | None, name: str | None) -> list[str]:
        """Return the IDs of the secrets that have *name* in *namespace*: one, or more if anyone adds some."""
        found = [one["_id"] for one in cls.raw().find({"namespace": namespace, "name": name}, {"_id": True})]
        return sorted(one for one in found if isinstance(one, str))

    @classmethod
    def find(cls, query: Mapping[str, Any], *, without: Sequence[str] = ()) -> StoredSecret | None:
        """Return the secret that *query* finds, less the fields in *without*.

        MongoEngine's queries are avoided: they take as much CPU time as the rest of a fetch.
        """
        document = cls.raw().find_one(query, dict.fromkeys(without, 0) or None)
        return StoredSecret(document) if document else None


class EncryptOnSave:
    """Encrypts every `Secret` on its way into MongoDB while it is connected.

    blinker keeps only a weak reference to a receiver: the caller of `connect` must keep this object.
    """

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def connect(self) -> None:
        """Start listening. `save()` and `objects.insert()` send different signals."""
        signals.pre_save.connect(self._on_save, sender=Secret)
        signals.pre_bulk_insert.connect(self._on_bulk_insert, sender=Secret)

    def disconnect(self) -> None:
        """Stop listening."""
        signals.pre_save.disconnect(self._on_save, sender=Secret)
        signals.pre_bulk_insert.disconnect(self._on_bulk_insert, sender=Secret)

    def _on_save(self, _sender: type[Secret], document: Secret, **_: Any) -> None:
        document.encrypt(self._keyring)

    def _on_bulk_insert(self, _sender: type[Secret], documents: Iterable[Secret], **_: Any) -> None:
        for document in documents:
            document.encrypt(self._keyring)
