"""What is measured: the instruments, by name. Without a folder for their values they do nothing.

Each process keeps its values in files of that folder, in which whichever worker is asked finds those of all.
No label ever holds what a caller or a database chooses: an id, a name, an address, a principal.
"""

import os
from collections.abc import Sequence
from functools import partial
from operator import getitem
from typing import Self, cast

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import mark_process_dead

#: The folder; the library's own variable, which `vault.server` sets before this module is loaded.
FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")

_NAMESPACE = "secret_manager"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 100)


class _Nothing:
    """Stands in for every instrument where nothing is measured."""

    def labels(self, *_: object) -> Self:
        return self

    def inc(self, _amount: float = 1) -> None:
        pass

    def set(self, _value: float) -> None:
        pass

    def observe(self, _value: float) -> None:
        pass


#: What the files of this process are named after. Not after its id, as they would be by themselves: the
#: counts of a worker that has ended have to stay, and its files would pile up. A worker that takes the place
#: of one that has ended counts on in its files.
_place = {"name": f"p{os.getpid()}"}

if FOLDER:
    # No function of ours: it is called each time that something is counted.
    values.ValueClass = values.MultiProcessValue(partial(getitem, _place, "name"))  # type: ignore[no-untyped-call]


def take_place(number: int) -> None:
    """Let this process, forked just now, count on as the worker of this *number*; no two may at a time."""
    _place["name"] = f"w{number}"


def leave_place(number: int) -> None:
    """Forget what only holds while the worker of this *number* runs, as it has ended."""
    if FOLDER:
        mark_process_dead(f"w{number}", FOLDER)  # type: ignore[no-untyped-call]


def _counter(name: str, text: str, labels: Sequence[str]) -> Counter:
    if not FOLDER:
        return cast(Counter, _Nothing())
    return Counter(name, text, labels, namespace=_NAMESPACE, registry=None)


def _gauge(name: str, text: str, labels: Sequence[str]) -> Gauge:
    if not FOLDER:
        return cast(Gauge, _Nothing())
    return Gauge(name, text, labels, namespace=_NAMESPACE, registry=None, multiprocess_mode="livesum")


def _histogram(name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
    if not FOLDER:
        return cast(Histogram, _Nothing())
    return Histogram(name, text, labels, namespace=_NAMESPACE, registry=None, buckets=buckets)


REQUESTS = _counter("requests", "Requests that were answered.", ["operation", "status"])
DURATION = _histogram("request_duration_seconds", "Time to a reply.", ["operation"], _SECONDS)
REFUSALS = _counter("refusals", "Requests that were refused, by the reason.", ["reason"])
RATE_LIMIT_HITS = _counter("rate_limit_hits", "Requests that a rate limit refused.", ["limit"])
CONNECTIONS_DROPPED = _counter(
    "connections_dropped", "Client connections that were refused or closed for others.", ["reason"]
)
MONGODB = _histogram(
    "mongodb_duration_seconds", "Time that MongoDB was waited for.", ["command", "outcome"], _SECONDS
)
BATCH_SIZE = _histogram("batch_size", "Items that shared a round trip.", ["queue"], _ITEMS)
BATCH_WAITING = _gauge("batch_waiting", "Items that wait for a round trip.", ["queue"])

_ENTRIES = _counter("audit_entries", "Audit entries that were to be written.", ["outcome"])
ENTRIES_WRITTEN = _ENTRIES.labels("written")
#: Not known to be written.
ENTRIES_FAILED = _ENTRIES.labels("failed")

_SINK_ENTRIES = _counter("audit_sink_entries", "Audit entries for the second sink.", ["outcome"])
SINK_WRITTEN = _SINK_ENTRIES.labels("written")
SINK_FAILED = _SINK_ENTRIES.labels("failed")

_DECRYPTION_FAILURES = _counter("decryption_failures", "Stored values that were not decrypted.", ["reason"])
DOES_NOT_VERIFY = _DECRYPTION_FAILURES.labels("does_not_verify")
UNKNOWN_KEY = _DECRYPTION_FAILURES.labels("unknown_key")
