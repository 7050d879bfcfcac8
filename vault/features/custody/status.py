"""The line of custody in the status of an installation."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from vault.common.text import printable, quantity
from vault.core.parts import Parts
from vault.core.status import Line, moment_text
from vault.features.custody.settings import CustodySettings
from vault.features.custody.trail import CustodyState, custody_state

#: Intervals without a check after which it is missed.
_MAX_MISSED = 3


def lines(parts: Parts) -> Iterator[Line]:
    """Yield the line about the slots, if the keys come from a keyring file."""
    if parts.keyring.file:
        now = datetime.now(UTC)
        found, seconds = custody_state(now), parts.settings.of(CustodySettings).custody_check_seconds
        text = f"{quantity(len(found.slots), 'slot')}, last check {moment_text(found.time)}"
        latest = now - _MAX_MISSED * timedelta(seconds=seconds)
        yield Line.of("custody", "docs/custody.md", text, _problems(found, latest))


def _problems(found: CustodyState, latest: datetime) -> Iterator[str]:
    for slot in found.slots:
        if not slot.is_up:
            yield f"slot {printable(slot.name)} is down: {printable(slot.state)}"
    if not found.is_newest:
        yield "the keyring file is not the newest on record"
    if found.time is None or found.time < latest:
        yield "no replica checks the slots"
    if found.last_drill is None:
        yield "no drill with the shares within a year"
