"""One record of the audit trail."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar

from mongoengine import DateTimeField, DictField, IntField, ListField, StringField
from pymongo import timeout

from vault.core.timestamps import moment
from vault.documents.base import BaseDocument

#: A stored entry as it is hashed and exported: JSON values only.
Record = Mapping[str, Any]


#: The timeout of one commit, whatever else the process may wait for.
COMMIT_TIMEOUT_SECONDS = 20


class AuditEntry(BaseDocument):
    """Who tried what, on which secret, and how it ended. Never a value, never a credential.

    `stream` to `signature` chain it, see `vault.crypto.chain`.
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

    #: One worker's chain, by a random id; and the entry's number in it, from 0.
    stream = StringField(required=True)
    seq = IntField(required=True)
    #: The link and the time of the entry before; without them it is the first of its stream.
    previous = StringField()
    previous_ts = DateTimeField()
    #: On the first entry of a stream: the streams that it replaces, as their commits failed, and how far
    #: each is known to be stored: `stream`, `seq` (-1 for nothing) and `ts`.
    replaces = ListField(DictField(), default=None)
    hash = StringField(required=True)
    #: On the last entry of a commit: who signed the hash, and the signature.
    signer = StringField()
    signature = StringField()

    meta: ClassVar = {"collection": "audit_logs"}

    @classmethod
    def store(cls, entries: Sequence[dict[str, Any]]) -> None:
        """Store *entries*, in their stored form, by one write within `COMMIT_TIMEOUT_SECONDS`.

        Past MongoEngine: to make a document of each entry costs more than all else that is done for it.
        """
        collection = cls._get_collection()
        # Operators' commands have more time otherwise; readers wait for no commit that long.
        with timeout(min(COMMIT_TIMEOUT_SECONDS, collection.database.client.options.timeout)):
            collection.insert_many(entries)


def record_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stored entry as it is hashed and exported: JSON values only, without MongoDB's `_id`."""
    return {
        name: moment(value) if isinstance(value, datetime) else value
        for name, value in document.items()
        if name != "_id"
    }


class AuditKey(BaseDocument):
    """Keeps entries verifiable when the master key that signed them has been dropped."""

    #: The signer, as entries name it.
    id = StringField(primary_key=True)
    #: The 32 bytes of the Ed25519 key, in hexadecimal.
    public_key = StringField(required=True)
    #: Signatures of the public key, by their signers.
    endorsements = DictField()
    #: In a document of its own: one part of the retirement of a key, see `vault.audit.retirement`.
    retirement = DictField()

    meta: ClassVar = {"collection": "audit_keys"}
