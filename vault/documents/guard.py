"""What MongoDB is asked: the time it has for that, and its failures as this package's own errors."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache
from time import monotonic

import mongoengine
from mongoengine.errors import OperationError
from pymongo import timeout
from pymongo.errors import BulkWriteError, ConnectionFailure, PyMongoError

from vault.core import deadline
from vault.core.errors import StorageUnavailableError
from vault.observability import metrics

logger = logging.getLogger(__name__)

#: Seconds that one operation may take, its retries and the choice of a server included.
OPERATION_TIMEOUT_SECONDS = 3

# Making a child takes longer than measuring with it.
_times = cache(metrics.MONGODB.labels)


@contextmanager
def storage_errors(command: str = "other") -> Iterator[None]:
    """Turn whatever MongoDB's drivers raise inside the block into `StorageUnavailableError`, with a log line.

    The block gets what is left of the request's time where that is less than an operation may take.
    Metrics get its time, under the name of the MongoDB *command* that it is, if it is one.

    Of a connection's failure the text is logged, which names hosts; of other failures only kind and code:
    their texts can quote documents.
    """
    began = monotonic()
    left = deadline.remaining()
    if left <= 0:
        raise StorageUnavailableError("it took too long")
    try:
        with timeout(left) if left < OPERATION_TIMEOUT_SECONDS else nullcontext():
            yield
        _times(command, "succeeded").observe(monotonic() - began)
    except (PyMongoError, OperationError, mongoengine.ConnectionFailure) as error:
        _times(command, "failed").observe(monotonic() - began)
        # MongoEngine's errors have the driver's as their context.
        reason = error if isinstance(error, PyMongoError) else error.__context__ or error
        text = str(reason) if isinstance(reason, ConnectionFailure) else ""
        logger.warning("MongoDB failed: %s %s %s", type(reason).__name__, _codes(reason), text)
        raise StorageUnavailableError("MongoDB is not available") from None


@contextmanager
def best_effort_cleanup() -> Iterator[None]:
    """Let the block take back what was begun, past the request's deadline too; without MongoDB it stays."""
    with suppress(StorageUnavailableError), deadline.replaced(OPERATION_TIMEOUT_SECONDS), storage_errors():
        yield


def _codes(error: BaseException) -> str:
    if isinstance(error, BulkWriteError):
        failures = [*error.details["writeErrors"], *error.details["writeConcernErrors"]]
        return ", ".join(sorted({str(failure["code"]) for failure in failures}))
    return str(getattr(error, "code", None) or "")
