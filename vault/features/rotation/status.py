"""The line of rotation plans in the status of an installation."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from vault.common.text import quantity
from vault.core.parts import Parts
from vault.core.status import Line
from vault.features.rotation.plans import Rotations

_BAD = ("altered", "drifted", "failing")

#: The time after which a plan that is due should have begun.
_MAX_LATE = timedelta(minutes=10)


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about rotation plans, if there are some."""
    plans = parts.of(Rotations).infos()
    if not plans:
        return
    states, latest = Counter(plan.state for plan in plans), datetime.now(UTC) - _MAX_LATE
    problems = [f"{quantity(states[state], 'plan')} {state}" for state in _BAD if states[state]]
    late = sum(
        plan.state == "waiting" and plan.next_at is not None and plan.next_at < latest for plan in plans
    )
    if late:
        problems.append(f"{quantity(late, 'plan')} overdue: does no replica rotate?")
    yield Line.of("rotation", "docs/rotation.md#repair", f"{quantity(len(plans), 'plan')} in all", problems)
