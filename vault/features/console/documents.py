"""What the console stores: sessions, and which sign-ins at a provider have been used."""

import json
from base64 import b64decode, b64encode
from collections.abc import Collection
from datetime import datetime
from typing import Any, ClassVar, NamedTuple, Self

from mongoengine import DateTimeField, StringField
from mongoengine.connection import get_db
from pymongo import IndexModel
from pymongo.errors import DuplicateKeyError

from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind, TokenKey
from vault.core.documents.base import IDEMPOTENCY_COLLECTION
from vault.core.documents.sealed import SealedDocument

#: By MongoDB's clock. A record stays as long as those of idempotency keys, whose collection it shares.
_USED_NOW = [{"$set": {"created_at": {"$ifNull": ["$created_at", "$$NOW"]}}}]


class Held(NamedTuple):
    """The credential of a session, and how it acts."""

    credential: str
    #: Of a JWT; empty for none.
    role: str = ""
    #: True for an ID token, which proves the sign-in. It can expire earlier than the session.
    is_id_token: bool = False


class Session(SealedDocument):
    """A session: what it acts with, encrypted for the holder of the cookie.

    The seal covers every permanent field. Neither the cookie nor the credential can be found from it.
    """

    #: The keyed hash of the cookie.
    id = StringField(primary_key=True)
    #: The JSON of `Held`, in base64.
    credential = StringField(required=True)
    #: The keyed hash of the principal's name, by which offboarding finds its sessions.
    holder = StringField(required=True)
    #: To about a minute.
    used_at = DateTimeField(required=True)
    ends_at = DateTimeField(required=True)

    meta: ClassVar = {"collection": "sessions"}

    record_kind = RecordKind.SESSION
    noun = "session"
    end_action = Action.LOGOUT
    outlasts_creator = False

    #: The name of its principal, where that is known.
    principal_name = ""

    @classmethod
    def index(cls) -> None:
        """Make MongoDB remove ended sessions. An existing index costs a round trip. Raises `PyMongoError`."""
        cls.raw().create_indexes([IndexModel("ends_at", expireAfterSeconds=0)])

    @classmethod
    def of_holder(cls, cookie: str, key: TokenKey) -> "Session | None":
        """Return the session with this *cookie*, if it exists and is as the service wrote it."""
        found = cls.active({"_id": key.hash(cookie)})
        return cls.genuine(found[0], key) if found else None

    @classmethod
    def made_by(cls, creators: Collection[str], key: TokenKey) -> list[Self]:
        """Return the sessions of *creators*, of which each knows its principal.

        Those of tokens end with these. Those of ID tokens would last for hours.
        """
        holders = {key.hash(name): name for name in creators}
        stored = cls.active({"holder": {"$in": list(holders)}})
        found = [session for one in stored if (session := cls.genuine(one, key))]
        for session in found:
            session.principal_name = holders[session.holder]
        return found

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"session_of": self.principal_name}

    @classmethod
    def new(
        cls, cookie: str, held: Held, key: TokenKey, *, principal: str, now: datetime, ends_at: datetime
    ) -> "Session":
        """Return a session of *principal* that begins *now*, not yet stored."""
        encrypted = b64encode(key.encrypt_credential(json.dumps(held), cookie)).decode()
        holder = key.hash(principal)
        session = cls(id=key.hash(cookie), credential=encrypted, holder=holder, used_at=now, ends_at=ends_at)
        session.close(key)
        return session

    def held(self, cookie: str, key: TokenKey) -> Held:
        """Return what it acts with, for the holder of the *cookie*."""
        return Held(*json.loads(key.decrypt_credential(b64decode(str(self.credential)), cookie)))

    def note_use(self, now: datetime, key: TokenKey) -> None:
        """Store that it is used *now*, unless it was changed or ended since it was read."""
        unchanged = {"_id": self.id, "seal": self.seal}
        self.used_at = now
        self.close(key)
        self.raw().update_one(unchanged, {"$set": {"used_at": now, "seal": self.seal}})

    def _holders(self) -> dict[str, Any]:
        return {"_id": self.id}


def use_sign_in(digest: str) -> bool:
    """Record a use of the sign-in with this *digest*, which all replicas see; return whether it is the first.

    Raises `PyMongoError`.
    """
    try:
        result = get_db()[IDEMPOTENCY_COLLECTION].update_one({"_id": digest}, _USED_NOW, upsert=True)
    except DuplicateKeyError:
        # Another request records it at the same time.
        return False
    return result.upserted_id is not None
