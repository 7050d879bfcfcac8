"""The primary's answer to a ping: its clock, its replica set, and whether that is a shard."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from vault.common.text import quantity

#: Seconds by which the clocks may differ without a warning. From there on, clients that follow the trail can
#: miss entries.
_CLOCK_WARNING_SECONDS = 10

#: Seconds by which the clocks may differ in a replica that serves, as in Kerberos. CI systems' JWTs are valid
#: for 5 minutes: a replica whose clock is further ahead refuses all of them, and one that is behind accepts
#: credentials and secrets for as long after their expiry. Clocks do not drift so far between two probes, so
#: readiness does not flap.
_MAX_CLOCK_SECONDS = 300

#: With fewer members, the loss of one leaves no majority that acknowledges writes.
MIN_MEMBERS = 3


@dataclass(frozen=True, slots=True)
class Primary:
    """The primary as it answered MongoDB's command `hello`, between two times of this machine's clock."""

    hello: Mapping[str, Any]
    asked_at: datetime
    answered_at: datetime

    @property
    def clock_offset(self) -> float:
        """The seconds by which this machine's clock is at least ahead of MongoDB's; negative if behind.

        0 if MongoDB's time is between question and answer: a slow answer is no difference.
        """
        # `command` returns naive times, in UTC.
        there: datetime = self.hello["localTime"].replace(tzinfo=UTC)
        ahead = (self.asked_at - there).total_seconds()
        behind = (self.answered_at - there).total_seconds()
        return ahead if ahead > 0 else min(behind, 0.0)

    @property
    def is_single_shard(self) -> bool:
        """True if it is a member of one shard of a cluster, or of its config servers, and no router.

        Such members add this field to each reply. A user without further privileges learns it by no other
        command.
        """
        return "setName" in self.hello and "lastCommittedOpTime" in self.hello

    @property
    def clock_failure(self) -> str:
        """The difference of the clocks, if it keeps this process from serving; otherwise empty."""
        return self._clock_difference(_MAX_CLOCK_SECONDS)

    @property
    def clock_warning(self) -> str:
        """The difference of the clocks, if operators should know; otherwise empty."""
        return self._clock_difference(_CLOCK_WARNING_SECONDS)

    @property
    def redundancy_warning(self) -> str:
        """The number of members, if none of them may be lost; otherwise empty."""
        if "setName" in self.hello:
            # Members of any priority with data.
            count = len(self.hello.get("hosts", ())) + len(self.hello.get("passives", ()))
            found = f"MongoDB's replica set has {quantity(count, 'member')}" if count < MIN_MEMBERS else ""
        else:
            # A router of a sharded cluster does not say how many members there are.
            found = "" if self.hello.get("msg") == "isdbgrid" else "MongoDB is a standalone server"
        return found and f"{found}: no node may be lost"

    def _clock_difference(self, limit: float) -> str:
        offset = self.clock_offset
        if abs(offset) <= limit:
            return ""
        direction = "ahead of" if offset > 0 else "behind"
        return f"this machine's clock is {abs(offset):,.0f} seconds {direction} MongoDB's"
