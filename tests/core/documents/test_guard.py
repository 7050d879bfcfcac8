"""MongoDB's timeouts and failures."""

import logging
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo import _csot
from pymongo.database import Database as MongoDatabase
from pymongo.errors import DuplicateKeyError, OperationFailure, ServerSelectionTimeoutError

from vault.common import deadline
from vault.common.errors import StorageUnavailableError
from vault.core.documents import AuditEntry
from vault.core.documents.guard import storage_errors

DENIED = "MongoDB does not allow this to the user in MONGO_URI"
REFUSED = "MongoDB refuses the user or the password in MONGO_URI"
#: Of a replica set: the text of the pool's failure, with a reply that differs each time.
POOL = "Authentication failed., full error: {'code': 18}, Timeout: 3.0s, Topology Description: x"


@pytest.mark.promise(2)
@pytest.mark.parametrize(
    ("error", "said", "problem"),
    [
        (ServerSelectionTimeoutError("no host answers"), "ServerSelectionTimeoutError no host answers", ""),
        (DuplicateKeyError("quoting hunter2", code=11000), "DuplicateKeyError 11000", ""),
        (OperationFailure("quoting hunter2", code=13), "OperationFailure 13", DENIED),
        (
            OperationFailure("quoting hunter2", 13, {"errmsg": "Command find requires authentication"}),
            "OperationFailure 13",
            "MongoDB requires a user, and MONGO_URI has none",
        ),
        (OperationFailure("quoting hunter2", code=18), "OperationFailure 18", REFUSED),
        (ServerSelectionTimeoutError(POOL), "", REFUSED),
    ],
    ids=lambda value: type(value).__name__,
)
def test_failures_are_one_error_and_quote_nothing(
    error: Exception, said: str, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Every driver error becomes one error; it and the log name its kind, or who is refused, and no reply."""
    with caplog.at_level(logging.WARNING), pytest.raises(StorageUnavailableError) as raised, storage_errors():
        raise error
    assert said in caplog.text
    assert (raised.value.is_denied, not problem or raised.value.problem == problem) == (bool(problem), True)
    for hidden in ("hunter2", "full error"):
        assert hidden not in caplog.text + raised.value.reason


@pytest.mark.usefixtures("database")
def test_mongoengine_s_wrapping_is_removed(
    stored: MongoDatabase[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    """A write refused by MongoDB is logged with MongoDB's error, not MongoEngine's."""
    stored.command("collMod", "audit_logs", validator={"never": {"$exists": True}})
    chained = {"stream": "s", "seq": 0, "hash": "h"}
    entry = AuditEntry(ts=datetime.now(UTC), action="a", status="s", principal="hunter2", **chained)
    refused = pytest.raises(StorageUnavailableError)
    with caplog.at_level(logging.WARNING), refused, storage_errors():
        entry.save(force_insert=True)
    assert "WriteError 121" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.usefixtures("own_timeouts")
def test_a_late_operation_is_not_started() -> None:
    """Past its deadline an operation is not sent to MongoDB; before it, the rest is the timeout."""
    with deadline.Within(-1), pytest.raises(StorageUnavailableError), storage_errors():
        raise AssertionError("begun all the same")
    with deadline.Within(1), storage_errors():
        assert 0 < (_csot.remaining() or 0) <= 1
    with deadline.Within(60), storage_errors():
        assert _csot.remaining() is None
