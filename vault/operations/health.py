"""Whether this process can do its work."""

from vault.documents import Database
from vault.errors import KeyMissingError, StorageUnavailableError
from vault.operations.key_watch import KeyWatch


class Health:
    """The checks behind readiness."""

    def __init__(self, database: Database, key_watch: KeyWatch) -> None:
        self._database = database
        self._key_watch = key_watch

    def failures(self) -> dict[str, list[str]]:
        """Return what keeps this process from serving, by the check's name; empty when it is ready."""
        try:
            self._database.ping()
            self._key_watch.require()
        except StorageUnavailableError as error:
            return {"mongodb": [str(error)]}
        except KeyMissingError as error:
            return {"keys": [str(error)]}
        return {}
