"""What stored documents have in common."""

from typing import Any, ClassVar

from mongoengine import Document

#: The collection of idempotency keys, see `vault.secrets.idempotency`.
IDEMPOTENCY_COLLECTION = "idempotency_keys"

#: Seconds until MongoDB removes an idempotency key.
IDEMPOTENCY_SECONDS = 86_400


class BaseDocument(Document):
    """A document of a collection of its own."""

    meta: ClassVar[dict[str, Any]] = {
        "abstract": True,
        # Indexes are made once a process by Database.prepare, not on the way of a request.
        "auto_create_index": False,
        # During a rolling update an older replica meets fields that a newer one wrote.
        "strict": False,
    }

    @classmethod
    def raw(cls) -> Any:
        """Return the collection itself, for what MongoEngine has no words for."""
        return cls._get_collection()
