"""MongoDB's indexes: what finds without searching, keeps unique, and removes in time."""

import logging
from typing import Any

from mongoengine.connection import get_db
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from vault.documents import idempotency
from vault.documents.audit_entry import AuditEntry
from vault.documents.secret import Secret
from vault.documents.token import Token
from vault.errors import DuplicateNameError

logger = logging.getLogger(__name__)

#: Finds the keys in use with one seek for each, and the secrets under a key in the order of their ids.
_KEY_INDEX = [("key_id", 1), ("_id", 1)]
_OLDER_KEY_INDEX = [("older.key_id", 1), ("_id", 1)]
#: What list wants, in the order of names.
_LIST_INDEX = [("namespace", 1), ("name", 1), ("_id", 1)]
_NAME_INDEX = [("namespace", 1), ("name", 1)]
_LABEL_INDEX = [("namespace", 1), ("labels", 1), ("name", 1), ("_id", 1)]
_STREAM_INDEX = [("stream", 1), ("seq", 1)]
_SECRET_INDEX = [("secret_id", 1), ("_id", 1)]
_RETENTION_INDEX = "retention"
_INDEX_OPTIONS_CONFLICT = 85
_SECONDS_A_DAY = 86_400
_LONGEST_TTL = 2**31 - 1


def build(*, audit_ttl_days: int) -> None:
    """Build what is missing. What is there already costs a few round trips.

    Raises:
        DuplicateNameError: A name is there twice.
        PyMongoError: MongoDB did not do it.
    """
    entries = AuditEntry._get_collection()  # noqa: SLF001 - MongoEngine has no public way
    _set_retention(entries, audit_ttl_days)
    _number_entries_once(entries)
    entries.create_index(_SECRET_INDEX)
    try:
        _index_secrets()
        Token.raw().create_index("name", unique=True)
        Token.raw().create_index("purge_at", expireAfterSeconds=0, sparse=True)
    except DuplicateKeyError:
        # Its text would quote the name.
        raise DuplicateNameError from None
    get_db()[idempotency.COLLECTION].create_index("created_at", expireAfterSeconds=idempotency.REMEMBERED)


def _index_secrets() -> None:
    is_deleted = {"deleted_at": {"$exists": True}}
    # In one command, and so in one scan of what is stored.
    Secret.raw().create_indexes(
        [
            IndexModel(_KEY_INDEX),
            IndexModel(_LIST_INDEX),
            # Where few secrets have the field, the others are left out: each index costs every create
            # something. Two of the older keys: MongoDB seeks distinct ones in a sparse index only, batches
            # in a compound one.
            IndexModel("older.key_id", sparse=True),
            IndexModel(_OLDER_KEY_INDEX, partialFilterExpression={"older.key_id": {"$exists": True}}),
            IndexModel(_NAME_INDEX, unique=True, partialFilterExpression={"name": {"$exists": True}}),
            IndexModel(_LIST_INDEX, name="deleted", partialFilterExpression=is_deleted),
            IndexModel(_LABEL_INDEX, partialFilterExpression={"labels": {"$exists": True}}),
            IndexModel("purge_at", expireAfterSeconds=0, sparse=True),
        ]
    )


def _number_entries_once(entries: Any) -> None:
    """Let MongoDB refuse a second entry with the same number in the same stream.

    Where there already is one, somebody removed the index and put it there: that is for `audit verify` to
    name, and no reason not to serve.
    """
    try:
        entries.create_index(_STREAM_INDEX, unique=True)
    except DuplicateKeyError:
        logger.error(  # noqa: TRY400 - the traceback would quote the entry
            "the audit trail was tampered with: it has an entry twice, and its unique index is gone; "
            "run `secret-manager audit verify`"
        )


def _set_retention(entries: Any, days: int) -> None:
    """Let MongoDB remove audit entries older than *days*; 0 keeps them for MongoDB's longest TTL, 68 years.

    The index is there from the first start, so that a changed setting never has to build one over a
    trail that has grown large.
    """
    seconds = days * _SECONDS_A_DAY or _LONGEST_TTL
    try:
        entries.create_index("ts", name=_RETENTION_INDEX, expireAfterSeconds=seconds)
    except OperationFailure as error:
        if error.code != _INDEX_OPTIONS_CONFLICT:
            raise
        index = {"keyPattern": {"ts": 1}, "expireAfterSeconds": seconds}
        entries.database.command("collMod", entries.name, index=index)
