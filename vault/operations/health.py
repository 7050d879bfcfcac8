"""Whether this process can do its work."""

from vault.documents import Database
from vault.errors import StorageUnavailableError


class Health:
    """The checks behind readiness."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def failures(self) -> dict[str, list[str]]:
        """Return what keeps this process from serving, by the check's name; empty when it is ready."""
        try:
            self._database.prepare()
            self._database.ping()
        except StorageUnavailableError as error:
            return {"mongodb": [str(error)]}
        return {}
