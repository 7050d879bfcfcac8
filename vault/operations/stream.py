"""One worker's chain of audit entries."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from vault.crypto import chain
from vault.documents import entry_id
from vault.documents.audit_entry import record_of

#: How far a clock may step back before a stream ends: within one stream time does not run backwards.
_CLOCK_SLACK = timedelta(seconds=1)

#: How many streams a successor names of the first that it replaces, and how many of the last. In an outage
#: commits can fail by the thousand. Those that left entries unsigned were cut off halfway by MongoDB's going
#: or by its coming back, at the one end of the outage or at the other; between, it took nothing.
_REPLACED_AT_EITHER_END = 25

#: An entry in its stored form.
Entry = dict[str, Any]


class Stream:
    """Where one chain stands: what the next entry follows.

    It moves on only when a commit succeeded. After a commit whose outcome is not known the numbers that
    it used may be taken, so the chain ends there and `successor` is what goes on.
    """

    def __init__(self, signing_key: chain.SigningKey, *, replaces: Sequence[dict[str, Any]] = ()) -> None:
        self.id = entry_id.new_stream()
        self._signing_key = signing_key
        self._replaces = replaces
        self._last: Entry | None = None
        #: The hashes of a commit that is under way, or that failed.
        self._attempted: list[str] = []

    @property
    def head(self) -> dict[str, Any] | None:
        """The newest entry that is known to be stored, as it can be held against the trail later."""
        if self._last is None:
            return None
        names = ("stream", "seq", "ts", "hash", "signer", "signature")
        record = record_of(self._last)
        return {name: record[name] for name in names}

    def is_behind(self, now: datetime) -> bool:
        """Return whether the clock has stepped back too far for this stream to go on."""
        return self._last is not None and bool(now < self._last["ts"] - _CLOCK_SLACK)

    def is_full(self, more: int) -> bool:
        """Return whether *more* entries are too many for this stream to go on."""
        return self._last is not None and bool(self._last["seq"] + more >= entry_id.MAX_ENTRIES)

    def chain(self, entries: Sequence[Entry], now: datetime) -> None:
        """Number, time, link and hash *entries*, at least one, as the next of this stream; sign the last."""
        previous = self._last
        for entry in entries:
            self._follow(entry, previous, _to_milliseconds(now))
            previous = entry
        self._attempted = [entry["hash"] for entry in entries]
        entries[-1]["signer"] = self._signing_key.public.signer
        entries[-1]["signature"] = self._signing_key.sign(entries[-1]["hash"].encode())

    def _follow(self, entry: Entry, previous: Entry | None, now: datetime) -> None:
        if previous is not None:
            entry |= {
                "seq": previous["seq"] + 1,
                "ts": max(now, previous["ts"]),
                "previous": chain.link(previous),
                "previous_ts": previous["ts"],
            }
        else:
            entry |= {"seq": 0, "ts": now}
            if self._replaces:
                entry["replaces"] = list(self._replaces)
        entry["_id"] = entry_id.derive(entry["ts"], self.id, entry["seq"])
        entry["stream"] = self.id
        entry["hash"] = chain.digest(record_of(entry))

    def committed(self, last: Entry) -> None:
        """Go on from *last*, which is known to be stored."""
        self._last = last
        self._attempted = []

    def successor(self) -> "Stream":
        """Return the stream that takes over.

        Its first entry records the end of this one, and the hashes of the commit that failed, if one did.
        Some of these entries can be stored; anything else behind the end is a forgery.
        """
        head = self.head
        attempted = {"hashes": self._attempted}
        if head is None:
            # The first commit failed, so nobody has been told yet of those that this stream replaces.
            left = [*self._replaces, {"stream": self.id, "seq": -1, **attempted}]
            if len(left) > 2 * _REPLACED_AT_EITHER_END:
                del left[_REPLACED_AT_EITHER_END]
        else:
            left = [{**{name: head[name] for name in ("stream", "seq", "ts")}, **attempted}]
        return Stream(self._signing_key, replaces=left)


def _to_milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1_000 * 1_000)
