"""The sender of events: one process of all, elected by a lease, sends to all webhooks."""

import logging
import os
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from secrets import token_hex
from threading import Thread
from time import monotonic
from urllib.parse import urlsplit

from vault.common.errors import VaultError
from vault.common.feature import EventKind
from vault.common.networks import Network
from vault.common.outcomes import Status
from vault.common.periodic import Periodic
from vault.common.retries import seconds_after
from vault.common.text import quantity
from vault.core.access.token_keys import TokenKeys
from vault.core.attempt import Action, Attempt
from vault.core.crypto.token_key import TokenKey
from vault.core.documents.guard import best_effort_cleanup, storage_errors
from vault.core.documents.lease import Lease
from vault.core.documents.primary import Primary
from vault.core.principal import SERVICE
from vault.core.trail.reader import SETTLED_SECONDS, examine
from vault.core.trail.streams import stream
from vault.core.trail.streams.collection import collection
from vault.features.webhooks import metrics
from vault.features.webhooks.destination import OF_SENDER
from vault.features.webhooks.documents import Progress, Webhook
from vault.features.webhooks.endpoint import TIMEOUT_SECONDS, Endpoint, PostponedError, UndeliveredError
from vault.features.webhooks.errors import WebhookNotFoundError
from vault.features.webhooks.events import Event, EventFilter, events_of, in_order
from vault.features.webhooks.look import INTERVAL_SECONDS as LOOK_INTERVAL_SECONDS
from vault.features.webhooks.look import look
from vault.features.webhooks.webhooks import STATES, Subscription

logger = logging.getLogger(__name__)

#: Seconds between two looks at the webhooks: of the sender, of a process while another one is the sender, and
#: while there is no webhook. Any number of processes cost MongoDB little.
_INTERVAL_SECONDS, _STAND_BY_SECONDS, _IDLE_SECONDS = 1, 10, 40

#: Seconds of the lease. Requests in progress end before it does, with a margin for clocks.
LEASE_SECONDS = 20
_LAST_REQUEST_SECONDS = 3 * TIMEOUT_SECONDS

#: The name of the thread of the daily look, among those of webhooks.
_LOOK = ""

#: Webhooks that are served at the same time, and the seconds after which one gives way to others. The names
#: of their hosts are looked up in gevent's pool of 10 threads.
_MAX_SERVED = 8
_TURN_SECONDS = 10

#: The entries of a page; after the sender was killed, the events of one page are sent again.
_PAGE = 100

#: The entries of any kind that are searched for those of a page.
_EXAMINED = 20_000

#: The unsettled entries that are compared with those of the look before. More always count as news.
_MAX_UNSETTLED = 1_000

#: The first and the longest pause after a failure, and the time after which a webhook is dead.
_FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 5, 3_600
DEAD_AFTER = timedelta(days=1)

#: Seconds after which the place of a webhook without events is stored.
_SAVE_INTERVAL = timedelta(seconds=60)


class Sender:
    """Sends the events of all webhooks while this process holds the lease.

    Nothing of it is on the way of a request: the trail is the queue, and each webhook has a cursor in it.
    """

    def __init__(self, keys: TokenKeys, networks: Sequence[Network], ping: Callable[[], Primary]) -> None:
        self._keys = keys
        self._networks = networks
        self._ping = ping
        self._looks_at = 0.0
        self._lease = Lease("webhooks")
        # Drawn at the start: workers are forks of one process.
        self._holder = ""
        self._periodic = Periodic("webhooks", _INTERVAL_SECONDS, self.act_if_due)
        self._acts_at = 0.0
        #: The time until which requests may begin.
        self._until = 0.0
        #: The IDs of the webhooks that get events, at the last look.
        self._live: set[str] = set()
        #: By webhook: its thread, when it began last, and its progress with the time of the last save.
        self._threads: dict[str, Thread] = {}
        self._served: dict[str, float] = {}
        self._progress: dict[str, tuple[Progress, datetime]] = {}
        #: The unsettled entries of all kinds, the number of changes of this set, and of each webhook that has
        #: sent all, this number and its revision.
        self._unsettled: set[str] = set()
        self._news = 0
        self._done: dict[str, tuple[int, int]] = {}
        #: The number of dead webhooks, at the last look.
        self._dead = 0

    def start(self) -> None:
        """Start, in a thread; later calls do nothing."""
        if not self._periodic.started:
            self._holder = f"{os.getpid()}-{token_hex(8)}"
            self._periodic.start()

    @property
    def warnings(self) -> Sequence[str]:
        """The number of webhooks to which the service no longer sends, if there are some."""
        return [f"{quantity(self._dead, 'webhook')} dead"] if self._dead else []

    def close(self) -> None:
        """Stop after the requests in progress, and leave the lease to others."""
        self._periodic.close()
        was_sender, self._until = self._until > 0, 0.0
        # The daily look takes long, and the next sender repeats it.
        for name in self._threads.keys() - {_LOOK}:
            self._threads[name].join(_LAST_REQUEST_SECONDS)
        if was_sender:
            with best_effort_cleanup():
                self._lease.release(self._holder)

    def act_if_due(self) -> None:
        """Act if it is time for that."""
        if monotonic() >= self._acts_at:
            self.act()

    def act(self) -> None:
        """Serve the webhooks that are due, if this process is the sender."""
        try:
            self._act()
        except VaultError:
            # Already logged. The next call sees more.
            self._stand_back()

    def _act(self) -> None:
        began = monotonic()
        self._acts_at = began + _STAND_BY_SECONDS
        # Not logged: without the privilege on the collection, no one has created a webhook.
        with storage_errors(is_logged=False):
            documents = Webhook.active()
        key = self._keys.find() if documents else None
        found = [one for one in (Subscription.of(document, key) for document in documents) if one]
        self._dead = sum(one.state == "dead" for one in found)
        is_sender = False
        # With a clock ahead of others, webhooks would pass what those still write.
        if found and not self._ping().clock_warning:
            with storage_errors():
                is_sender = self._lease.take(self._holder, LEASE_SECONDS)
        for state in STATES:
            metrics.WEBHOOKS.labels(state).set(sum(one.state == state for one in found) * is_sender)
        if is_sender and key:
            self._acts_at = began
            self._until = began + LEASE_SECONDS - _LAST_REQUEST_SECONDS
            self._begin(found, key)
        else:
            self._acts_at = began + (_STAND_BY_SECONDS if found else _IDLE_SECONDS)
            self._stand_back()

    def _stand_back(self) -> None:
        """Begin no more requests. Meanwhile, others can send, or fail to."""
        self._until, self._done = 0.0, {}

    def _begin(self, found: Sequence[Subscription], key: TokenKey) -> None:
        """Begin to serve those of *found* that are due, the longest waiting first."""
        self._threads = {name: thread for name, thread in self._threads.items() if thread.is_alive()}
        kinds = frozenset().union(*(one.filter.kinds for one in found))
        if monotonic() >= self._looks_at and _LOOK not in self._threads:
            self._looks_at = monotonic() + LOOK_INTERVAL_SECONDS
            self._run(_LOOK, Thread(target=look, args=[kinds, key], daemon=True))
        self._look_for_news(kinds)
        live = [one for one in found if one.state in ("active", "failing")]
        self._live = {one.id for one in live}
        due = [one for one in live if one.id not in self._threads and self._is_due(one)]
        free = max(_MAX_SERVED - len(self._threads.keys() - {_LOOK}), 0)
        for one in sorted(due, key=lambda one: self._served.get(one.id, 0.0))[:free]:
            self._served[one.id] = monotonic()
            self._run(one.id, Thread(target=self._serve, args=[one, key], daemon=True))

    def _look_for_news(self, kinds: frozenset[EventKind]) -> None:
        """Count the arrival of entries of *kinds*: one query in place of one for each webhook."""
        now = datetime.now(UTC).timestamp()
        bounds = {"_id": {"$gte": stream.first_entry_id(now - SETTLED_SECONDS)}}
        with storage_errors():
            documents = collection().find(EventFilter(kinds=kinds).query() | bounds, {"_id": True})
            unsettled = {str(document["_id"]) for document in documents.limit(_MAX_UNSETTLED)}
        self._news += len(unsettled) == _MAX_UNSETTLED or not unsettled <= self._unsettled
        self._unsettled = unsettled

    def _is_due(self, one: Subscription) -> bool:
        """Return whether *one* has something to send, or its place was not stored for long."""
        if one.progress.next_attempt_at and one.progress.next_attempt_at > datetime.now(UTC):
            return False
        is_done = self._done.get(one.id) == (self._news, one.progress.revision)
        return not is_done or monotonic() - self._served[one.id] >= _SAVE_INTERVAL.total_seconds()

    def _run(self, name: str, thread: Thread) -> None:
        self._threads[name] = thread
        thread.start()

    def _serve(self, found: Subscription, key: TokenKey) -> None:
        """Send the events of *found* for a turn. An outage of MongoDB ends it; another turn follows."""
        try:
            self._send_all(found, key)
        except VaultError:
            pass  # Already logged.
        except Exception:
            logger.exception("sending to webhook %s failed", found.id)

    def _send_all(self, found: Subscription, key: TokenKey) -> None:
        news = self._news
        progress, saved_at = self._progress.get(found.id, (found.progress, datetime.now(UTC)))
        if progress.revision != found.progress.revision:
            progress = found.progress
        endpoint = found.endpoint(key, self._networks, OF_SENDER)
        end = monotonic() + _TURN_SECONDS
        has_more = True
        while has_more and self._may_send(end):
            page = examine(
                found.filter,
                found.reader,
                cursor=progress.cursor or None,
                limit=_PAGE,
                count=_EXAMINED,
            )
            namespace = str(found.webhook.namespace)
            kinds = found.filter.kinds
            events = in_order(event for entry in page.entries for event in events_of(entry, namespace, kinds))
            progress, is_whole = self._send_page(found, progress, events, endpoint, end)
            has_more = is_whole and page.cursor is not None
            if is_whole:
                progress = replace(progress, cursor=page.follow, sent=())
            if events or has_more or datetime.now(UTC) - saved_at > _SAVE_INTERVAL:
                progress, saved_at = self._saved(found.id, progress), datetime.now(UTC)
            self._progress[found.id] = progress, saved_at
            if is_whole and not has_more:
                self._done[found.id] = news, progress.revision

    def _send_page(
        self,
        found: Subscription,
        progress: Progress,
        events: Iterable[Event],
        endpoint: Endpoint,
        end: float,
    ) -> tuple[Progress, bool]:
        """Send *events*; return the progress, and whether all have been delivered."""
        for event in events:
            if event.id in progress.sent:
                continue
            if not self._may_send(end) or found.id not in self._live:
                return progress, False
            try:
                endpoint.send(event.id, event.body)
            except PostponedError:
                # Another turn follows soon.
                return progress, False
            except UndeliveredError as error:
                metrics.FAILED.inc()
                return _failed(found, progress, str(error)), False
            metrics.DELIVERED.inc()
            progress = _delivered(progress, event.id)
        return progress, True

    def _may_send(self, end: float) -> bool:
        return monotonic() < min(self._until, end)

    def _saved(self, webhook_id: str, progress: Progress) -> Progress:
        """Store *progress* as the next revision, and return it.

        Raises:
            WebhookNotFoundError: Someone else has changed it, or deleted the webhook: the turn ends.
        """
        new = replace(progress, revision=progress.revision + 1)
        with storage_errors():
            if not Webhook.save_progress(webhook_id, new):
                raise WebhookNotFoundError
        return new


def _delivered(progress: Progress, event_id: str) -> Progress:
    return replace(
        progress,
        sent=(*progress.sent, event_id),
        attempts=0,
        failing_since=None,
        next_attempt_at=None,
        error="",
    )


def _failed(found: Subscription, progress: Progress, reason: str) -> Progress:
    """Return the progress after a failure; after a day of them, put the end on record."""
    now = datetime.now(UTC)
    since = progress.failing_since or now
    is_dead = now - since >= DEAD_AFTER
    if is_dead:
        details = {
            "webhook_id": found.id,
            "host": urlsplit(found.webhook.url).hostname,
            "namespace": found.webhook.namespace,
        }
        Attempt(action=Action.WEBHOOK_DEAD, principal=SERVICE, details=details).finish(Status.SUCCESS)
        logger.error("webhook %s is dead: its receiver failed for a day: %s", found.id, reason)
    elif not progress.failing_since:
        logger.warning("webhook %s is not accepted, retrying for a day: %s", found.id, reason)
    pause = seconds_after(progress.attempts, _FIRST_PAUSE_SECONDS, _MAX_PAUSE_SECONDS)
    spread = random.uniform(0.8, 1.2)  # noqa: S311 - spreads the retries
    return replace(
        progress,
        attempts=progress.attempts + 1,
        failing_since=since,
        next_attempt_at=now + timedelta(seconds=pause * spread),
        error=reason,
        dead_at=now if is_dead else None,
    )
