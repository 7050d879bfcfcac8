"""Reads and writes of secrets that wait at the same time share a round trip."""

from collections.abc import Mapping, Sequence
from typing import Any

from vault.coalesce import Coalescer
from vault.documents.readable import NewestVersion
from vault.documents.secret import Secret
from vault.documents.storage import storage_errors


class Batches:
    """The round trips of one process."""

    def __init__(self) -> None:
        self._reads: Coalescer[str, Mapping[str, Any] | None] = Coalescer(_read, queue="reads")
        self._writes: Coalescer[Secret, None] = Coalescer(_insert, queue="writes")

    def find(self, secret_id: str) -> NewestVersion | None:
        """Return a secret without its older versions.

        Raises:
            StorageUnavailableError: MongoDB is not there.
            OverloadedError: Too many are waiting.
        """
        document = self._reads.call(secret_id)
        return None if document is None else NewestVersion(document)

    def insert(self, secret: Secret) -> None:
        """Store a new secret that has no name.

        Raises:
            OverloadedError: Too many are waiting; it was not stored.
            StorageUnavailableError: It may not have been stored.
        """
        self._writes.call(secret)


def _read(secret_ids: Sequence[str]) -> Sequence[Mapping[str, Any] | None]:
    with storage_errors("find"):
        found = Secret.raw().find({"_id": {"$in": list(secret_ids)}}, NewestVersion.WITHOUT)
        documents = {document["_id"]: document for document in found}
    return [documents.get(secret_id) for secret_id in secret_ids]


def _insert(secrets: Sequence[Secret]) -> Sequence[None]:
    with storage_errors("insert"):
        Secret.objects.insert(list(secrets), load_bulk=False)
    return [None] * len(secrets)
