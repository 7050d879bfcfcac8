"""The line of webhooks in the status of an installation."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from vault.common.text import quantity
from vault.core.parts import Parts
from vault.core.status import Line
from vault.core.trail import assurance
from vault.core.trail.position import Position
from vault.features.webhooks.documents import Webhook
from vault.features.webhooks.webhooks import Subscription

_BAD = ("dead", "failing", "altered")

#: The time by which an active webhook may be behind the newest entry.
_MAX_BEHIND = timedelta(minutes=10)


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about webhooks, if there are some."""
    key = parts.token_keys.read()
    found = [Subscription.of(document, key) for document in Webhook.active()]
    if not found:
        return
    states = Counter(one.state if one else "altered" for one in found)
    problems = [f"{quantity(states[state], 'webhook')} {state}" for state in _BAD if states[state]]
    behind = _behind([one for one in found if one], assurance.newest_at())
    if behind:
        problems.append(f"{quantity(behind, 'active webhook')} behind the trail: does no replica send?")
    yield Line.of("webhooks", "docs/webhooks.md", f"{quantity(len(found), 'webhook')} in all", problems)


def _behind(subscriptions: Sequence[Subscription], newest: datetime | None) -> int:
    # One that begins again has no place yet.
    places = [_place_of(one) for one in subscriptions if one.state == "active" and one.progress.cursor]
    return sum(newest is not None and newest - place > _MAX_BEHIND for place in places)


def _place_of(subscription: Subscription) -> datetime:
    """Return the time of the entries that it has reached."""
    return Position.decode(subscription.progress.cursor).settled.generation_time
