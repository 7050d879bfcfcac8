"""Stored sessions of the console."""

from base64 import b64decode, b64encode
from datetime import datetime
from typing import Any, ClassVar

from mongoengine import DateTimeField, StringField
from pymongo import IndexModel

from vault.crypto.token_key import RecordKind, TokenKey
from vault.documents.sealed import SealedDocument


class Session(SealedDocument):
    """A session: a person's credential and its role, encrypted for the holder of the cookie.

    The seal covers every permanent field. Neither the cookie nor the credential can be found from it.
    """

    #: The keyed hash of the cookie.
    id = StringField(primary_key=True)
    #: The role, empty for none, and the credential; in base64.
    credential = StringField(required=True)
    #: To about a minute.
    used_at = DateTimeField(required=True)
    ends_at = DateTimeField(required=True)

    meta: ClassVar = {"collection": "sessions"}

    record_kind = RecordKind.SESSION

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
    def new(
        cls, cookie: str, credential: str, role: str, key: TokenKey, *, now: datetime, ends_at: datetime
    ) -> "Session":
        """Return a session that begins *now*, not yet stored."""
        encrypted = b64encode(key.encrypt_credential(f"{role}\n{credential}", cookie)).decode()
        session = cls(id=key.hash(cookie), credential=encrypted, used_at=now, ends_at=ends_at)
        session.close(key)
        return session

    def credential_of(self, cookie: str, key: TokenKey) -> tuple[str, str]:
        """Return the credential and its role, for the holder of the *cookie*."""
        role, _, credential = key.decrypt_credential(b64decode(str(self.credential)), cookie).partition("\n")
        return credential, role

    def note_use(self, now: datetime, key: TokenKey) -> None:
        """Store that it is used *now*, unless it was changed or ended since it was read."""
        unchanged = {"_id": self.id, "seal": self.seal}
        self.used_at = now
        self.close(key)
        self.raw().update_one(unchanged, {"$set": {"used_at": now, "seal": self.seal}})

    def _holders(self) -> dict[str, Any]:
        return {"_id": self.id}
