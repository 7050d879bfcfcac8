"""The sole right to change a secret, for a few seconds."""

from collections.abc import Mapping
from secrets import token_hex
from typing import Any

from pymongo import ReturnDocument

from vault.core.errors import SecretBusyError
from vault.core.retry import attempts
from vault.documents.secret import Secret

#: Milliseconds, by MongoDB's clock, after which a lease that was not ended ends by itself. Longer than its
#: holder can wait for MongoDB's answer and for the entry that it writes meanwhile.
LEASE_MILLISECONDS = 30_000


class Lease:
    """Between reading a secret and changing it nobody else changes it.

    So the audit entry of a change, which has to be there before the change, tells what will happen.
    """

    def __init__(self, secret: Secret, token: str) -> None:
        #: As it is now, without its older versions.
        self.secret = secret
        self._mine = {"_id": secret.id, "lease.token": token}

    @classmethod
    def take(cls, secret_id: str) -> "Lease | None":
        """Return the lease of a secret; None if there is no such secret.

        Raises:
            SecretBusyError: Others held it all the time.
        """
        token = token_hex(16)
        free = {"$or": [{"lease": None}, {"$expr": {"$lte": ["$lease.until", "$$NOW"]}}]}
        # An expression: a plain document would be set into each element of what is not one.
        lease = {"$mergeObjects": [{"token": token, "until": {"$add": ["$$NOW", LEASE_MILLISECONDS]}}]}
        for _ in attempts():
            document = Secret.raw().find_one_and_update(
                {"_id": secret_id, **free},
                [{"$set": {"lease": lease}}],
                # Up to 15 MB that nobody needs here: changes move them inside MongoDB.
                projection={"older": 0},
                return_document=ReturnDocument.AFTER,
            )
            if document:
                return cls(Secret.of_stored(document), token)
            if not Secret.raw().find_one({"_id": secret_id}, {"_id": 1}):
                return None
        raise SecretBusyError

    def older_versions(self) -> list[object]:
        """Return the numbers of the older versions; without what `Secret` never puts there.

        Raises:
            SecretBusyError: The lease had ended.
        """
        document = Secret.raw().find_one(self._mine, {"older.version": 1})
        if document is None:
            raise SecretBusyError
        older = document.get("older")
        elements = older if isinstance(older, list) else ()
        return [stored.get("version") for stored in elements if isinstance(stored, dict)]

    def apply(self, change: Mapping[str, Any]) -> None:
        """Set the fields of *change*, expressions of MongoDB's, and end the lease.

        Raises:
            SecretBusyError: The lease had ended, so nothing was changed.
        """
        result = Secret.raw().update_one(self._mine, [{"$set": change}, {"$unset": "lease"}])
        if not result.matched_count:
            raise SecretBusyError

    def remove(self) -> None:
        """Remove the secret with all its versions.

        Raises:
            SecretBusyError: The lease had ended, so nothing was removed.
        """
        if not Secret.raw().delete_one(self._mine).deleted_count:
            raise SecretBusyError

    def end(self) -> None:
        """End it, if it has not ended yet, and change nothing."""
        Secret.raw().update_one(self._mine, {"$unset": {"lease": ""}})
