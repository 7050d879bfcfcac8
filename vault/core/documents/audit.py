"""The collections of the audit trail: its entries, and the public keys that verify them."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from mongoengine import DateTimeField, DictField, IntField, ListField, StringField
from pymongo import timeout
from pymongo.client_session import ClientSession
from pymongo.errors import BulkWriteError, OperationFailure
from pymongo.read_concern import ReadConcern

from vault.common.timestamps import moment
from vault.core.documents.base import BaseDocument, is_in_replica_set

#: A stored entry as it is hashed and exported: JSON values only.
Record = Mapping[str, Any]

#: Timeout of one commit, in every process.
COMMIT_TIMEOUT_SECONDS = 20

#: MongoDB's error codes for a value that is not unique, and for a document that another transaction changes.
_DUPLICATE_KEY, _WRITE_CONFLICT = 11_000, 112


class ConflictError(Exception):
    """An effect is not possible, or another request is changing the same: certainly nothing is stored."""


class AuditEntry(BaseDocument):
    """An audited operation: the principal, the action, the secret and the outcome.

    It never holds a value or a credential. The fields `stream` to `signature` chain it, see
    `vault.core.crypto.audit_chain`.
    """

    ts = DateTimeField(required=True)
    action = StringField(required=True)
    status = StringField(required=True)
    principal = StringField(required=True)
    secret_id = StringField()
    ip = StringField()
    ua = StringField()
    request_id = StringField()
    details = DictField(default=None)

    #: The random ID of a worker's chain, and the entry's number in it, from 0.
    stream = StringField(required=True)
    seq = IntField(required=True)
    #: The link and the time of the previous entry; the first entry of a stream lacks them.
    previous = StringField()
    previous_ts = DateTimeField()
    #: On the first entry of a stream: the streams that it replaces because their commits failed, each
    #: with its last entry known to be stored: `stream`, `seq` (-1 for none) and `ts`.
    replaces = ListField(DictField(), default=None)
    hash = StringField(required=True)
    #: On the last entry of a commit: the signer of the hash, and the signature.
    signer = StringField()
    signature = StringField()

    meta: ClassVar = {"collection": "audit_logs"}

    @classmethod
    def store(
        cls, entries: Sequence[dict[str, Any]], effect: Callable[[ClientSession], None] | None = None
    ) -> None:
        """Store *entries*, in their stored form, by one write within `COMMIT_TIMEOUT_SECONDS`.

        In order: of a write that fails halfway, an entry after a gap would look like a removed one before it.
        With an *effect*, which makes its own writes, by one transaction. Until the timeout, the driver
        repeats one that certainly failed, as when the primary changes, and a commit of unknown outcome.
        A conflict is not repeated: all who share the transaction would wait for one.

        Bypasses MongoEngine: a document for each entry would cost more than everything else for it.

        Raises:
            ConflictError: The *effect* raised it, or conflicts with what is stored, or another transaction.
        """
        client = cls.raw().database.client
        # Operators' commands have a longer timeout, but readers do not wait that long for a commit.
        with timeout(min(COMMIT_TIMEOUT_SECONDS, client.options.timeout)):
            if effect is None:
                cls.insert(entries)
                return

            def write(session: ClientSession) -> None:
                cls.insert(entries, session)
                try:
                    effect(session)
                except OperationFailure as error:
                    if _is_conflict(error):
                        raise ConflictError from None
                    raise

            with client.start_session() as session:
                # Not the read concern of the connection string, which transactions may not allow.
                session.with_transaction(write, ReadConcern("local"))

    @classmethod
    def store_each(cls, entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Store *entries*, each of another stream, within `COMMIT_TIMEOUT_SECONDS`.

        Return those that are stored: the numbers of the others are in use in their streams.
        """
        failed: set[int] = set()
        with timeout(min(COMMIT_TIMEOUT_SECONDS, cls.raw().database.client.options.timeout)):
            try:
                cls.raw().insert_many(entries, ordered=False)
            except BulkWriteError as error:
                failures = error.details["writeErrors"]
                is_other = any(one["code"] != _DUPLICATE_KEY for one in failures)
                if is_other or error.details["writeConcernErrors"]:
                    raise
                failed = {one["index"] for one in failures}
        return [entry for index, entry in enumerate(entries) if index not in failed]

    @classmethod
    def has_transactions(cls) -> bool:
        """Return whether the driver has found a replica set: a standalone server has no transactions."""
        return is_in_replica_set(cls.raw())


def _is_conflict(error: OperationFailure) -> bool:
    failures = error.details["writeErrors"] if isinstance(error, BulkWriteError) and error.details else ()
    codes = {error.code, *(failure["code"] for failure in failures)}
    return not codes.isdisjoint({_DUPLICATE_KEY, _WRITE_CONFLICT})


def record_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored entry in its hashed and exported form: JSON values only, without MongoDB's `_id`."""
    return {
        name: moment(value) if isinstance(value, datetime) else value
        for name, value in document.items()
        if name != "_id"
    }


class AuditKey(BaseDocument):
    """A public key: it verifies entries after the master key that signed them has been dropped.

    Separate documents have parts of retirements, and the newest checkpoint of each other installation.
    """

    #: The signer, as entries name it.
    id = StringField(primary_key=True)
    #: The 32 bytes of the Ed25519 key, in hexadecimal.
    public_key = StringField(required=True)
    #: Signatures of the public key, by their signers.
    endorsements = DictField()
    #: Part of the retirement of a key, see `vault.core.trail.streams.retirement`.
    retirement = DictField()
    #: The newest checkpoint of another installation, as text, and the statement that it was shown.
    witnessed = DictField()

    meta: ClassVar = {"collection": "audit_keys"}
