"""Common parts of stored documents: their base class, and the decryption of their envelopes."""

from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from mongoengine import Document

from vault.core.errors import DecryptionError, KeyMissingError
from vault.crypto import Keyring
from vault.crypto.binding import Bound
from vault.crypto.envelope import key_id
from vault.observability import metrics

#: The collection of idempotency keys, see `vault.secrets.idempotency`.
IDEMPOTENCY_COLLECTION = "idempotency_keys"

#: Seconds until MongoDB removes an idempotency key.
IDEMPOTENCY_SECONDS = 86_400


class BaseDocument(Document):
    """A document of a collection of its own."""

    meta: ClassVar[dict[str, Any]] = {
        "abstract": True,
        # Database.prepare creates the indexes, once per process: no request waits for that.
        "auto_create_index": False,
        # During a rolling update an older replica reads fields that a newer one wrote.
        "strict": False,
    }

    @classmethod
    def raw(cls) -> Any:
        """Return the PyMongo collection, for atomic changes that MongoEngine cannot express."""
        return cls._get_collection()


class StoredEnvelope(Protocol):
    """A stored envelope, and the ID of the master key that it names."""

    envelope: bytes
    key_id: str


def decrypt(stored: StoredEnvelope, binding: Callable[[], Bound], keyring: Keyring) -> bytes:
    """Return the plaintext of *stored*, and count a failure by its reason.

    Anyone who can write to the database can store any type in any field, those of the *binding* included.

    Raises:
        KeyMissingError: *stored* needs a master key that *keyring* does not have.
        DecryptionError: The document is not as it was saved.
    """
    try:
        return _decrypted(stored, binding, keyring)
    except KeyMissingError:
        metrics.UNKNOWN_KEY.inc()
        raise
    except (AttributeError, DecryptionError, OverflowError, TypeError):
        # All except DecryptionError come from a field of a wrong type.
        metrics.DOES_NOT_VERIFY.inc()
        raise DecryptionError from None


def _decrypted(stored: StoredEnvelope, binding: Callable[[], Bound], keyring: Keyring) -> bytes:
    if not isinstance(stored.key_id, str):
        raise DecryptionError
    if stored.key_id not in keyring:
        raise KeyMissingError
    # A wrong key ID would hide the value from a rewrap, and dropping its real key would lose it.
    if key_id(stored.envelope) != stored.key_id:
        raise DecryptionError
    return keyring.decrypt(stored.envelope, binding())
