"""Reads and writes of secrets that wait at the same time share a round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

from vault.coalesce import Coalescer
from vault.documents.database import storage_errors
from vault.documents.secret import Secret


class Batches:
    """The round trips of one process."""

    def __init__(self) -> None:
        self._reads: Coalescer[str, Mapping[str, Any] | None] = Coalescer(_read)
        self._writes: Coalescer[Secret, None] = Coalescer(_insert)

    def find(self, secret_id: str) -> Secret | None:
        """Return a secret without its older versions.

        Raises:
            StorageUnavailableError: MongoDB is not there.
            OverloadedError: Too many are waiting.
        """
        document = self._reads.call(secret_id)
        # Each for itself: a document that somebody damaged is nobody else's failure.
        return None if document is None else Secret.of(document)

    def insert(self, secret: Secret) -> None:
        """Store a new secret that has no name.

        Raises:
            StorageUnavailableError: It may not have been stored.
            OverloadedError: Too many are waiting; it was not stored.
        """
        self._writes.call(secret)


def _read(secret_ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
    with storage_errors():
        found = Secret.raw().find({"_id": {"$in": list(secret_ids)}}, {"older": 0})
        documents = {document["_id"]: document for document in found}
    return [documents.get(secret_id) for secret_id in secret_ids]


def _insert(secrets: Sequence[Secret]) -> Sequence[None]:
    with storage_errors():
        Secret.objects.insert(list(secrets), load_bulk=False)
    return [None] * len(secrets)
