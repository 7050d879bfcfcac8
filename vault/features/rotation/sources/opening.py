"""Sources of each kind, by the value of their administrator's secret."""

from collections.abc import Callable
from importlib.util import find_spec
from pkgutil import resolve_name

from vault.common.errors import VaultError
from vault.common.timed_call import CallTimeoutError, Result, call_within
from vault.features.rotation.errors import RotationRefusedError
from vault.features.rotation.sources.command import Command
from vault.features.rotation.sources.errors import LostError, SourceError, SourceUnavailableError
from vault.features.rotation.sources.source import Confirm, Source, SourceKind, unconditionally

#: The classes of servers, each after the package of the extra `rotation` that it needs. Loaded when needed.
_SERVERS = {
    SourceKind.POSTGRESQL: ("psycopg", "postgresql:PostgreSQL"),
    SourceKind.MYSQL: ("pymysql", "mysql:MySQL"),
    SourceKind.MONGODB: ("pymongo", "mongodb:MongoDB"),
    SourceKind.REDIS: ("redis", "redis:Redis"),
}


def open_source(kind: SourceKind, admin: str, *, seconds: int, commands: tuple[str, ...]) -> Source:
    """Return the source of *kind* with this value of the administrator's secret.

    Operations take at most *seconds*. *commands* are the programs that may be a source.

    Raises:
        RotationRefusedError: Its driver is missing, or the program is not one of *commands*.
        SourceRefusedError: *admin* is not valid.
    """
    if kind == SourceKind.COMMAND:
        # It has a timeout of its own.
        return Command(admin, seconds, commands)
    driver, name = _SERVERS[kind]
    if find_spec(driver) is None:
        raise RotationRefusedError(
            f"The service cannot connect to {kind}: install the extra `rotation` of its package."
        )
    return Timed(resolve_name(f"vault.features.rotation.sources.{name}")(admin, seconds), seconds)


class Timed(Source):
    """A source whose operations end in time, also if its driver waits for longer."""

    def __init__(self, source: Source, seconds: int) -> None:
        self._source = source
        self._seconds = seconds

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `Source`."""
        self._within(lambda: self._source.set_password(user, password, confirm))

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        return self._within(lambda: self._source.login(user, password))

    def _within(self, operation: Callable[[], Result]) -> Result:
        # A driver's own timeouts are for each wait, which a server can end byte by byte.
        try:
            return call_within(self._seconds, operation, is_ended=True)
        except (LostError, SourceError, VaultError):
            raise
        except CallTimeoutError:
            reason = f"the source does not answer within {self._seconds} s"
        except Exception as error:  # noqa: BLE001 - its text could contain a password
            reason = f"the driver failed: {type(error).__name__}"
        raise SourceUnavailableError(reason)
