"""MongoDB's indexes: for queries, uniqueness and expiry."""

import logging
from collections.abc import Callable, Iterator, Sequence
from pkgutil import resolve_name
from typing import Any

from mongoengine.connection import get_db
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError, OperationFailure

from vault.common import feature
from vault.common.attributes import FILTERS
from vault.common.errors import DuplicateNameError, StorageUnavailableError, TrailIndexMissingError
from vault.core.documents.audit import AuditEntry
from vault.core.documents.base import IDEMPOTENCY_COLLECTION, IDEMPOTENCY_SECONDS, is_in_replica_set
from vault.core.documents.secret import Secret
from vault.core.documents.token import Token

logger = logging.getLogger(__name__)

Index = Sequence[tuple[str, int]]

_PURGE_INDEX = IndexModel("purge_at", expireAfterSeconds=0, sparse=True)
#: Finds the secrets that may be used at a host.
_USE_INDEX = [("namespace", 1), ("use_rules.hosts", 1), ("name", 1)]
#: Of documents with a unique name, such as tokens.
NAMED = [IndexModel("name", unique=True), _PURGE_INDEX]
#: For lists of tokens in the order of names, without the names of removed tokens.
_TOKEN_INDEX = [("namespace", 1), ("name", 1)]
#: Finds the keys in use by one seek each, and the secrets under a key in the order of their IDs.
_KEY_INDEX = [("key_id", 1), ("_id", 1)]
_OLDER_KEY_INDEX = [("older.key_id", 1), ("_id", 1)]
#: For lists in the order of names.
_LIST_INDEX = [("namespace", 1), ("name", 1), ("_id", 1)]
_NAME_INDEX = [("namespace", 1), ("name", 1)]
_STREAM_INDEX = [("stream", 1), ("seq", 1)]
#: Find what a principal has got: secret by secret, and out of wrapped replies.
PRINCIPAL_INDEX = [("principal", 1), ("secret_id", 1)]
UNWRAP_INDEX = [("principal", 1)]
#: Find what a principal has used, and what a broker has got for others.
USE_INDEX = [("principal", 1), ("secret_id", 1), ("details.host", 1)]
BROKER_INDEX = [("details.via_broker", 1), ("secret_id", 1)]
#: Indexes that only make queries faster: the promises of the trail do not depend on them.
_TRAIL_QUERY_INDEXES: tuple[tuple[list[tuple[str, int]], dict[str, Any]], ...] = (
    ([("secret_id", 1), ("_id", 1)], {}),
    # Not on both: an attacker who stores a list in each would make the build fail.
    *(
        ([(field, 1), ("_id", 1)], {"partialFilterExpression": {field: {"$exists": True}}})
        for field in ("details.name", "details.namespace")
    ),
    # Here the build can fail: see `_may`.
    (PRINCIPAL_INDEX, {}),
    (UNWRAP_INDEX, {"partialFilterExpression": {"action": "unwrap"}}),
    *((index, {"partialFilterExpression": {"action": "use"}}) for index in (USE_INDEX, BROKER_INDEX)),
    # Wrapped replies.
    (
        [("details.accessor", 1)],
        {"partialFilterExpression": {"details.accessor": {"$exists": True}}},
    ),
)
RETENTION_KEY = {"ts": 1}
_RETENTION_INDEX = "retention"
#: MongoDB's error code for an operation that its user is not allowed to do.
UNAUTHORIZED = 13
#: MongoDB's error code for an index on two fields that are lists in one document: only an attacker stores
#: such an entry.
_PARALLEL_LISTS = 171
#: Fields in MongoDB's description of an index without effect on its behaviour.
_NO_OPTIONS = ("v", "background")
_INDEX_OPTIONS_CONFLICT, _INDEX_KEY_SPECS_CONFLICT = 85, 86
_CANNOT_CREATE_INDEX, _INVALID_OPTIONS = 67, 72
_OTHER_INDEX = "drop the index that has its name or its fields, but is different"
_OTHER_COLLECTION = (
    "make the collection an ordinary one, with fewer than 64 indexes; for a sharded one, see docs/sharding.md"
)
#: What to do if MongoDB does not build an index, by its error code.
_REMEDIES = {
    _CANNOT_CREATE_INDEX: _OTHER_COLLECTION,
    _INVALID_OPTIONS: _OTHER_COLLECTION,
    _INDEX_OPTIONS_CONFLICT: _OTHER_INDEX,
    _INDEX_KEY_SPECS_CONFLICT: _OTHER_INDEX,
}
_SECONDS_A_DAY = 86_400
#: For entries that are kept permanently: MongoDB's longest TTL, 68 years.
_MAX_TTL_SECONDS = 2**31 - 1


def build(*, audit_ttl_days: int) -> None:
    """Build the missing indexes. Existing ones cost a few round trips.

    Raises:
        DuplicateNameError: Two documents have one name.
        StorageUnavailableError, TrailIndexMissingError: As `build_trail`.
        PyMongoError: MongoDB refused, or did not answer.
    """
    build_trail(AuditEntry.raw(), audit_ttl_days=audit_ttl_days)
    try:
        _index_secrets()
        for name, collection in feature.collections().items():
            if collection.indexes:
                _create(get_db()[name], *resolve_name(collection.indexes))
        _create(
            Token.raw(),
            *NAMED,
            IndexModel(_TOKEN_INDEX, partialFilterExpression={"pending": None}),
            IndexModel("expires_at", sparse=True),
            IndexModel("created_by", sparse=True),
        )
    except DuplicateKeyError:
        # Its text quotes the name.
        raise DuplicateNameError from None
    expiry = IndexModel("created_at", expireAfterSeconds=IDEMPOTENCY_SECONDS)
    _create(get_db()[IDEMPOTENCY_COLLECTION], expiry)


def retention_seconds(days: int) -> int:
    """Return the time after which MongoDB removes entries, for a retention of *days*; 0 is permanent."""
    return days * _SECONDS_A_DAY or _MAX_TTL_SECONDS


def build_trail(entries: Any, *, audit_ttl_days: int) -> None:
    """Build the missing indexes of the trail, and set its retention.

    If only an administrator may do that, the indexes are checked instead. Any difference is logged; without
    the unique index, which keeps entries from being stored twice, the service does not serve.

    Raises:
        StorageUnavailableError: MongoDB cannot build an index; the message names it, with a hint.
        TrailIndexMissingError: The unique index is missing, and this user may not build it.
        PyMongoError: MongoDB refused, or did not answer.
    """
    seconds = retention_seconds(audit_ttl_days)
    existing = _existing(entries)
    if not (
        _has(existing, list(RETENTION_KEY.items()), {"expireAfterSeconds": seconds})
        or _may(_set_retention, entries, seconds)
    ):
        logger.error(
            "the audit trail's retention is not AUDIT_TTL_DAYS, and the MongoDB user may not change it; "
            "run `secret-manager replicaset initiate` or `grant`"
        )
    if not (_has(existing, _STREAM_INDEX, {"unique": True}) or _may(_number_entries_once, entries)):
        _require_an_entry_twice(entries)
    missing = [
        key
        for key, options in _TRAIL_QUERY_INDEXES
        if not (_has(existing, key, options) or _may(_create, entries, IndexModel(key, **options)))
    ]
    if missing:
        logger.error(
            "the audit trail lacks an index, and the MongoDB user may not build it, or an altered entry "
            "prevents it; run `secret-manager replicaset initiate` or `grant`; "
            "if that does not help, run `secret-manager audit verify`"
        )


def trail_flaws(*, audit_ttl_days: int) -> Iterator[str]:
    """Yield a phrase for each index of the trail on which its promises depend, and that differs."""
    existing = _existing(AuditEntry.raw())
    remedy = "run `secret-manager replicaset grant`"
    if existing and not _has(existing, _STREAM_INDEX, {"unique": True}):
        yield f"its unique index is missing: {remedy}"
    retention = {"expireAfterSeconds": retention_seconds(audit_ttl_days)}
    if existing and not _has(existing, list(RETENTION_KEY.items()), retention):
        yield f"its retention is not AUDIT_TTL_DAYS: restart the service, or {remedy}"


def _index_secrets() -> None:
    is_deleted = {"deleted_at": {"$exists": True}}
    _create(
        Secret.raw(),
        IndexModel(_KEY_INDEX),
        IndexModel(_LIST_INDEX),
        # An index slows down every create, so indexes of rare fields contain only secrets with the field.
        # Two on the keys of older versions: MongoDB searches for keys in use only in the sparse one, and for
        # batches in the compound one.
        IndexModel("older.key_id", sparse=True),
        IndexModel(_OLDER_KEY_INDEX, partialFilterExpression={"older.key_id": {"$exists": True}}),
        IndexModel(_NAME_INDEX, unique=True, partialFilterExpression={"name": {"$exists": True}}),
        IndexModel(_LIST_INDEX, name="deleted", partialFilterExpression=is_deleted),
        IndexModel(_USE_INDEX, partialFilterExpression={"use_rules": {"$exists": True}}),
        *(
            IndexModel(
                [("namespace", 1), (one.name, 1), ("name", 1), ("_id", 1)],
                partialFilterExpression={one.name: {"$exists": True}},
            )
            for one in FILTERS
        ),
        _PURGE_INDEX,
    )


def _set_retention(entries: Any, seconds: int) -> None:
    """Make MongoDB remove audit entries that are older than *seconds*.

    The index exists from the first start, so a changed setting never has to build one over a large trail.
    """
    index = IndexModel(RETENTION_KEY, name=_RETENTION_INDEX, expireAfterSeconds=seconds)
    try:
        _build_in_majority(entries, index)
    except OperationFailure as error:
        if error.code != _INDEX_OPTIONS_CONFLICT:
            raise _explained(error, entries, index) from None
        changed = {"keyPattern": RETENTION_KEY, "expireAfterSeconds": seconds}
        entries.database.command("collMod", entries.name, index=changed)


def _number_entries_once(entries: Any) -> None:
    """Make MongoDB refuse a second entry with the same number in the same stream.

    If such an entry exists, an attacker removed the index and added it: `audit verify` reports it, and the
    service still serves.
    """
    try:
        _create(entries, IndexModel(_STREAM_INDEX, unique=True))
    except DuplicateKeyError:
        _report_an_entry_twice()


def _require_an_entry_twice(entries: Any) -> None:
    """Require that a duplicate entry is the reason why the trail has no unique index."""
    same = {"$group": {"_id": {"stream": "$stream", "seq": "$seq"}, "count": {"$sum": 1}}}
    twice = [same, {"$match": {"count": {"$gt": 1}}}, {"$limit": 1}]
    if not any(entries.aggregate(twice, allowDiskUse=True)):
        logger.error(
            "not serving: the audit trail lacks its unique index, and the MongoDB user may not build it; "
            "run `secret-manager replicaset initiate` or `grant`"
        )
        raise TrailIndexMissingError
    _report_an_entry_twice()


def _report_an_entry_twice() -> None:
    # Without a traceback, which quotes the entry.
    logger.error(
        "the audit trail was tampered with: it has an entry twice, and its unique index is gone; "
        "run `secret-manager audit verify`"
    )


def _existing(entries: Any) -> list[dict[str, Any]]:
    """Return the indexes of the trail; none if they cannot be listed, as building them shows the reason."""
    try:
        return list(entries.index_information().values())
    except OperationFailure:
        return []


def _has(existing: list[dict[str, Any]], key: list[tuple[str, int]], options: dict[str, Any]) -> bool:
    wanted = {"key": key, **options}
    return any(
        wanted == {name: index[name] for name in index if name not in _NO_OPTIONS} for index in existing
    )


def _build_in_majority(collection: Any, *indexes: IndexModel) -> None:
    """Build *indexes*, and return once most members have them.

    By default, MongoDB waits for all members: while one is lost, no version with a new index could start.
    """
    # A standalone server refuses the option.
    quorum = {"commitQuorum": "majority"} if is_in_replica_set(collection) else {}
    collection.create_indexes([*indexes], **quorum)


def _create(collection: Any, *indexes: IndexModel) -> None:
    """Create the missing *indexes* in one command, and so in one scan of the collection."""
    try:
        _build_in_majority(collection, *indexes)
    except OperationFailure as error:
        if error.code not in _REMEDIES or len(indexes) == 1:
            raise _explained(error, collection, indexes[0]) from None
        # MongoDB does not say by a field which of them it refused.
        _create(collection, indexes[0])
        _create(collection, *indexes[1:])


def _explained(error: OperationFailure, collection: Any, index: IndexModel) -> Exception:
    """Return *error*, or if it can be about this *index* alone, one that names it, with a hint."""
    if error.code not in _REMEDIES:
        return error
    problem = f"MongoDB cannot build the index {index.document['name']} of {collection.name}"
    reason = f"{problem} ({type(error).__name__} {error.code})"
    hint = _REMEDIES[error.code]
    return StorageUnavailableError(problem, hint=hint, reason=f"{reason}; {hint}")


def _may(build: Callable[..., object], *arguments: object, **options: object) -> bool:
    """Call *build*; return False if access control forbids it, or an entry that an attacker stored."""
    try:
        build(*arguments, **options)
    except OperationFailure as error:
        if error.code not in (UNAUTHORIZED, _PARALLEL_LISTS):
            raise
        return False
    return True
