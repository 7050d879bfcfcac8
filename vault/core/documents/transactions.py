"""Transactions that block writes: those of processes that have died."""

import logging
from collections.abc import Callable
from typing import TypeVar

from pymongo import timeout
from pymongo.errors import PyMongoError

from vault.core.documents.audit import AuditEntry

logger = logging.getLogger(__name__)

#: Seconds after which a write is blocked: transactions take milliseconds.
_BLOCKED_SECONDS = 1

#: The time without any command after which the process of a transaction is dead. If it only stood still, its
#: driver repeats the transaction.
_DEAD_MICROSECONDS = 500_000

Written = TypeVar("Written")


def unblocked(write: Callable[[], Written]) -> Written:
    """Return what *write* returns. If that takes a second, end transactions of dead processes; repeat it.

    MongoDB itself ends them after a minute.
    """
    try:
        with timeout(_BLOCKED_SECONDS):
            return write()
    except PyMongoError as error:
        if not error.timeout:
            raise
    # Without a primary, this waits for one.
    _end_dead()
    return write()


def _end_dead() -> None:
    """End the service's idle transactions of this user: of its own sessions, a user needs no privilege."""
    admin = AuditEntry.raw().database.client.admin
    is_dead = {
        "type": "idleSession",
        "appName": "secret-manager",
        "transaction.timeInactiveMicros": {"$gte": _DEAD_MICROSECONDS},
    }
    found = admin.aggregate([{"$currentOp": {"idleSessions": True}}, {"$match": is_dead}])
    if sessions := [{"id": one["lsid"]["id"]} for one in found]:
        admin.command("killSessions", sessions)
        logger.warning("ended transactions of dead processes, %d: they blocked a write", len(sessions))
