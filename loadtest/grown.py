"""A database that grows: its bytes, its memory, and the speed of the service on it, after each step."""

import secrets
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import click
import rest
from baselines.growth import fill
from baselines.processes import Grown
from comparison import Rounds, Sample, medians, sample
from pymongo import MongoClient

from vault.audit.reader import Filter, Order, read
from vault.cli.mongod import Mongod
from vault.core.principal import OPERATOR
from vault.documents import AuditEntry, Database, Secret

#: The first step, to which the others are compared.
_SMALL = 1_000
#: Bytes on disk, with all indexes, and those of the journal, the replication log and free space in files.
_SECRET_BYTES, _ENTRY_BYTES, _OTHER_BYTES = 550, 450, 1_000_000_000
#: Queries of the audit trail, each for the entries of one secret.
_QUERIES = 50
_PAGE_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Stored:
    """A collection: its documents, and the bytes of their data and of their indexes on disk."""

    documents: int
    data: int
    indexes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Step:
    """The database after a step of its growth."""

    #: Secrets and entries that were added a second.
    filled_a_second: float
    secrets: Stored
    trail: Stored
    #: Bytes of all files of MongoDB, with its journal and its replication log.
    on_disk: int
    #: Bytes of the documents and indexes in MongoDB's cache, and of its process in memory.
    cache: int
    resident: int
    fetch: Sample
    create: Sample
    #: Milliseconds of a query for the entries of a secret: median and longest.
    query: float
    longest_query: float


def grow(
    folder: Path,
    *,
    secrets_count: int,
    entries_count: int,
    step: int,
    cache_gigabytes: float,
    workers: int,
    rounds: Rounds,
) -> Iterator[Step]:
    """Grow a database in *folder* by *step* secrets at a time, and its trail in proportion; yield each step.

    The first step is a small database. The service serves all the time, on all processors. *rounds* has the
    connections for each worker.

    Raises:
        ClickException: *folder* has too little space.
    """
    _require_space(folder, secrets_count * _SECRET_BYTES + entries_count * _ENTRY_BYTES + _OTHER_BYTES)
    key = secrets.token_bytes(32)
    with ExitStack() as stack:
        mongod = stack.enter_context(Mongod(folder / "mongod"))
        uri = mongod.uri.replace("/?", "/vault?")
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(uri))
        _set_cache(client, cache_gigabytes)
        service = Grown(folder, mongo_uri=uri, workers=workers)
        service.master_key = key
        stack.enter_context(service)
        database = Database(uri, audit_ttl_days=0)
        stack.callback(database.close)
        for number, entries in _additions(secrets_count, entries_count, step):
            began = time.monotonic()
            ids = fill(uri, key, number, entries)
            filled = (number + entries) / (time.monotonic() - began)
            rest.offer(service, ids)
            samples = {what: _sample(service, what, rounds) for what in ("fetch", "create")}
            yield _measured(client, mongod.data, filled, samples, ids)


def _additions(secrets_count: int, entries_count: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of secrets and of entries that each step adds."""
    small = min(_SMALL, secrets_count)
    totals = [small, *(total for total in range(step, secrets_count, step) if total > small), secrets_count]
    before = 0
    for total in dict.fromkeys(totals):
        yield total - before, (total - before) * entries_count // secrets_count
        before = total


def _require_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise click.ClickException(
            f"the database needs about {wanted / 1e9:.0f} GB, and {folder} has {free / 1e9:.0f} GB: "
            "use fewer --secrets and --entries, or another folder with --data"
        )


def _set_cache(client: MongoClient[dict[str, Any]], gigabytes: float) -> None:
    size = f"cache_size={round(gigabytes * 1024)}M"
    client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=size)


def _sample(service: Grown, what: str, rounds: Rounds) -> Sample:
    connections = rounds.connections * service.workers
    load = partial(rest.load, service, what, connections=connections, seconds=rounds.seconds)
    return medians([sample(service, load) for _ in range(rounds.count)])


def _measured(
    client: MongoClient[dict[str, Any]],
    data: Path,
    filled_a_second: float,
    samples: Mapping[str, Sample],
    ids: Sequence[str],
) -> Step:
    times = [_query_milliseconds(secret_id) for secret_id in ids[:_QUERIES]]
    # Writes everything to the files.
    client.admin.command("fsync")
    status = client.admin.command("serverStatus")
    return Step(
        filled_a_second=filled_a_second,
        secrets=_stored(client, Secret.collection_name()),
        trail=_stored(client, AuditEntry.collection_name()),
        on_disk=sum(file.stat().st_size for file in data.rglob("*") if file.is_file()),
        cache=status["wiredTiger"]["cache"]["bytes currently in the cache"],
        resident=status["mem"]["resident"] * 2**20,
        query=median(times),
        longest_query=max(times),
        **samples,
    )


def _stored(client: MongoClient[dict[str, Any]], collection: str) -> Stored:
    found = client.get_default_database().command("collStats", collection)
    return Stored(found["count"], found["storageSize"], found["indexSizes"])


def _query_milliseconds(secret_id: str) -> float:
    began = time.perf_counter()
    which = Filter(secret_id=secret_id)
    read(which, OPERATOR, cursor=None, limit=_PAGE_ENTRIES, order=Order.NEWEST_FIRST)
    return 1_000 * (time.perf_counter() - began)
