"""Sealed documents: write access to the database is not enough to create or alter one."""

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import fields
from types import MappingProxyType
from typing import Any, ClassVar, Self, TypeVar

from mongoengine import BooleanField, DateTimeField, ListField, StringField
from pymongo.errors import DuplicateKeyError

from vault.common.errors import VaultError
from vault.common.paths import Paths
from vault.common.retries import attempts
from vault.common.timestamps import since_1970
from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind, TokenKey
from vault.core.documents.base import BaseDocument, is_text
from vault.core.principal import OPERATOR, Principal

Shown = TypeVar("Shown")

#: Milliseconds, by MongoDB's clock, that a document may be pending: longer than writing its entry can take.
_PENDING_MILLISECONDS = 120_000

#: A pending document has no seal, so older replicas, which ignore `pending`, refuse it.
_NO_SEAL = ""

#: Fields outside the seal. `pending` and `purge_at` disable or remove a document; an attacker who can write
#: them could remove it as well. The last use of a token informs operators, and grants nothing. Neither does
#: its announced expiry.
_UNSEALED = frozenset({"seal", "pending", "purge_at", "last_used_at", "announced"})


class SealedDocument(BaseDocument):
    """A document with an ID and a unique name, whose permanent fields are sealed by the token key.

    It is pending until its audit entry is durable.
    """

    seal = StringField(required=True)
    #: True: its entry is not in the audit trail yet. False: it was removed, and only its name is kept. Either
    #: way, it cannot be used or listed.
    pending = BooleanField()
    #: When MongoDB may remove a pending document.
    purge_at = DateTimeField()

    meta: ClassVar = {"abstract": True}

    record_kind: ClassVar[RecordKind]
    #: The error if another document has the name, with its text, and its text if that one is pending.
    taken_error: ClassVar[type[VaultError]]
    taken: ClassVar[str]
    busy: ClassVar[str]
    #: Fields that earlier versions do not have: not sealed while they are unset.
    later: ClassVar[frozenset[str]] = frozenset()
    #: Further fields outside the seal, which grant nothing.
    unsealed: ClassVar[frozenset[str]] = frozenset()

    #: Its kind where a revocation of its creator names it, and the action of the entry when it ends with it.
    noun: ClassVar[str]
    end_action: ClassVar[Action]
    #: True if a plain revocation of its creator leaves it in effect.
    outlasts_creator: ClassVar[bool] = True
    #: True if the tokens above it stay after their end: it does not expire, and a cascade finds it by them.
    keeps_makers: ClassVar[bool] = False
    #: True if the `role` of a principal is the name of such a document.
    is_role: ClassVar[bool] = False

    #: True unless a stored field had a type that the service does not write. Its seal could fit all the same:
    #: MongoEngine reads binary data as text, and BSON's code is text with a type of its own.
    has_written_types = True

    def remember_types(self, document: Mapping[str, Any]) -> None:
        """Take note of the types of texts in the stored *document*, and of a class that it names."""
        self.has_written_types = "_cls" not in document and all(
            _is_written(field, document.get(field.db_field)) for field in self._fields.values()
        )

    def store(self) -> None:
        """Store the document as pending, which reserves its name.

        Raises:
            VaultError: The error of this class: another document, or a pending one, has the name.
        """
        document = {**self.to_mongo().to_dict(), "seal": _NO_SEAL, "pending": True}
        until = {"$add": ["$$NOW", _PENDING_MILLISECONDS]}
        # A pipeline, to use MongoDB's clock.
        new = [{"$replaceWith": {"$mergeObjects": [{"$literal": document}, {"purge_at": until}]}}]
        holders = self._holders()
        expired = {"pending": True, "$expr": {"$lte": ["$purge_at", "$$NOW"]}}
        for _ in attempts():
            with suppress(DuplicateKeyError):
                self.raw().update_one(self._own(), new, upsert=True)
                return
            if self.raw().delete_one(holders | expired).deleted_count:
                continue
            # A pending document may be withdrawn, or MongoDB may just have removed it.
            if self.raw().find_one({**holders, "pending": {"$ne": True}}, {"_id": 1}):
                raise self.taken_error(self.taken)
        raise self.taken_error(self.busy, hint="Try again later.")

    def activate(self) -> bool:
        """Seal the pending document, so that it can be used; return False if it was pending too long."""
        change = {"$set": {"seal": self.seal}, "$unset": {"pending": "", "purge_at": ""}}
        return bool(self.raw().update_one(self._own() | {"pending": True}, change).matched_count)

    def withdraw(self) -> None:
        """Remove the document, so that its name is free again."""
        self.raw().delete_one(self._own())

    @classmethod
    def made_by(cls, creators: Collection[str], key: TokenKey) -> list[Self]:
        """Return what *creators* made and can still end. The creator of an altered one is uncertain."""
        stored = cls.active({"created_by": {"$in": list(creators)}})
        return [found for one in stored if (found := cls.genuine(one, key))]

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end; that of its name comes first."""
        return {"created_by": self.created_by}

    def end(self, key: TokenKey) -> None:  # noqa: ARG002 - others stay, under a new seal
        """Put the document out of effect, because its creator was revoked with all that it made."""
        self.withdraw()

    def close(self, key: TokenKey) -> None:
        """Seal the current fields."""
        self.seal = key.seal(self._record(), self.record_kind)

    def is_genuine(self, key: TokenKey) -> bool:
        """Return whether all sealed fields are unchanged, including their types."""
        try:
            return self.has_written_types and key.sealed(self._record(), self.seal, self.record_kind)
        except (AttributeError, TypeError, ValueError):
            return False

    @classmethod
    def genuine(cls, document: Mapping[str, Any], key: TokenKey | None) -> Self | None:
        """Return the document that PyMongo read as *document*; None if it is not as the service wrote it."""
        found = cls.of_stored(document)
        return found if key is not None and found.is_genuine(key) else None

    @classmethod
    def is_visible(cls, document: Mapping[str, Any], key: TokenKey | None, principal: Principal) -> bool:
        """Return whether *principal* sees the stored *document*: it is of its namespace and paths."""
        if principal is OPERATOR:
            return True
        if document.get("namespace") != principal.namespace:
            return False
        found = cls.genuine(document, key)
        # Without a limit to paths, the altered ones too, so that they can be deleted.
        return not principal.paths if found is None else principal.paths.cover(Paths.of(found.paths))

    def shown(self, kind: type[Shown], **given: Any) -> Shown:
        """Return a *kind*, a dataclass, with what is *given*, and otherwise the fields of this document."""
        names = (one.name for one in fields(kind) if one.name not in given)  # type: ignore[arg-type]
        stored = {name: getattr(self, name) for name in names}
        lists = {name: tuple(value) for name, value in stored.items() if isinstance(value, list)}
        return kind(**given, **stored | lists)

    @classmethod
    def active(cls, condition: Mapping[str, Any] = MappingProxyType({})) -> list[dict[str, Any]]:
        """Return the documents with this *condition* that are not pending, as PyMongo reads them."""
        return list(cls.raw().find({**condition, "pending": None}))

    @classmethod
    def after_restore(cls, key: TokenKey) -> None:
        """Change the restored documents of this class that must not act in a copy of their database."""

    @classmethod
    def withdraw_pending(cls, names: Iterable[str]) -> None:
        """Remove the pending documents of these creators, so that `activate` fails."""
        cls.raw().delete_many({"created_by": {"$in": list(names)}, "pending": True})

    @classmethod
    def remove(cls, documents: Iterable[Mapping[str, Any]]) -> None:
        """Remove *documents*, so that their names are free again."""
        cls.raw().delete_many({"_id": {"$in": [document["_id"] for document in documents]}})

    def _own(self) -> dict[str, Any]:
        """Return the condition for this document, which no other one meets: by default, its ID is random."""
        return {"_id": self.id}

    def _holders(self) -> dict[str, Any]:
        """Return the condition for documents with which this one cannot exist."""
        return {"name": self.name}

    def _record(self) -> dict[str, Any]:
        """Return the sealed fields: texts, numbers, lists, and times in milliseconds since 1970."""
        values = {name: getattr(self, name) for name in self._fields if name not in _UNSEALED | self.unsealed}
        return {
            name: _sealed_form(self._fields[name], value)
            for name, value in values.items()
            if not (value is None and name in self.later)
        }


def _is_written(field: object, value: object) -> bool:
    """Return whether the stored *value* has the type that the service writes into *field*, or is missing."""
    if value is None:
        return True
    if isinstance(field, ListField):
        return isinstance(value, list) and all(map(is_text, value))
    if isinstance(field, StringField):
        return is_text(value)
    if isinstance(field, BooleanField):
        # MongoEngine reads everything else as true or false.
        return isinstance(value, bool)
    # Times are sealed as what MongoEngine reads, numbers as they are.
    return True


def _sealed_form(field: object, value: Any) -> Any:
    if isinstance(field, DateTimeField):
        # Raises for a time of another type, which this service never writes.
        return value and since_1970(value)
    return list(value) if isinstance(field, ListField) else value
