"""A database that grows: its bytes, its memory, and the speed of the service on it, after each step."""

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import rest
from baselines.growth import fill
from baselines.processes import Grown, SecretManager
from comparison import Block, Rounds
from pymongo import MongoClient

from vault.audit.reader import Filter, Order, read
from vault.cli.dev.mongod import Mongod
from vault.core.principal import OPERATOR
from vault.documents import AuditEntry, Database, Secret

#: The number of secrets, and of entries, of the small database.
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
    #: Creates and fetches, of the grown database and of the small one.
    speed: Mapping[str, Block]
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

    After each step, the service takes turns with another one, whose database on the same MongoDB stays small.
    *rounds* has the connections for each worker.

    Raises:
        ClickException: *folder* has too little space.
    """
    _require_space(folder, secrets_count * _SECRET_BYTES + entries_count * _ENTRY_BYTES + _OTHER_BYTES)
    with ExitStack() as stack:
        mongod = stack.enter_context(Mongod(folder / "mongod"))
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(mongod.uri))
        _set_cache(client, cache_gigabytes)
        small, service = (
            stack.enter_context(_started(kind, folder, mongod, workers)) for kind in (SecretManager, Grown)
        )
        rest.offer(small, fill(small.mongo_uri, small.master_key, _SMALL, _SMALL))
        database = Database(service.mongo_uri, audit_ttl_days=0)
        stack.callback(database.close)
        load = replace(rounds, connections=rounds.connections * workers)
        for number, entries in _additions(secrets_count, entries_count, step):
            began = time.monotonic()
            ids = fill(service.mongo_uri, service.master_key, number, entries)
            filled = (number + entries) / (time.monotonic() - began)
            rest.offer(service, ids)
            blocks = rest.turns([small, service], "grown", load)
            speed = dict(zip(rest.KINDS, blocks, strict=True))
            yield _measured(client, mongod.data, filled, speed, ids)


def _started(kind: type[SecretManager], folder: Path, mongod: Mongod, workers: int) -> SecretManager:
    return kind(folder, mongo_uri=mongod.uri.replace("/?", f"/{kind.name}?"), workers=workers)


def _additions(secrets_count: int, entries_count: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of secrets and of entries that each step adds."""
    before = 0
    for total in (*range(step, secrets_count, step), secrets_count):
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


def _measured(
    client: MongoClient[dict[str, Any]],
    data: Path,
    filled_a_second: float,
    speed: Mapping[str, Block],
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
        speed=speed,
    )


def _stored(client: MongoClient[dict[str, Any]], collection: str) -> Stored:
    found = client[Grown.name].command("collStats", collection)
    return Stored(found["count"], found["storageSize"], found["indexSizes"])


def _query_milliseconds(secret_id: str) -> float:
    began = time.perf_counter()
    which = Filter(secret_id=secret_id)
    read(which, OPERATOR, cursor=None, limit=_PAGE_ENTRIES, order=Order.NEWEST_FIRST)
    return 1_000 * (time.perf_counter() - began)
