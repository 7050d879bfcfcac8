"""Metrics: the instruments, by name. They do nothing without a folder for their values.

Each process keeps its values in files of that folder, so every worker can report the values of all workers.
A label never contains data from callers or the database, such as an ID, a name, an address or a principal.
"""

import os
from collections.abc import Sequence
from functools import partial
from operator import getitem
from typing import Literal, Self, cast

from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import mark_process_dead

#: The folder. `vault.server` sets this variable of prometheus_client before this module is imported.
FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")

_NAMESPACE = "secret_manager"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 100)


class _NoInstrument:
    """Stand in for every instrument if nothing is measured."""

    def labels(self, *_: object) -> Self:
        return self

    def inc(self, _amount: float = 1) -> None:
        pass

    def set(self, _value: float) -> None:
        pass

    def observe(self, _value: float) -> None:
        pass


#: The name of this process's files. By default they are named after the process ID: then the files of ended
#: workers would accumulate, because their counts must stay. Here a worker that replaces an ended one
#: continues its files.
_place = {"name": f"p{os.getpid()}"}

if FOLDER:
    # Not a Python function: it is called at each count.
    values.ValueClass = values.MultiProcessValue(partial(getitem, _place, "name"))  # type: ignore[no-untyped-call]


def take_place(number: int) -> None:
    """Continue the counts of worker *number* in this newly forked process; each number has one process."""
    _place["name"] = f"w{number}"


def leave_place(number: int) -> None:
    """Remove the gauges of worker *number*, which has ended."""
    if FOLDER:
        mark_process_dead(f"w{number}", FOLDER)  # type: ignore[no-untyped-call]


def counter(name: str, text: str, labels: Sequence[str]) -> Counter:
    """Return a new counter."""
    if not FOLDER:
        return cast(Counter, _NoInstrument())
    return Counter(name, text, labels, namespace=_NAMESPACE, registry=None)


def gauge(
    name: str, text: str, labels: Sequence[str], mode: Literal["livesum", "livemax"] = "livesum"
) -> Gauge:
    """Return a new gauge; *mode* says what it is of all workers."""
    if not FOLDER:
        return cast(Gauge, _NoInstrument())
    return Gauge(name, text, labels, namespace=_NAMESPACE, registry=None, multiprocess_mode=mode)


def _histogram(name: str, text: str, labels: Sequence[str], buckets: Sequence[float]) -> Histogram:
    if not FOLDER:
        return cast(Histogram, _NoInstrument())
    return Histogram(name, text, labels, namespace=_NAMESPACE, registry=None, buckets=buckets)


REQUESTS = counter("requests", "Answered requests.", ["operation", "status"])
DURATION = _histogram("request_duration_seconds", "Time to a reply, in seconds.", ["operation"], _SECONDS)
BATCH_ITEMS = counter(
    "batch_items", "Items of batches, by the status that each would have alone.", ["operation", "status"]
)
REFUSALS = counter("refusals", "Refused requests, and items of batches, by reason.", ["reason"])
RATE_LIMIT_HITS = counter("rate_limit_hits", "Requests refused by a rate limit.", ["limit"])
CONNECTIONS_DROPPED = counter(
    "connections_dropped", "Client connections refused, or closed to make room.", ["reason"]
)
MONGODB = _histogram(
    "mongodb_duration_seconds", "Time of a wait for MongoDB, in seconds.", ["command", "outcome"], _SECONDS
)
BATCH_SIZE = _histogram("batch_size", "Number of items in a round trip.", ["queue"], _ITEMS)
BATCH_WAITING = gauge("batch_waiting", "Number of items waiting for a round trip.", ["queue"])

_ENTRIES = counter("audit_entries", "Audit entries, by outcome.", ["outcome"])
ENTRIES_WRITTEN = _ENTRIES.labels("written")
#: The write failed, or its outcome is unknown.
ENTRIES_FAILED = _ENTRIES.labels("failed")

_SINK_ENTRIES = counter(
    "audit_sink_entries", "Audit entries for AUDIT_SINK, by outcome of the write.", ["outcome"]
)
SINK_WRITTEN = _SINK_ENTRIES.labels("written")
SINK_FAILED = _SINK_ENTRIES.labels("failed")

CANARY_READS = counter("canary_reads", "Reads of canaries, which no program makes.", [])

_DECRYPTION_FAILURES = counter("decryption_failures", "Stored values that failed to decrypt.", ["reason"])
DOES_NOT_VERIFY = _DECRYPTION_FAILURES.labels("does_not_verify")
UNKNOWN_KEY = _DECRYPTION_FAILURES.labels("unknown_key")
