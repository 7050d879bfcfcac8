"""Entries of commands: what a test needs to make one succeed and fail."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

from vault.common.outcomes import Exit


class Needs(Enum):
    """The dependencies of a command, and so its possible failures."""

    NOTHING = auto()
    #: MongoDB, and the master key.
    MONGODB = auto()
    #: A server that checks a credential.
    SERVICE = auto()
    #: A server that is asked without a credential.
    PROBED = auto()
    #: A Docker Engine in swarm mode, and the service.
    ENGINE = auto()
    #: MongoDB, and what only tests of its feature have; those have its failures.
    OWN = auto()
    #: It is a server, which runs until it is stopped.
    SERVING = auto()


@dataclass(frozen=True, slots=True)
class Entry:
    """A command: valid arguments of it, and what it needs."""

    needs: Needs
    #: Valid arguments. Files are in the working folder; `SERVER` is the address of the server that it needs.
    arguments: tuple[str, ...] = ()
    #: More arguments for an attempt without the server, which must not wait for it.
    impatient: tuple[str, ...] = ()
    #: It writes to the database, so it refuses a master key that is not the database's.
    writes: bool = False
    #: The database that it needs is empty.
    into_empty: bool = False
    #: Tests of its own ask it for JSON.
    own_test: bool = False

    @property
    def away(self) -> Exit | None:
        """The exit code without the server that it needs; None if it needs none."""
        return None if self.needs in (Needs.NOTHING, Needs.SERVING) else Exit.UNAVAILABLE

    @property
    def denied(self) -> Exit | None:
        """The exit code without permission; None if it needs none."""
        return Exit.DENIED if self.needs in (Needs.MONGODB, Needs.SERVICE, Needs.OWN) else None


def of_mongodb(*arguments: str, **more: Any) -> Entry:
    """Return the entry of a command that needs MongoDB."""
    return Entry(Needs.MONGODB, arguments, **more)
