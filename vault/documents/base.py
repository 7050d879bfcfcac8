"""The base of stored documents, and the only module that reaches into MongoEngine."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from mongoengine import Document

#: The collection of idempotency keys, see `vault.secrets.idempotency`.
IDEMPOTENCY_COLLECTION = "idempotency_keys"

#: Seconds until MongoDB removes an idempotency key.
IDEMPOTENCY_SECONDS = 86_400


class BaseDocument(Document):
    """A document with a collection of its own."""

    meta: ClassVar[dict[str, Any]] = {
        "abstract": True,
        # Database.prepare creates indexes once a process, not during a request.
        "auto_create_index": False,
        # During a rolling update an older replica meets fields that a newer one wrote.
        "strict": False,
    }

    @classmethod
    def raw(cls) -> Any:
        """Return the collection itself, for operations that MongoEngine does not offer."""
        return cls._get_collection()

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
