"""Creating, listing, testing, replaying and deleting webhooks."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import BoundedSemaphore
from typing import Any
from urllib.parse import urlsplit

from vault.common.errors import GrantRefusedError, InvalidCursorError, LimitReachedError
from vault.common.networks import Network
from vault.common.outcomes import Status
from vault.common.paths import ALL_PATHS, Paths
from vault.common.timestamps import moment, to_milliseconds
from vault.core.access.publishing import publish
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Attempt
from vault.core.crypto.encoding import canonical
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import storage_errors
from vault.core.principal import Principal, plain_name
from vault.core.trail.position import Position
from vault.core.trail.reader import SETTLED_SECONDS, Order, read
from vault.features.webhooks.destination import OF_REQUESTS, addresses
from vault.features.webhooks.documents import Progress, Webhook
from vault.features.webhooks.endpoint import Endpoint, UndeliveredError, shown_secret
from vault.features.webhooks.errors import WebhookNotFoundError
from vault.features.webhooks.events import EventFilter
from vault.features.webhooks.kinds import kinds

#: The maximum number of webhooks, and of those in a namespace: one tenant must not use up all. Each reads the
#: trail by itself.
MAX_WEBHOOKS = 50
MAX_IN_NAMESPACE = 20

#: The states of a webhook; `dead`: its receiver failed for a day; `altered`: its document is not as the
#: service wrote it.
STATES = ("active", "failing", "dead", "expired", "altered")

#: The entries that a new webhook marks as seen; more are repeated only within seconds.
_MAX_SEEN = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewWebhook:
    """The request for a new webhook. Its creator's namespace and paths stand for omitted ones."""

    url: str
    #: The names of kinds.
    events: frozenset[str]
    paths: Paths = ALL_PATHS
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedWebhook:
    """A new webhook's ID, and its signing secret, which only this reply contains."""

    webhook_id: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookInfo:
    """The public fields of a webhook."""

    webhook_id: str
    #: One of `STATES`.
    state: str
    url: str = ""
    events: tuple[str, ...] = ()
    namespace: str = ""
    paths: tuple[str, ...] = ()
    created_at: datetime | None = None
    created_by: str = ""
    expires_at: datetime | None = None
    next_attempt_at: datetime | None = None
    #: The reason of the last failure, since the last delivery.
    error: str = ""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A genuine webhook, with its progress."""

    webhook: Webhook
    progress: Progress

    @classmethod
    def of(cls, document: Mapping[str, Any], key: TokenKey | None) -> "Subscription | None":
        """Return the subscription that is stored as *document*; None if it was altered."""
        webhook, progress = Webhook.genuine(document, key), Progress.of(document.get("progress"))
        try:
            Position.decode(progress.cursor)
        except InvalidCursorError:
            progress = replace(progress, cursor="")
        return webhook and cls(webhook, progress)

    @property
    def id(self) -> str:
        """The ID of the webhook."""
        return str(self.webhook.id)

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.webhook.expires_at and self.webhook.expires_at <= datetime.now(UTC):
            return "expired"
        if self.progress.dead_at:
            return "dead"
        return "failing" if self.progress.failing_since else "active"

    @property
    def reader(self) -> Principal:
        """The principal as which the trail is read: it is limited as the webhook."""
        namespace: str = self.webhook.namespace
        return Principal(name="webhook", namespace=namespace, paths=Paths.of(self.webhook.paths))

    @property
    def filter(self) -> EventFilter:
        """The filter for the entries that make its events. A kind of a later version has none."""
        known = (kind for name, kind in kinds().items() if name in self.webhook.events)
        return EventFilter(kinds=frozenset(known), since=self.progress.since)

    def endpoint(
        self, key: TokenKey, networks: Sequence[Network], look_ups: BoundedSemaphore = OF_REQUESTS
    ) -> Endpoint:
        """Return its endpoint."""
        return Endpoint(self.webhook.url, key.webhook_secret(self.id), networks, look_ups)


class Webhooks:
    """The webhooks of one deployment.

    Methods raise `StorageUnavailableError` if MongoDB is not available: a change may have taken effect.
    They raise `AuditUnavailableError` if the entry could not be written: then nothing has happened.
    """

    def __init__(self, keys: TokenKeys, networks: Sequence[Network]) -> None:
        """Allow URLs in *networks*, besides public ones."""
        self._keys = keys
        self._networks = networks

    def create(self, new: NewWebhook, *, attempt: Attempt) -> CreatedWebhook:
        """Create a webhook, which gets the events from now on.

        Raises:
            GrantRefusedError: It would have more than its creator.
            InvalidCredentialError: The creator was revoked in the meantime.
            LimitReachedError: There are `MAX_WEBHOOKS`, or `MAX_IN_NAMESPACE` in its namespace.
            WebhookAddressError: The service may not connect to its host.
        """
        creator, webhook_id = attempt.principal, secrets.token_hex(8)
        namespace, paths = new.namespace or creator.namespace, new.paths or creator.paths
        attempt.details |= {
            "webhook_id": webhook_id,
            # Not the whole URL: receivers put credentials into paths.
            "host": urlsplit(new.url).hostname,
            "namespace": namespace,
            "paths": list(paths.texts),
            "events": sorted(new.events),
        }
        if not creator.paths.cover(paths):
            raise GrantRefusedError("A webhook cannot have more than its creator: paths.")
        # A host without an address can get one later; each request looks it up again.
        with suppress(OSError):
            addresses(new.url, self._networks, waits=False)
        key = self._keys.find_or_make()
        webhook = Webhook(
            id=webhook_id,
            url=new.url,
            events=sorted(new.events),
            namespace=namespace,
            paths=list(paths.texts),
            created_at=to_milliseconds(datetime.now(UTC)),
            created_by=creator.name,
            # Like a token, it does not outlast its creator.
            expires_at=creator.expires_at and to_milliseconds(creator.expires_at),
        )
        subscription = Subscription(webhook, Progress())
        # Earlier entries are behind the place anyway: without an index, MongoDB would examine all of them.
        recent = replace(subscription.filter, since=datetime.now(UTC) - timedelta(seconds=SETTLED_SECONDS))
        newest = read(recent, subscription.reader, cursor=None, limit=_MAX_SEEN, order=Order.NEWEST_FIRST)
        webhook.progress = {"revision": 0, "cursor": newest.follow}
        webhook.close(key)
        publish(webhook, attempt=attempt, require_room=partial(_require_room, namespace))
        return CreatedWebhook(webhook_id=webhook_id, secret=shown_secret(key.webhook_secret(webhook_id)))

    def list(self, *, attempt: Attempt) -> list[WebhookInfo]:
        """Return the webhooks of the principal's namespace and paths, by their IDs; for operators, all."""
        key, principal = self._keys.find(), attempt.principal
        with storage_errors():
            documents = Webhook.active()
        attempt.finish(Status.SUCCESS)
        visible = [document for document in documents if Webhook.is_visible(document, key, principal)]
        return sorted((_info(document, key) for document in visible), key=lambda info: info.webhook_id)

    def delete(self, webhook_id: str, *, attempt: Attempt) -> None:
        """Delete a webhook. A request in progress can still arrive.

        Raises:
            WebhookNotFoundError: The principal sees no such webhook.
        """
        documents, _ = self._find(webhook_id, attempt)
        attempt.finish(Status.SUCCESS)
        with storage_errors():
            Webhook.remove(documents)

    def test(self, webhook_id: str, *, attempt: Attempt) -> Callable[[], str]:
        """Return the function that sends an event `webhook.test`, which can take long.

        It returns the reason if the event is not accepted, else an empty text.

        Raises:
            WebhookNotFoundError: The principal sees no such webhook, or it was altered.
        """
        found, key = self._genuine(webhook_id, attempt)
        attempt.finish(Status.SUCCESS)
        timestamp = moment(datetime.now(UTC))
        body = canonical({"type": "webhook.test", "timestamp": timestamp, "data": {"webhook_id": webhook_id}})
        endpoint = found.endpoint(key, self._networks)

        def send() -> str:
            try:
                endpoint.send(f"evt_{secrets.token_hex(16)}", body)
            except UndeliveredError as error:
                return str(error)
            return ""

        return send

    def replay(self, webhook_id: str, since: datetime, *, attempt: Attempt) -> None:
        """Send all events *since* a time again, with their IDs; a dead webhook is active again.

        Raises:
            WebhookNotFoundError: The principal sees no such webhook, or it was altered.
        """
        self._genuine(webhook_id, attempt)
        attempt.details["since"] = moment(since)
        attempt.finish(Status.SUCCESS)
        saved = False
        while not saved:
            with storage_errors():
                # Ahead of the sender, which may save its own progress in the meantime.
                documents = Webhook.with_id(webhook_id)
                if not documents:
                    raise WebhookNotFoundError
                revision = Progress.of(documents[0].get("progress")).revision
                progress = Progress(revision=revision + 1, since=since)
                saved = Webhook.save_progress(webhook_id, progress)

    def _genuine(self, webhook_id: str, attempt: Attempt) -> tuple[Subscription, TokenKey]:
        documents, key = self._find(webhook_id, attempt)
        for document in documents:
            if key is not None and (found := Subscription.of(document, key)):
                return found, key
        raise WebhookNotFoundError

    def _find(self, webhook_id: str, attempt: Attempt) -> tuple[Sequence[Mapping[str, Any]], TokenKey | None]:
        attempt.details["webhook_id"] = webhook_id
        key = self._keys.find()
        with storage_errors():
            found = Webhook.with_id(webhook_id)
        visible = [document for document in found if Webhook.is_visible(document, key, attempt.principal)]
        if not visible:
            raise WebhookNotFoundError
        return visible, key


def _require_room(namespace: str) -> None:
    # Without those that a killed process left pending.
    counts = {"$or": [{"pending": None}, {"$expr": {"$gt": ["$purge_at", "$$NOW"]}}]}
    found = [one.get("namespace") for one in Webhook.raw().find(counts, {"namespace": True})]
    if len(found) > MAX_WEBHOOKS or found.count(namespace) > MAX_IN_NAMESPACE:
        raise LimitReachedError(
            f"There can be at most {MAX_IN_NAMESPACE} webhooks in a namespace, and {MAX_WEBHOOKS} in all."
        )


def _info(document: Mapping[str, Any], key: TokenKey | None) -> WebhookInfo:
    found = Subscription.of(document, key)
    if found is None:
        # No other field can be trusted, not even its type.
        return WebhookInfo(webhook_id=str(document["_id"]), state="altered")
    webhook, progress = found.webhook, found.progress
    return webhook.shown(
        WebhookInfo,
        webhook_id=found.id,
        state=found.state,
        created_by=plain_name(webhook.created_by, webhook.namespace),
        next_attempt_at=progress.next_attempt_at,
        error=progress.error,
    )
