"""Stored tokens, and the stored key that hashes and seals them."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from mongoengine import BinaryField, BooleanField, DateTimeField, ListField, StringField
from mongoengine.base import BaseField
from pymongo import UpdateOne
from pymongo.read_concern import ReadConcern

from vault.common.errors import TokenNameTakenError
from vault.core.crypto import Keyring
from vault.core.crypto.token_key import RecordKind, TokenKey, TokenKeyBinding
from vault.core.documents.base import BaseDocument, decrypt
from vault.core.documents.sealed import SealedDocument
from vault.core.principal import DEFAULT_NAMESPACE

#: The ID of the only token key.
_ID = "tokens"


class StoredTokenKey(BaseDocument):
    """The key of all tokens, encrypted under a master key."""

    id = StringField(primary_key=True, default=_ID)
    envelope = BinaryField(required=True)
    #: Hexadecimal ID of the envelope's master key.
    key_id = StringField(required=True)

    meta: ClassVar = {"collection": "token_keys"}

    @classmethod
    def stored(cls) -> "StoredTokenKey | None":
        """Return the stored token key, if any."""
        # A majority has it. Otherwise a failover could lose it, and all tokens created with it.
        sure = cls.raw().with_options(read_concern=ReadConcern("majority"))
        found = sure.find_one({"_id": _ID})
        return None if found is None else cls.of_stored(found)

    @classmethod
    def of(cls, material: bytes, keyring: Keyring) -> "StoredTokenKey":
        """Return *material* encrypted under the primary key, not yet saved."""
        return cls(envelope=keyring.encrypt(material, TokenKeyBinding()), key_id=keyring.primary.id)

    def decrypt(self, keyring: Keyring) -> TokenKey:
        """Return the key. Raises the same errors as `rewrap`."""
        return TokenKey(self._material(keyring))

    def rewrap(self, keyring: Keyring) -> bool:
        """Put it under the primary key, if it was not changed since it was read; return whether it was put.

        Raises:
            KeyMissingError: *keyring* lacks its master key.
            DecryptionError: It is not as it was stored.
        """
        new = self.of(self._material(keyring), keyring)
        changed: int = StoredTokenKey.objects(id=self.id, envelope=self.envelope).update_one(
            set__envelope=new.envelope, set__key_id=new.key_id
        )
        return bool(changed)

    def _material(self, keyring: Keyring) -> bytes:
        return decrypt(self, lambda: [TokenKeyBinding()], keyring)[0]


#: Characters of an ID that are the accessor: 96 bits.
_ACCESSOR_CHARACTERS = 24
_ACCESSOR = f"[0-9a-f]{{{_ACCESSOR_CHARACTERS}}}"

#: Milliseconds for which an expired token is kept; after that, only its name is.
_KEPT_MILLISECONDS = 30 * 86_400_000

_TAKEN = "Token name already used; names cannot be reused."


class Token(SealedDocument):
    """A token's record; it does not hold the token itself.

    The seal covers every other permanent field except the last use, so write access to the database is not
    enough to create or extend a token.
    """

    #: The token's keyed hash.
    id = StringField(primary_key=True)
    #: The name in the audit trail, never reused. Outside the default namespace it begins with the namespace,
    #: so that no namespace can find out the names of another.
    name = StringField(required=True)
    namespace = StringField(required=True)
    scopes = ListField(StringField())
    #: Networks from which it can be used; if empty, any.
    networks = ListField(StringField())
    #: The paths that it is limited to; not stored without a limit.
    paths = ListField(StringField(), default=None)
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    expires_at = DateTimeField()
    #: No renewal extends it beyond this time; not stored if it cannot be renewed.
    renewable_until = DateTimeField()
    #: Seconds from a renewal to the new expiry. A plain field: an integer's conversion fails for infinity.
    renewal_seconds = BaseField()
    #: True if each renewal extends it by its whole lifetime; otherwise not stored.
    periodic = BooleanField()
    #: True if it stays valid when its creator is revoked with the tokens below it; otherwise not stored.
    orphan = BooleanField()
    #: True if `audit:read` shows it the entries of its own namespace only. Otherwise not stored: earlier
    #: versions, which would show it all, refuse a token with the field.
    own_entries_only = BooleanField()
    revoked_at = DateTimeField()
    #: Its last use, to about a minute. Not sealed.
    last_used_at = DateTimeField()
    #: The expiry that was announced last. Not sealed.
    announced = StringField()

    meta: ClassVar = {"collection": "tokens"}

    record_kind = RecordKind.TOKEN
    taken_error = TokenNameTakenError
    taken = _TAKEN
    busy = "Another request is creating a token of this name."
    later = frozenset(
        {"paths", "renewable_until", "renewal_seconds", "periodic", "orphan", "own_entries_only"}
    )

    @property
    def accessor(self) -> str:
        """The accessor: an identifier that is no credential, as the token cannot be found from its hash."""
        return accessor_of(self.id)

    @classmethod
    def with_accessor(cls, accessor: str) -> "list[Token]":
        """Return the tokens with this *accessor*; more than one only if someone stored others."""
        if not is_accessor(accessor):
            return []
        ids = {"$gte": accessor, "$lt": accessor + "g"}
        return list(cls.objects(__raw__={"_id": ids, "pending": None}))

    @property
    def plain_name(self) -> str:
        """The name within its namespace."""
        return str(self.name).removeprefix(f"{self.namespace}/")

    @classmethod
    def new_name(cls, namespace: str, name: str) -> str:
        """Return the stored name of a new token *name* of *namespace*.

        Earlier versions, which may run at the same time, store plain names in all namespaces.

        Raises:
            TokenNameTakenError: A token of this namespace has such a plain name.
        """
        former = cls.raw().find_one({"name": name}, {"namespace": 1})
        is_own = former is not None and former.get("namespace") == namespace
        if namespace == DEFAULT_NAMESPACE and (former is None or is_own):
            return name
        if is_own:
            raise TokenNameTakenError(_TAKEN)
        return f"{namespace}/{name}"

    @classmethod
    def named(cls, name: str, *, namespace: str | None) -> "list[Token]":
        """Return the tokens *name* of *namespace*, or of all namespaces; usually at most one each."""
        if namespace is not None:
            return list(
                cls.objects(namespace=namespace, name__in=[name, f"{namespace}/{name}"], pending=None)
            )
        return list(cls.objects(name=re.compile(f"^(.*/)?{re.escape(name)}$"), pending=None))

    @classmethod
    def created_by_any(cls, names: Iterable[str]) -> "list[Token]":
        """Return the tokens that the principals with these *names* created."""
        return list(cls.objects(__raw__={"created_by": {"$in": list(names)}}).order_by("name"))

    @classmethod
    def in_effect(cls, creators: Iterable[str], now: datetime, *, limit: int) -> "list[Token]":
        """Return up to *limit* tokens that *creators* created, by name, without revoked and expired ones."""
        is_alive = {"$or": [{"expires_at": None}, {"expires_at": {"$gt": now}}]}
        mine = {"created_by": {"$in": list(creators)}, "pending": None, "revoked_at": None, **is_alive}
        return list(cls.objects(__raw__=mine).order_by("name").limit(limit))

    @classmethod
    def long_expired(cls, *, without: int, limit: int) -> "list[Token]":
        """Return up to *limit* tokens that expired long ago, the earliest first, *without* the first ones."""
        return list(cls.objects(__raw__=_long_expired()).order_by("expires_at").skip(without).limit(limit))

    @classmethod
    def keep_names(cls, ids: Iterable[str]) -> None:
        """Remove the tokens with these *ids* that expired long ago, except for their names."""
        name_only = {"_id": "$_id", "name": "$name", "namespace": "$namespace", "pending": False}
        cls.raw().update_many({"_id": {"$in": list(ids)}, **_long_expired()}, [{"$replaceWith": name_only}])

    def renew(self, expires_at: datetime, key: TokenKey) -> bool:
        """Set its expiry, if it was not changed since it was read; return whether it was set.

        The seal changes with every other change: a renewal never undoes a revocation.
        """
        unchanged = {"_id": self.id, "seal": self.seal}
        self.expires_at = expires_at
        self.close(key)
        change = {"$set": {"expires_at": expires_at, "seal": self.seal}}
        return bool(self.raw().update_one(unchanged, change).matched_count)

    @classmethod
    def store_uses(cls, ages: Mapping[str, int]) -> None:
        """Store the last use of tokens by their IDs, each so many milliseconds ago; a later one stays."""
        # A pipeline, to use MongoDB's clock.
        changes = [
            UpdateOne(
                {"_id": identifier},
                [{"$set": {"last_used_at": {"$max": ["$last_used_at", {"$subtract": ["$$NOW", age]}]}}}],
            )
            for identifier, age in ages.items()
        ]
        cls.raw().bulk_write(changes, ordered=False)


def is_accessor(text: str) -> bool:
    """Return whether *text* has the form of an accessor."""
    return re.fullmatch(_ACCESSOR, text) is not None


def accessor_of(token_id: object) -> str:
    """Return the accessor of the token with this ID."""
    return str(token_id)[:_ACCESSOR_CHARACTERS]


def _long_expired() -> dict[str, Any]:
    """Return the condition for tokens that expired long ago, by this clock and by MongoDB's."""
    kept = timedelta(milliseconds=_KEPT_MILLISECONDS)
    since = {"$subtract": ["$$NOW", _KEPT_MILLISECONDS]}
    # The first condition on the expiry uses its index.
    return {
        "pending": None,
        "expires_at": {"$lt": datetime.now(UTC) - kept},
        "$expr": {"$lt": ["$expires_at", since]},
    }
