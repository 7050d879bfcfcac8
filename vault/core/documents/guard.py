"""Guarded MongoDB operations: their timeout, and their failures as the service's own errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from time import monotonic
from types import TracebackType

import mongoengine
from mongoengine.errors import OperationError
from pymongo import timeout
from pymongo.errors import BulkWriteError, ConnectionFailure, OperationFailure, PyMongoError

from vault.common import deadline
from vault.common.errors import StorageUnavailableError
from vault.common.observability import metrics
from vault.core.documents import outage
from vault.core.documents.members import short_text

logger = logging.getLogger(__name__)

#: Timeout of one operation, including its retries and the selection of a server.
OPERATION_TIMEOUT_SECONDS = 3

#: MongoDB's error codes for what a user may not do, and for a wrong user or password.
_NOT_ALLOWED, _NOT_AUTHENTICATED = 13, 18
_DENIED = {
    _NOT_ALLOWED: "MongoDB does not allow this to the user in MONGO_URI",
    _NOT_AUTHENTICATED: "MongoDB refuses the user or the password in MONGO_URI",
}
_NO_USER = "MongoDB requires a user, and MONGO_URI has none"
#: The end of the text about a command without a user.
_ANONYMOUS = " requires authentication"
#: The text of a failed connection whose user MongoDB refuses.
_REFUSED_USER = "Authentication failed."

_NO_TIMEOUT = nullcontext()

# Cached: creating a labelled metric takes longer than using it.
_times = cache(metrics.MONGODB.labels)


def storage_errors(command: str = "other", *, is_logged: bool = True) -> "_Guarded":
    """Turn every error of MongoDB's drivers in the block into `StorageUnavailableError`, with a log line.

    Without the line if *is_logged* is false: then the caller reports the error.

    In a long outage the block does not run. It gets the remaining time of the request if that is less than
    the timeout of an operation. Its duration is measured, under the name of the MongoDB *command* if the
    block is a single one. A listener of PyMongo would cost 17 µs a command, and miss an unavailable MongoDB.

    For a connection failure the log has the text, which names hosts; for other failures only type and code,
    because their texts can quote documents.
    """
    return _Guarded(command, is_logged)


class _Guarded:
    """The block of `storage_errors`. Not a generator, which takes three times as long."""

    __slots__ = ("_began", "_command", "_is_logged", "_timeout")

    def __init__(self, command: str, is_logged: bool) -> None:
        self._command = command
        self._is_logged = is_logged

    def __enter__(self) -> None:
        self._began = monotonic()
        left = deadline.remaining()
        if left <= 0:
            raise StorageUnavailableError("it took too long")
        if outage.current.refuses():
            raise StorageUnavailableError("MongoDB has no primary")
        self._timeout = timeout(left) if left < OPERATION_TIMEOUT_SECONDS else _NO_TIMEOUT
        self._timeout.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timeout.__exit__(kind, error, trace)
        seconds = monotonic() - self._began
        if error is None:
            _times(self._command, "succeeded").observe(seconds)
        elif isinstance(error, (PyMongoError, OperationError, mongoengine.ConnectionFailure)):
            _times(self._command, "failed").observe(seconds)
            # The context of a MongoEngine error is the driver's error.
            reason = error if isinstance(error, PyMongoError) else error.__context__ or error
            text = short_text(reason) if isinstance(reason, ConnectionFailure) else ""
            shown = " ".join(filter(None, (type(reason).__name__, _codes(reason), text)))
            denied = _denied_problem(reason)
            if self._is_logged:
                logger.warning("MongoDB failed: %s", shown)
            raise StorageUnavailableError(
                denied or "MongoDB is not available", is_denied=bool(denied), reason=shown
            ) from None


@contextmanager
def best_effort_cleanup() -> Iterator[None]:
    """Run the block as a cleanup, even after the request's deadline; ignore an unavailable MongoDB.

    In an outage, the block and the operations in it are not refused.
    """
    with (
        suppress(StorageUnavailableError),
        deadline.replaced(OPERATION_TIMEOUT_SECONDS),
        outage.ignored(),
        storage_errors(),
    ):
        yield


def is_denied(error: BaseException) -> bool:
    """Return whether *error* says that MongoDB does not accept the user, or does not allow the operation."""
    return _denied_problem(error) is not None


def _denied_problem(error: BaseException) -> str | None:
    # To a replica set, the attempts after the first fail with the text alone.
    if isinstance(error, ConnectionFailure) and short_text(error) == _REFUSED_USER:
        return _DENIED[_NOT_AUTHENTICATED]
    if isinstance(error, OperationFailure) and (error.details or {}).get("errmsg", "").endswith(_ANONYMOUS):
        return _NO_USER
    return _DENIED.get(getattr(error, "code", None) or 0)


def _codes(error: BaseException) -> str:
    if isinstance(error, BulkWriteError):
        failures = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        return ", ".join(sorted({str(failure["code"]) for failure in failures}))
    return str(getattr(error, "code", None) or "")
