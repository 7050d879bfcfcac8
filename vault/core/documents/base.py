"""The base of stored documents, which alone reaches into MongoEngine, and the decryption of envelopes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeGuard, TypeVar

from mongoengine import Document
from pymongo.client_session import ClientSession

from vault.common.errors import DecryptionError, KeyMissingError
from vault.common.observability import metrics
from vault.core.crypto import Keyring
from vault.core.crypto.binding import Bound
from vault.core.crypto.envelope import key_id

_B = TypeVar("_B", bound=Bound)

#: The collection of idempotency keys, see `vault.core.secrets.idempotency`.
IDEMPOTENCY_COLLECTION = "idempotency_keys"

#: Seconds until MongoDB removes an idempotency key.
IDEMPOTENCY_SECONDS = 86_400


def is_in_replica_set(collection: Any) -> bool:
    """Return whether the driver has found a replica set, not a standalone server or a cluster."""
    known = collection.database.client.topology_description
    return bool(known.topology_type_name.startswith("ReplicaSet"))


class BaseDocument(Document):
    """A document with a collection of its own."""

    meta: ClassVar[dict[str, Any]] = {
        "abstract": True,
        # Database.prepare creates indexes once a process, not during a request.
        "auto_create_index": False,
        # During a rolling update an older replica reads fields that a newer one wrote.
        "strict": False,
    }

    @classmethod
    def raw(cls) -> Any:
        """Return the collection itself, for operations that MongoEngine does not offer."""
        return cls._get_collection()

    @classmethod
    def insert(cls, documents: Sequence[dict[str, Any]], session: ClientSession | None = None) -> None:
        """Store new *documents*, at least one, in order, until one fails."""
        if len(documents) == 1:
            # PyMongo's bulk write takes a tenth longer.
            cls.raw().insert_one(documents[0], session=session)
        else:
            cls.raw().insert_many(documents, session=session)

    @classmethod
    def collection_name(cls) -> str:
        """Return the name of the collection."""
        name: str = cls._get_collection_name()
        return name

    @classmethod
    def of_stored(cls, document: Mapping[str, Any]) -> Self:
        """Return the document that PyMongo read as *document*.

        MongoEngine's own queries cost as much processor time as all the rest of a fetch.
        """
        found: Self = cls._from_son(document)
        return found

    @classmethod
    def _from_son(cls, son: Mapping[str, Any], *arguments: Any, **options: Any) -> Any:
        """Read the fields of this class from a stored document.

        From others, MongoEngine takes the class of the document (`_cls`), or arguments (`_created`).
        """
        fields = cls._reverse_db_field_map
        found = super()._from_son(
            {name: value for name, value in son.items() if name in fields}, *arguments, **options
        )
        found.remember_types(son)
        return found

    def remember_types(self, document: Mapping[str, Any]) -> None:
        """Take note of the types in the stored *document*, which MongoEngine converts."""


def is_text(value: object) -> TypeGuard[str]:
    """Return whether the stored *value* is a text. BSON's code is another str, which has no hash."""
    return type(value) is str


def text(value: object) -> str:
    """Return *value* if it is a text, else an empty one."""
    return value if is_text(value) else ""


def texts(value: object) -> Sequence[str]:
    """Return the texts in *value* if it is a list, else nothing."""
    return [element for element in value if is_text(element)] if isinstance(value, list) else []


class StoredEnvelope(Protocol):
    """A stored envelope, and the ID of the master key that it names."""

    envelope: bytes
    key_id: str


def decrypt(
    stored: StoredEnvelope, bindings: Callable[[], Sequence[_B]], keyring: Keyring
) -> tuple[bytes, _B]:
    """Return the plaintext of *stored*, and the one of *bindings* that it has; count a failure by its reason.

    Anyone who can write to the database can store any type in any field, those of the *bindings* included.

    Raises:
        KeyMissingError: *stored* needs a master key that *keyring* does not have.
        DecryptionError: The document is not as it was saved.
    """
    try:
        return _decrypted(stored, bindings, keyring)
    except KeyMissingError:
        metrics.UNKNOWN_KEY.inc()
        raise
    except (AttributeError, DecryptionError, OverflowError, TypeError):
        # All except DecryptionError come from a field of a wrong type.
        metrics.DOES_NOT_VERIFY.inc()
        raise DecryptionError from None


def _decrypted(
    stored: StoredEnvelope, bindings: Callable[[], Sequence[_B]], keyring: Keyring
) -> tuple[bytes, _B]:
    if not stored.key_id or not isinstance(stored.key_id, str):
        raise DecryptionError
    if stored.key_id not in keyring:
        raise KeyMissingError
    # A wrong key ID would hide the value from a rewrap, and dropping its real key would lose it.
    if key_id(stored.envelope) != stored.key_id:
        raise DecryptionError
    return keyring.decrypt(stored.envelope, bindings())
