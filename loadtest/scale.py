"""Measure more workers, replicas and MongoDB members, and more data: `python loadtest/scale.py`.

`--part processes` runs 1, 2 and 4 workers, and 1, 2 and 3 replicas, on a MongoDB of one member and of three.
Each worker gets the same share of the first processor; MongoDB and wrk have the others.

`--part growth` fills a database in steps, up to `--secrets` and `--entries`. After each step, the service
takes turns with another one, whose database on the same MongoDB stays small.

Exits with 1 if a request failed. Requires wrk, `scripts/install.sh bench` and, for shares, root.
"""

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import click
import rest
from baselines.growth import fill
from baselines.processes import Grown, SecretManager
from comparison import Block, Rounds, failed
from fleet import Size, measure
from pymongo import MongoClient

from vault.clients.dev.mongod import Mongod
from vault.core.documents import AuditEntry, Database, Secret
from vault.core.principal import OPERATOR
from vault.core.trail.reader import Filter, Order, read

_SIZES = (Size(1, 1), Size(1, 2), Size(1, 4), Size(2, 1), Size(3, 1))
_PARTS = ("processes", "growth")
_PROCESSES = (
    *("MongoDB members", "replicas", "workers each", "call", "requests/s", "÷ one worker"),
    *("p50, ms", "p99, ms", "CPU of the service, ms", "of the primary, ms", "of each secondary, ms"),
)
_GROWTH = (
    *("secrets", "entries", "bytes a secret", "bytes an entry", "on disk, GB", "memory, GB"),
    *("query of the trail, ms", "filled/s"),
)
_SPEED = (
    *("secrets", "entries", "call", "requests/s", "÷ small", "p50, ms", "p99, ms"),
    *("CPU of the service, ms", "÷ small", "of MongoDB, ms", "÷ small"),
)

#: The number of secrets, and of entries, of the small database.
_SMALL = 1_000
#: Queries of the audit trail, each for the entries of one secret.
_QUERIES = 50
_PAGE_ENTRIES = 100


@dataclass(frozen=True, slots=True)
class Step:
    """The database after a step of its growth."""

    secrets: int
    entries: int
    #: Bytes on disk of all secrets and of all entries, with their indexes; of all files of MongoDB.
    secret_bytes: int
    entry_bytes: int
    on_disk: int
    #: Bytes of MongoDB's process in memory.
    resident: int
    #: Milliseconds of a query for the entries of a secret.
    query: float
    #: Secrets and entries that were added a second.
    filled_a_second: float
    #: Creates and fetches, of the grown database and of the small one.
    speed: Mapping[str, Block]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows))


def run_processes(folder: Path, rounds: Rounds, *, share: float, members: Sequence[int]) -> float:
    """Measure all sizes on each number of *members*, print the table and return the number of errors."""
    rows, errors = [], 0.0
    for count in members:
        place = folder / f"members-{count}"
        place.mkdir()
        one: dict[str, float] = {}
        for size, what, figures in measure(place, _SIZES, count=count, share=share, rounds=rounds):
            one.setdefault(what, figures.a_second)
            cells = [str(count), str(size.replicas), str(size.workers), what, f"{figures.a_second:.0f}"]
            cells += [f"{figures.a_second / one[what]:.2f}", f"{figures.p50:.1f}", f"{figures.p99:.0f}"]
            cpu = (figures.service, figures.primary, figures.secondary)
            rows.append([*cells, *(f"{milliseconds:.2f}" for milliseconds in cpu)])
            errors += figures.errors
    click.echo(f"\n{table(_PROCESSES, rows)}")
    return errors


def grow(
    folder: Path, rounds: Rounds, *, secrets: int, entries: int, step: int, cache: float, workers: int
) -> Iterator[Step]:
    """Grow a database in *folder* by *step* secrets at a time, and its trail in proportion; yield each step.

    *rounds* has the connections for each worker, and *cache* the GiB of MongoDB's cache.
    """
    with ExitStack() as stack:
        mongod = stack.enter_context(Mongod(folder / "mongod"))
        client: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(mongod.uri))
        size = f"cache_size={round(cache * 1024)}M"
        client.admin.command("setParameter", 1, wiredTigerEngineRuntimeConfig=size)
        small, service = (
            stack.enter_context(
                kind(folder, mongo_uri=mongod.uri.replace("/?", f"/{kind.name}?"), workers=workers)
            )
            for kind in (SecretManager, Grown)
        )
        rest.offer(small, fill(small.mongo_uri, small.master_key, _SMALL, _SMALL))
        database = Database(service.mongo_uri, audit_ttl_days=0)
        stack.callback(database.close)
        load = replace(rounds, connections=rounds.connections * workers)
        for more_secrets, more_entries in additions(secrets, entries, step):
            began = time.monotonic()
            ids = fill(service.mongo_uri, service.master_key, more_secrets, more_entries)
            filled = (more_secrets + more_entries) / (time.monotonic() - began)
            rest.offer(service, ids)
            speed = dict(zip(rest.KINDS, rest.turns([small, service], "grown", load), strict=True))
            yield _measured(client, mongod.data, filled, speed, ids)


def additions(secrets: int, entries: int, step: int) -> Iterator[tuple[int, int]]:
    """Yield the numbers of secrets and of entries that each step adds."""
    before = 0
    for total in (*range(step, secrets, step), secrets):
        yield total - before, (total - before) * entries // secrets
        before = total


def _measured(
    client: MongoClient[dict[str, Any]],
    data: Path,
    filled_a_second: float,
    speed: Mapping[str, Block],
    ids: Sequence[str],
) -> Step:
    query = median(_query_milliseconds(secret_id) for secret_id in ids[:_QUERIES])
    # Writes everything to the files.
    client.admin.command("fsync")
    (secrets, secret_bytes), (entries, entry_bytes) = (
        (stats["count"], stats["storageSize"] + sum(stats["indexSizes"].values()))
        for stats in (
            client[Grown.name].command("collStats", kind.collection_name()) for kind in (Secret, AuditEntry)
        )
    )
    return Step(
        secrets=secrets,
        entries=entries,
        secret_bytes=secret_bytes,
        entry_bytes=entry_bytes,
        on_disk=sum(file.stat().st_size for file in data.rglob("*") if file.is_file()),
        resident=client.admin.command("serverStatus")["mem"]["resident"] * 2**20,
        query=query,
        filled_a_second=filled_a_second,
        speed=speed,
    )


def _query_milliseconds(secret_id: str) -> float:
    began = time.perf_counter()
    which = Filter(secret_id=secret_id)
    read(which, OPERATOR, cursor=None, limit=_PAGE_ENTRIES, order=Order.NEWEST_FIRST)
    return 1_000 * (time.perf_counter() - began)


def growth_row(step: Step) -> Sequence[str]:
    """Return the row of the bytes after *step*."""
    return (
        *(f"{step.secrets:,}", f"{step.entries:,}"),
        *(f"{step.secret_bytes / step.secrets:.0f}", f"{step.entry_bytes / step.entries:.0f}"),
        *(f"{size / 1e9:.2f}" for size in (step.on_disk, step.resident)),
        *(f"{step.query:.1f}", f"{step.filled_a_second:.0f}"),
    )


def speed_rows(step: Step) -> Iterator[Sequence[str]]:
    """Yield the row of each kind of load after *step*, compared with the small database."""
    for kind, block in step.speed.items():
        one = block.samples[Grown.name]
        a_second, cpu, database = (
            f"{block.ratio(figure, SecretManager.name, ours=Grown.name):.2f}"
            for figure in ("a_second", "cpu", "database")
        )
        yield (
            *(f"{step.secrets:,}", f"{step.entries:,}", kind, f"{one.a_second:.0f}", a_second),
            *(f"{one.p50:.1f}", f"{one.p99:.0f}", f"{one.cpu:.2f}", cpu, f"{one.database:.2f}", database),
        )


def run_growth(steps: Iterable[Step]) -> float:
    """Print the tables after each of the *steps* and return whether a request failed."""
    rows, speed, errors = [], [], 0.0
    for step in steps:
        rows.append(growth_row(step))
        speed += speed_rows(step)
        errors += failed(step.speed.values())
        # After each step: the run takes hours, and can be interrupted.
        click.echo(f"\n{table(_GROWTH, rows)}\n\n{table(_SPEED, speed)}")
    return errors


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(_PARTS), help="Only this part.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=16, show_default=True, help="Connections for each worker.")
@click.option(
    "--members", multiple=True, type=int, default=(1, 3), show_default=True, help="MongoDB members."
)
@click.option(
    "--share", default=0.2, show_default=True, help="Share of a processor for each worker; 0: no limit."
)
@click.option("--secrets", default=1_000_000, show_default=True, help="Secrets at the end (growth).")
@click.option("--entries", default=10_000_000, show_default=True, help="Audit entries at the end (growth).")
@click.option("--step", default=1_000_000, show_default=True, help="Secrets of a step (growth).")
@click.option("--workers", default=2, show_default=True, help="Workers of the service (growth).")
@click.option("--cache", default=2.0, show_default=True, help="MongoDB's cache in GiB (growth).")
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder for the databases, instead of the system's temporary one.",
)
def main(
    parts: Sequence[str],
    rounds: int,
    seconds: int,
    connections: int,
    members: Sequence[int],
    share: float,
    data: Path | None,
    **growth: Any,
) -> None:
    """Measure more processes and more data, and print the tables."""
    errors, each = 0.0, Rounds(rounds, seconds, connections)
    with tempfile.TemporaryDirectory(dir=data) as folder:
        if "processes" in (parts or _PARTS):
            errors += run_processes(Path(folder), each, share=share, members=members)
        if "growth" in (parts or _PARTS):
            errors += run_growth(grow(Path(folder), each, **growth))
    sys.exit(bool(errors))


if __name__ == "__main__":
    main()
