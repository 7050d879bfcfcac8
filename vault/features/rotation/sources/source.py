"""The interface of sources: servers that store the passwords of users."""

from abc import abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from enum import StrEnum
from typing import Any, Protocol

from vault.features.rotation.sources.errors import WrongPasswordError


class SourceKind(StrEnum):
    """A kind of sources."""

    POSTGRESQL = "postgresql"
    MYSQL = "mysql"
    MONGODB = "mongodb"
    REDIS = "redis"
    COMMAND = "command"


#: A function that a source calls between the connection and the change: what it raises prevents the change.
Confirm = Callable[[], object]


def unconditionally() -> None:
    """Confirm every change."""


class Source(Protocol):
    """A server with its administrator. Each method makes a connection, and raises `SourceError`."""

    def set_password(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """Give an existing user this password, and no other one. It also raises what *confirm* raises."""

    def login(self, user: str, password: str) -> bool:
        """Return whether the user can log in with this password."""

    def close(self, user: str, password: str, confirm: Confirm = unconditionally) -> None:
        """As `set_password`, with a password that no one knows."""
        self.set_password(user, password, confirm)


class Server(Source):
    """A source that a driver connects to."""

    def login(self, user: str, password: str) -> bool:
        """As `Source`."""
        try:
            with self._connected({"user": user, "password": password}):
                return True
        except WrongPasswordError:
            return False

    @abstractmethod
    def _connected(self, credential: dict[str, str]) -> AbstractContextManager[Any]:
        """Connect with a *credential*, or as the administrator; raises `SourceError`."""
