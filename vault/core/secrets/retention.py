"""Retention: the versions that are kept of a secret, and the time for which a deleted one can be restored."""

from datetime import UTC, datetime, timedelta

from vault.common.timestamps import to_milliseconds
from vault.core.documents.stored_secret import StoredSecret
from vault.core.documents.write_rules import WriteRules

#: The maximum of `MAX_VERSIONS`: older versions are not the service's, and must not fill an entry.
_MAX_VERSIONS = 1_000

_NEVER = datetime.max.replace(tzinfo=UTC)


class Retention:
    """The service keeps *max_versions* of each secret, and deleted secrets for *recovery_days*."""

    def __init__(self, *, max_versions: int, recovery_days: int) -> None:
        self.max_versions = max_versions
        #: The recovery period; zero if a deletion is permanent.
        self.recovery = timedelta(days=recovery_days)

    def end(self, secret: StoredSecret, now: datetime) -> datetime:
        """Return the time until which *secret* can be restored if it is deleted *now*."""
        return to_milliseconds(min(now + self.recovery, secret.expires_at or _NEVER))

    def newest_dropped(self, secret: StoredSecret, rules: WriteRules) -> int:
        """Return the highest number of a version that the next write of *secret* drops under *rules*."""
        return secret.version + 1 - min(self.max_versions, rules.max_versions or self.max_versions)

    def dropped(self, secret: StoredSecret, rules: WriteRules) -> list[int]:
        """Return the versions with a value that the next write of *secret* drops under *rules*."""
        numbers = range(secret.version + 1 - _MAX_VERSIONS, self.newest_dropped(secret, rules) + 1)
        return sorted(info.version for info in secret.infos if info.version in numbers and not info.is_purged)

    def requires_purge(
        self, secret: StoredSecret, *, rules: WriteRules, expires_at: datetime | None, now: datetime
    ) -> bool:
        """Return whether new *rules* and a new expiry remove something earlier than a deletion would.

        That is an expiry before the end of the recovery period, or rules under which the next write drops
        more versions than under the present ones. Without a recovery period, a deletion is permanent.
        """
        if not self.recovery:
            return False
        is_earlier = (expires_at or _NEVER) < self.end(secret, now)
        return is_earlier or len(self.dropped(secret, rules)) > len(self.dropped(secret, secret.rules))
