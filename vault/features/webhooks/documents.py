"""Stored webhooks: subscriptions to events."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, ClassVar, Self

from mongoengine import DateTimeField, DictField, ListField, StringField

from vault.core.attempt import Action
from vault.core.crypto.token_key import RecordKind
from vault.core.documents.base import is_text, text, texts
from vault.core.documents.sealed import SealedDocument


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The place of a webhook in the audit trail, and its failures since the last delivery."""

    #: Increases with each change, so that none is overwritten by one who has not seen it.
    revision: int = 0
    #: A cursor of `vault.core.trail.reader`; empty at the beginning.
    cursor: str = ""
    #: Events of earlier entries are not sent; None for no limit.
    since: datetime | None = None
    #: The IDs of delivered events of the page after the cursor.
    sent: tuple[str, ...] = ()
    attempts: int = 0
    failing_since: datetime | None = None
    next_attempt_at: datetime | None = None
    #: The reason of the last failure.
    error: str = ""
    #: The time of the last attempt, after a day of failures; None while the service sends.
    dead_at: datetime | None = None

    @classmethod
    def of(cls, document: object) -> Self:
        """Return the progress that is stored as *document*; of parts of another type, the default."""
        stored = document if isinstance(document, dict) else {}
        times = ("since", "failing_since", "next_attempt_at", "dead_at")
        numbers = ("revision", "attempts")
        return cls(
            cursor=text(stored.get("cursor")),
            error=text(stored.get("error")),
            sent=tuple(texts(stored.get("sent"))),
            **{name: _typed(stored.get(name), datetime, None) for name in times},
            **{name: _typed(stored.get(name), int, 0) for name in numbers},
        )


def _typed(value: object, kind: type[Any], default: Any) -> Any:
    return value if type(value) is kind else default


class Webhook(SealedDocument):
    """A URL that gets events. Its signing secret is derived from its ID, and not stored."""

    #: Random.
    id = StringField(primary_key=True)
    url = StringField(required=True)
    #: The kinds of its events.
    events = ListField(StringField())
    namespace = StringField(required=True)
    #: Names of secrets, and prefixes; if empty, all of the namespace.
    paths = ListField(StringField())
    created_at = DateTimeField(required=True)
    created_by = StringField(required=True)
    #: That of its creator's credential.
    expires_at = DateTimeField()
    #: As `Progress`.
    progress = DictField()

    meta: ClassVar = {"collection": "webhooks"}

    record_kind = RecordKind.WEBHOOK
    noun = "webhook"
    end_action = Action.WEBHOOK_DELETE
    unsealed = frozenset({"progress"})

    def end_details(self) -> dict[str, str]:
        """Return the details of the entry of its end."""
        return {"webhook_id": self.id, **super().end_details()}

    def _holders(self) -> dict[str, Any]:
        return {"_id": self.id}

    @classmethod
    def save_progress(cls, webhook_id: str, progress: Progress) -> bool:
        """Store *progress*; return False if it was changed since the revision before, or the webhook is gone.

        A webhook with the progress of another hand has no revision.
        """
        known: dict[str, Any] = {"progress.revision": progress.revision - 1}
        if progress.revision == 1:
            known = {"progress.revision": {"$not": {"$type": "number", "$gt": 0}}}
        change = {"$set": {"progress": asdict(progress)}}
        return bool(cls.raw().update_one({"_id": webhook_id, **known}, change).matched_count)

    @classmethod
    def with_id(cls, webhook_id: str) -> list[dict[str, Any]]:
        """Return the webhook with this ID, if there is one, as PyMongo reads it."""
        return cls.active({"_id": webhook_id}) if is_text(webhook_id) else []
