"""Stored requests for values."""

from datetime import datetime
from typing import Any, ClassVar

from mongoengine import DateTimeField, IntField, StringField
from pymongo import IndexModel

from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind, TokenKey
from vault.core.documents.sealed import SealedDocument


class ValueRequest(SealedDocument):
    """A request by which someone without a credential stores one value under one name.

    The seal covers every permanent field. The token in its link cannot be found from it.
    """

    #: The keyed hash of the token in its link.
    id = StringField(primary_key=True)
    #: The name of the secret, in `namespace`.
    name = StringField(required=True)
    namespace = StringField(required=True)
    max_bytes = IntField(required=True)
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    #: The ID of its creator's token, or the name of the role that its creator acted with; else empty.
    token_id = StringField()
    role = StringField()
    expires_at = DateTimeField(required=True)

    meta: ClassVar = {"collection": "requests"}

    record_kind = RecordKind.REQUEST
    noun = "request"
    end_action = Action.REQUEST_DELETE
    outlasts_creator = False

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"request_name": self.name, "namespace": self.namespace, **super().end_details()}

    @classmethod
    def index(cls) -> None:
        """Make MongoDB remove expired requests, as `Session.index` does."""
        cls.raw().create_indexes([IndexModel("expires_at", expireAfterSeconds=0)])

    @classmethod
    def of_holder(cls, token: str, key: TokenKey, now: datetime) -> "ValueRequest | None":
        """Return the request with this *token*, if it exists, has not expired, and is genuine."""
        documents = cls.active({"_id": key.hash(token), "expires_at": {"$gt": now}})
        return cls.genuine(documents[0], key) if documents else None

    def take(self) -> bool:
        """Make it pending, so that no one else can fill it; return False if someone else has done that."""
        found = {"_id": self.id, "seal": self.seal, "pending": None}
        # As `store` does: without a seal.
        return bool(self.raw().update_one(found, {"$set": {"pending": True, "seal": ""}}).matched_count)

    def _holders(self) -> dict[str, Any]:
        return {"_id": self.id}
