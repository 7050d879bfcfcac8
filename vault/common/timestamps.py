"""Timestamps as MongoDB stores them: UTC, to the millisecond."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_milliseconds(time: datetime) -> datetime:
    """Return *time* truncated to milliseconds, as MongoDB returns it."""
    return time.replace(microsecond=time.microsecond // 1_000 * 1_000)


def since_1970(time: datetime) -> int:
    """Return *time* in milliseconds since 1970."""
    return (time - _EPOCH) // _MILLISECOND


# The entries of a commit have the same times.
@lru_cache(maxsize=64)
def moment(time: datetime) -> str:
    """Return *time* as text, as in audit entries and replies: `2026-11-24T15:30:00.000Z`."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
