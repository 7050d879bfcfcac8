"""Whether this process can do its work."""

from vault.documents import Database
from vault.errors import (
    AuditStateError,
    AuditUnavailableError,
    KeyMissingError,
    RestoreUnfinishedError,
    StorageUnavailableError,
)
from vault.operations.audit import AuditTrail, NoAuditTrail
from vault.operations.key_watch import KeyWatch

#: The checks by name, in their order; those after one that fails are not made.
CHECKS = ("mongodb", "restore", "keys", "audit")


class Health:
    """The checks behind readiness."""

    def __init__(self, database: Database, key_watch: KeyWatch, trail: AuditTrail | NoAuditTrail) -> None:
        self._database = database
        self._key_watch = key_watch
        self._trail = trail

    def failures(self) -> dict[str, list[str]]:
        """Return what keeps this process from serving, by the check's name; empty when it is ready."""
        try:
            self._database.ping()
            self._key_watch.require()
            self._trail.check()
        except StorageUnavailableError as error:
            return {"mongodb": [str(error)]}
        except RestoreUnfinishedError as error:
            return {"restore": [str(error)]}
        except KeyMissingError as error:
            return {"keys": [str(error)]}
        except (AuditStateError, AuditUnavailableError) as error:
            return {"audit": [str(error)]}
        return {}

    def reaches_mongodb(self) -> bool:
        """Return whether MongoDB's primary is known at this moment, without waiting for it."""
        return self._database.is_reachable()
