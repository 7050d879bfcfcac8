"""Stored rotation plans, each with the state of its run, and the steps of a run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, ClassVar, Self

from mongoengine import BooleanField, DateTimeField, IntField, ListField, StringField

from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind, TokenKey
from vault.core.documents.base import is_text
from vault.core.documents.lease import Lease
from vault.core.documents.sealed import SealedDocument
from vault.features.rotation.errors import RotationExistsError

#: Fields that tell a plan from earlier and later ones for the secret.
_OWN = ("created_at", "created_by")

#: The longest pause that does not depend on a plan.
_DAY_SECONDS = 86_400

#: More than any plan has. MongoDB fails for all plans if the sum of a time and a pause is no time.
_MAX_SECONDS = 2**31


class Step(StrEnum):
    """A step that a run has completed, as its plan has it. Unset between two runs."""

    #: The new password is stored, encrypted, and nowhere else.
    GENERATED = "generated"
    #: The source has it, for the user that is not in use.
    SET = "set"
    #: The user has logged in with it.
    PROVED = "proved"
    #: The secret has it. The former user can still log in.
    PUBLISHED = "published"


class Work(StrEnum):
    """A part of a run, by its name in the trail."""

    GENERATE = "generate"
    SET = "set"
    LOGIN = "login"
    PUBLISH = "publish"
    CLOSE = "close"
    #: The daily login.
    CHECK = "check"


class Rotation(SealedDocument):
    """A plan for the password of a named secret. The seal covers the state of the run, too.

    So an attacker who can write to MongoDB can neither make the service close a password that is in use, nor
    publish another one. Its lease is in further fields, without a seal.
    """

    #: Namespace and name of the secret, with a slash in between. A namespace has none.
    id = StringField(primary_key=True)
    namespace = StringField(required=True)
    name = StringField(required=True)
    #: The kind of the source.
    kind = StringField(required=True)
    #: The ID of the secret: another one that gets the name later has no plan.
    secret_id = StringField(required=True)
    #: The name of the secret with the administrator's URL, and a keyed hash of the server in it.
    admin = StringField(required=True)
    server = StringField(required=True)
    users = ListField(StringField())
    #: `password` if this is the whole value of the secret, which otherwise is a JSON object.
    field = StringField()
    every_seconds = IntField(required=True)
    grace_seconds = IntField(required=True)
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    is_paused = BooleanField()

    #: Increases with each change, so that none is overwritten by one who has not seen it.
    revision = IntField(required=True)
    #: The next time at which there is something to do, and the next daily login.
    next_at = DateTimeField(required=True)
    check_at = DateTimeField(required=True)
    #: The failures since the last step, and the reason of the last one.
    failures = IntField()
    error = StringField()
    #: Whether the password at the source was last seen to be another one.
    has_drifted = BooleanField()

    #: The last step of the run, as `Step`; unset between two runs.
    step = StringField()
    #: The user that gets the new password, and the user of the value that it replaces.
    user = StringField()
    former = StringField()
    #: The version that has the new password, and until it is published, that password, encrypted.
    version = IntField()
    password = StringField()
    #: The time before the last login with a new password, which comes before the publication.
    proved_at = DateTimeField()
    #: The times since which someone may have read the password in use, and the former one; unset for any.
    since_at = DateTimeField()
    before_at = DateTimeField()
    #: The time of the last publication, and that at which the former password ends with or without holders.
    done_at = DateTimeField()
    close_at = DateTimeField()
    #: Those who may still use the former password.
    holders = ListField(StringField())
    #: Whether another run is to follow the end of the former password at once.
    is_awaited = BooleanField()

    meta: ClassVar = {"collection": "rotations"}

    record_kind = RecordKind.ROTATION
    taken_error = RotationExistsError
    taken = "The secret has a rotation plan."
    busy = "A rotation plan for the secret is being created."
    noun = "rotation"
    end_action = Action.ROTATION_PAUSE

    @classmethod
    def made_by(cls, creators: Collection[str], key: TokenKey) -> list[Self]:
        """Return the plans that *creators* made and that are not paused."""
        return [plan for plan in super().made_by(creators, key) if not plan.is_paused]

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"rotation_name": self.name, "namespace": self.namespace, **super().end_details()}

    @classmethod
    def after_restore(cls, key: TokenKey) -> None:
        """Stop all plans: a copy of a database would change passwords that the original publishes.

        Also the former one that it knows: there, it can be in use again.
        """
        for document in cls.active():
            if plan := cls.genuine(document, key):
                plan.stop(key)

    def _holders(self) -> dict[str, Any]:
        return {"_id": self.id}

    def _own(self) -> dict[str, Any]:
        # Not by its ID alone, which other plans for the secret have, too.
        return {"_id": self.id, "pending": True, **{name: getattr(self, name) for name in _OWN}}

    @staticmethod
    def id_of(namespace: str, name: str) -> str:
        """Return the ID of the plan of a secret."""
        return f"{namespace}/{name}"

    @property
    def lease(self) -> Lease:
        """The lease on its run."""
        return Lease.of(self.collection_name(), self.id)

    def end_run(self) -> None:
        """Forget a run that has published nothing, or whose former password stays as it is."""
        self.step = self.user = self.former = self.password = self.close_at = None

    def save_changes(self, key: TokenKey) -> bool:
        """Store the fields as the next revision; return False if someone else has changed or removed it."""
        before = self.revision
        self.revision = before + 1
        self.close(key)
        stored = self.to_mongo().to_dict()
        names = self._fields.keys() - {"id", "pending", "purge_at"}
        change = {
            "$set": {name: stored[name] for name in names if name in stored},
            "$unset": {name: "" for name in names if name not in stored},
        }
        known = self._own() | {"revision": before, "pending": None}
        return bool(self.raw().update_one(known, change).matched_count)

    def end(self, key: TokenKey) -> None:
        """Pause the plan, until someone else runs it: its secret needs rotations all the same."""
        plan: Rotation | None = self
        own = {"_id": self.id, **{name: getattr(self, name) for name in _OWN}}
        while plan and not plan.is_paused:
            plan.is_paused = True
            if not plan.save_changes(key):
                # A run has changed it in the meantime.
                stored = (self.genuine(document, key) for document in self.active(own))
                plan = next(filter(None, stored), None)

    def stop(self, key: TokenKey) -> None:
        """Pause the plan and forget its run, so that nothing happens at the source until someone runs it."""
        self.end_run()
        self.is_paused = True
        self.save_changes(key)

    @classmethod
    def in_namespace(cls, namespace: str) -> list[dict[str, Any]]:
        """Return the plans of *namespace*, as PyMongo reads them."""
        # By their IDs, which no one can alter.
        return cls.active({"_id": {"$gte": f"{namespace}/", "$lt": f"{namespace}0"}})

    @classmethod
    def remove(cls, documents: Iterable[Mapping[str, Any]]) -> None:
        """Remove *documents*, and no other plans that have their IDs by now."""
        for document in documents:
            # Altered ones can have any type.
            own = {name: {"$eq": document.get(name)} for name in ("_id", *_OWN)}
            cls.raw().delete_one(own)

    @classmethod
    def with_id(cls, plan_id: str) -> list[dict[str, Any]]:
        """Return the plan with this ID, if there is one, as PyMongo reads it."""
        return cls.active({"_id": plan_id})

    @classmethod
    def due_ids(cls) -> Sequence[str]:
        """Return the IDs of the plans with something to do, by MongoDB's clock."""
        seconds = [_seconds_at(path) for path in ("$every_seconds", "$grace_seconds")]
        milliseconds = {"$multiply": [1_000, {"$max": [*seconds, _DAY_SECONDS]}]}
        latest = {"$add": ["$$NOW", milliseconds]}
        is_due = {
            "$or": [
                {"$or": [{"$lte": [f"${name}", "$$NOW"]}, {"$gt": [f"${name}", latest]}]}
                for name in ("next_at", "check_at")
            ]
        }
        # Of paused ones, only a former password can be due: `Step.PUBLISHED`.
        can_act = {"$or": [{"is_paused": {"$ne": True}}, {"step": {"$ne": None}}]}
        found = cls.raw().find({"pending": None, "$expr": is_due, **can_act}, {"_id": True})
        return [one["_id"] for one in found if is_text(one["_id"])]

    def is_due(self, time: datetime, now: datetime) -> bool:
        """Return whether *time*, one of this plan, has come.

        A time further ahead than any pause comes from a clock that was wrong.
        """
        latest = now + timedelta(seconds=max(self.every_seconds, self.grace_seconds, _DAY_SECONDS))
        return not now < time <= latest


def _seconds_at(path: str) -> dict[str, Any]:
    """Return MongoDB's expression for the seconds at *path*; 0 if an attacker has stored another type."""
    return {"$cond": [{"$in": [{"$type": path}, ["int", "long"]]}, {"$min": [path, _MAX_SECONDS]}, 0]}
