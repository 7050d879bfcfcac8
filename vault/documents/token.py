"""The stored token."""

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar

from mongoengine import BinaryField, BooleanField, DateTimeField, ListField, StringField
from pymongo.errors import DuplicateKeyError
from pymongo.read_concern import ReadConcern

from vault.core.errors import DecryptionError, InvalidTokenNameError, KeyMissingError
from vault.core.principal import DEFAULT_NAMESPACE
from vault.core.retry import attempts
from vault.core.timestamps import since_1970
from vault.crypto import Keyring
from vault.crypto.envelope import key_id
from vault.crypto.token_key import TokenKey, TokenKeyBinding
from vault.documents.base import BaseDocument
from vault.observability import metrics

#: There is one.
_ID = "tokens"


class StoredTokenKey(BaseDocument):
    """The key of all tokens, encrypted under a master key."""

    id = StringField(primary_key=True, default=_ID)
    envelope = BinaryField(required=True)
    #: Hexadecimal id of the master key that the envelope was made with.
    key_id = StringField(required=True)

    meta: ClassVar = {"collection": "token_keys"}

    @classmethod
    def stored(cls) -> "StoredTokenKey | None":
        """Return what is stored, if anything is."""
        # One that a majority has: another could be lost in a failover, and all tokens made with it.
        sure = cls.raw().with_options(read_concern=ReadConcern("majority"))
        found = sure.find_one({"_id": _ID})
        return None if found is None else cls._from_son(found)

    @classmethod
    def of(cls, material: bytes, keyring: Keyring) -> "StoredTokenKey":
        """Return *material* encrypted under the primary key, not yet saved."""
        return cls(envelope=keyring.encrypt(material, TokenKeyBinding()), key_id=keyring.primary.id)

    def decrypt(self, keyring: Keyring) -> TokenKey:
        """Return the key. Errors as `rewrap`."""
        return TokenKey(self._material(keyring))

    def rewrap(self, keyring: Keyring) -> bool:
        """Put it under the primary key, if it is still what was read; return whether it was.

        Raises:
            KeyMissingError: It is under a master key that *keyring* does not have.
            DecryptionError: It is not as it was stored.
        """
        new = self.of(self._material(keyring), keyring)
        changed: int = StoredTokenKey.objects(id=self.id, envelope=self.envelope).update_one(
            set__envelope=new.envelope, set__key_id=new.key_id
        )
        return bool(changed)

    def _material(self, keyring: Keyring) -> bytes:
        try:
            return self._decrypted(keyring)
        except KeyMissingError:
            metrics.UNKNOWN_KEY.inc()
            raise
        except (DecryptionError, TypeError):
            # Of the latter: a field that holds what this class never puts there.
            metrics.DOES_NOT_VERIFY.inc()
            raise DecryptionError from None

    def _decrypted(self, keyring: Keyring) -> bytes:
        if not isinstance(self.key_id, str):
            raise DecryptionError
        if self.key_id not in keyring:
            raise KeyMissingError
        if key_id(self.envelope) != self.key_id:
            raise DecryptionError
        return keyring.decrypt(self.envelope, TokenKeyBinding())


_TEXTS = ("id", "name", "namespace", "created_by")
_LISTS = ("scopes", "networks")
_TIMES = ("created_at", "expires_at", "revoked_at")

#: Milliseconds, by MongoDB's clock, that a token may be pending; longer than writing its entry can take.
_PENDING_MILLISECONDS = 120_000

#: A pending token has no seal, so it is good for nothing in replicas that do not know of pending tokens.
_NO_SEAL = ""


_TAKEN = "Token name already used; names cannot be reused."


class Token(BaseDocument):
    """What is known of a token: all but the token itself.

    The seal covers every other field, so whoever can write to the database can neither make a token nor
    widen one.
    """

    #: The token's keyed hash.
    id = StringField(primary_key=True)
    #: What the audit trail calls it; never used twice. Outside the default namespace it begins with the
    #: namespace, so that no namespace can find out the names of another.
    name = StringField(required=True)
    namespace = StringField(required=True)
    scopes = ListField(StringField())
    #: Where it may be used from; anywhere if there are none.
    networks = ListField(StringField())
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    expires_at = DateTimeField()
    revoked_at = DateTimeField()
    seal = StringField(required=True)
    #: Its entry is not in the audit trail yet: it can be neither used nor seen.
    pending = BooleanField()
    #: When MongoDB may remove a pending token.
    purge_at = DateTimeField()

    meta: ClassVar = {"collection": "tokens"}

    @property
    def plain_name(self) -> str:
        """The name within its namespace."""
        return str(self.name).removeprefix(f"{self.namespace}/")

    @classmethod
    def new_name(cls, namespace: str, name: str) -> str:
        """Return the stored name of a new token *name* of *namespace*.

        Earlier versions, which may run beside this one, store tokens of all namespaces by their plain names.

        Raises:
            InvalidTokenNameError: One of them has the name, in this namespace.
        """
        former = cls.raw().find_one({"name": name}, {"namespace": 1})
        is_own = former is not None and former.get("namespace") == namespace
        if namespace == DEFAULT_NAMESPACE and (former is None or is_own):
            return name
        if is_own:
            raise InvalidTokenNameError(_TAKEN)
        return f"{namespace}/{name}"

    @classmethod
    def named(cls, name: str, *, namespace: str | None) -> "list[Token]":
        """Return the tokens *name* of *namespace*, or of all namespaces; usually one at the most."""
        if namespace is not None:
            return list(
                cls.objects(namespace=namespace, name__in=[name, f"{namespace}/{name}"], pending=None)
            )
        return list(cls.objects(name=re.compile(f"^(.*/)?{re.escape(name)}$"), pending=None))

    @classmethod
    def made_by(cls, names: Iterable[str]) -> "list[Token]":
        """Return the tokens that those of these stored *names* have made.

        Those that are still pending are removed: `activate` fails then.
        """
        made = {"created_by": {"$in": list(names)}}
        cls.raw().delete_many({**made, "pending": True})
        return list(cls.objects(__raw__=made).order_by("name"))

    def store(self) -> None:
        """Store the token as pending, which reserves its name.

        Raises:
            InvalidTokenNameError: Another token has the name, or is about to get it.
        """
        document = {**self.to_mongo().to_dict(), "seal": _NO_SEAL, "pending": True}
        until = {"$add": ["$$NOW", _PENDING_MILLISECONDS]}
        # An expression, for MongoDB's own clock.
        new = [{"$replaceWith": {"$mergeObjects": [{"$literal": document}, {"purge_at": until}]}}]
        holder = {"name": self.name}
        expired = {"pending": True, "$expr": {"$lte": ["$purge_at", "$$NOW"]}}
        for _ in attempts():
            with suppress(DuplicateKeyError):
                self.raw().update_one({"_id": self.id}, new, upsert=True)
                return
            if self.raw().delete_one(holder | expired).deleted_count:
                continue
            # One that is pending may come to nothing, and MongoDB may have removed one just now.
            if self.raw().find_one({**holder, "pending": None}, {"_id": 1}):
                raise InvalidTokenNameError(_TAKEN)
        raise InvalidTokenNameError("Another request is creating a token of this name. Try again later.")

    def activate(self) -> bool:
        """Seal the pending token, so that it can be used; return False if it was pending for too long."""
        change = {"$set": {"seal": self.seal}, "$unset": {"pending": "", "purge_at": ""}}
        return bool(self.raw().update_one({"_id": self.id, "pending": True}, change).matched_count)

    def withdraw(self) -> None:
        """Remove the token, which nobody was given, so that its name is free again."""
        self.raw().delete_one({"_id": self.id})

    def close(self, key: TokenKey) -> None:
        """Seal what the fields hold now."""
        self.seal = key.seal(self._record())

    def is_genuine(self, key: TokenKey) -> bool:
        """Return whether all is as it was sealed: the fields' types too."""
        try:
            return key.sealed(self._record(), self.seal)
        except (AttributeError, TypeError, ValueError):
            return False

    def _record(self) -> dict[str, Any]:
        """Return what the seal covers: texts, lists, and times in milliseconds since 1970."""
        times = {name: getattr(self, name) for name in _TIMES}
        return {
            **{name: getattr(self, name) for name in _TEXTS},
            **{name: list(getattr(self, name)) for name in _LISTS},
            # A time of another type, which nothing here would write, raises.
            **{name: time and since_1970(time) for name, time in times.items()},
        }
