"""Measure more workers, replicas and MongoDB members, and more data: `python loadtest/scale.py`.

`--part processes` runs 1, 2 and 4 workers, and 1, 2 and 3 replicas, on a MongoDB of one member and of three.
Each worker gets the same share of the first processor; MongoDB and wrk have the others.

`--part growth` fills a database in steps, up to `--secrets` and `--entries`, and measures after each of them.

Exits with 1 if a request failed. Requires wrk, `scripts/install.sh bench`, and, for shares of a processor,
root.
"""

import os
import sys
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import click
import documents
import rest
from baselines.processes import Grown, SecretManager
from comparison import Rounds, failed
from grown import Step, Stored, grow
from replicas import Figures, Size, measure

_SIZES = (Size(1, 1), Size(1, 2), Size(1, 4), Size(2, 1), Size(3, 1))
_MEMBERS = (1, 3)
_PARTS = ("processes", "growth")
_PROCESSES = (
    *(
        "MongoDB members",
        "replicas",
        "workers each",
        "call",
        "requests/s",
        "÷ one worker",
        "p50, ms",
        "p99, ms",
    ),
    *("CPU of the service, ms", "of the primary, ms", "of each secondary, ms", "load"),
)
_INPUTS = (
    *("MongoDB members", "call", "CPU of the service, ms", "of the primary, ms", "of each secondary, ms"),
    *("workers for 1,000 requests/s", "cores of the primary", "of each secondary"),
)
_GROWTH = (
    *("secrets", "entries", "bytes a secret", "bytes an entry", "on disk, GB", "cache, GB", "memory, GB"),
    *("query of the trail, ms", "filled/s"),
)
_SPEED = (
    *("secrets", "entries", "call", "requests/s", "÷ small", "p50, ms", "p99, ms"),
    *("CPU of the service, ms", "÷ small", "of MongoDB, ms", "÷ small", "load"),
)
_INDEXES = ("collection", "index", "bytes a document")
#: The planned load of a processor, as a part of its time.
_BUSY = 0.6

#: Rows of the tables, by the number of members, size and call.
_Found = dict[tuple[int, Size, str], tuple[Figures, float]]
#: Each step, and the load of the machine after it.
_Steps = Sequence[tuple[Step, float]]


def run_processes(folder: Path, rounds: Rounds, *, share: float, members: Sequence[int]) -> _Found:
    """Measure all sizes on each number of *members*."""
    found: _Found = {}
    for count in members:
        place = folder / f"members-{count}"
        place.mkdir()
        for size, what, figures in measure(
            place,
            _SIZES,
            count=count,
            share=share,
            rounds=rounds,
            processors=_processors(),
        ):
            found[count, size, what] = figures, os.getloadavg()[0]
    return found


def _processors() -> tuple[Collection[int], Collection[int]]:
    """Return the processor of the service, and those of MongoDB and the load."""
    first, *others = sorted(os.sched_getaffinity(0))
    return {first}, others or {first}


def processes_table(found: _Found) -> str:
    """Return the table of all sizes."""
    return documents.table(_PROCESSES, _process_rows(found))


def _process_rows(found: _Found) -> Iterator[Sequence[str]]:
    for (count, size, what), (figures, load) in found.items():
        one, _ = found[count, _SIZES[0], what]
        yield (
            str(count),
            str(size.replicas),
            str(size.workers),
            what,
            f"{figures.a_second:.0f}",
            f"{figures.a_second / one.a_second:.2f}",
            f"{figures.p50:.1f}",
            f"{figures.p99:.0f}",
            *_cpu(figures, count),
            f"{load:.1f}",
        )


def _cpu(figures: Figures, count: int) -> Sequence[str]:
    secondary = f"{figures.secondary:.2f}" if count > 1 else documents.NOTHING
    return f"{figures.service:.2f}", f"{figures.primary:.2f}", secondary


def inputs_table(found: _Found) -> str:
    """Return the CPU time of a request, and the processors for 1,000 requests a second."""
    return documents.table(_INPUTS, _input_rows(found))


def _input_rows(found: _Found) -> Iterator[Sequence[str]]:
    for (count, size, what), (figures, _) in found.items():
        if size == _SIZES[0]:
            secondary = f"{figures.secondary / _BUSY:.1f}" if count > 1 else documents.NOTHING
            cores = f"{figures.service / _BUSY:.1f}", f"{figures.primary / _BUSY:.1f}", secondary
            yield (str(count), what, *_cpu(figures, count), *cores)


def growth_table(steps: _Steps) -> str:
    """Return the table of the bytes after each step."""
    return documents.table(_GROWTH, (_growth_row(step) for step, _ in steps))


def _growth_row(step: Step) -> Sequence[str]:
    return (
        *_counts(step),
        *(f"{_bytes(stored):.0f}" for stored in (step.secrets, step.trail)),
        *(f"{size / 1e9:.2f}" for size in (step.on_disk, step.cache, step.resident)),
        f"{step.query:.1f}, at most {step.longest_query:.0f}",
        f"{step.filled_a_second:.0f}",
    )


def _counts(step: Step) -> Sequence[str]:
    return f"{step.secrets.documents:,}", f"{step.trail.documents:,}"


def speed_table(steps: _Steps) -> str:
    """Return the table of the calls after each step, compared with those to a small database."""
    return documents.table(_SPEED, _speed_rows(steps))


def _speed_rows(steps: _Steps) -> Iterator[Sequence[str]]:
    for kind in rest.KINDS:
        for step, load in steps:
            block = step.speed[kind]
            one = block.samples[Grown.name]
            a_second, cpu, mongodb = (
                f"{block.ratio(figure, SecretManager.name, ours=Grown.name):.2f}"
                for figure in ("a_second", "cpu", "mongodb")
            )
            yield (
                *_counts(step),
                kind,
                f"{one.a_second:.0f}",
                a_second,
                f"{one.p50:.1f}",
                f"{one.p99:.0f}",
                f"{one.cpu:.2f}",
                cpu,
                f"{one.mongodb:.2f}",
                mongodb,
                f"{load:.1f}",
            )


def _bytes(stored: Stored) -> float:
    return (stored.data + sum(stored.indexes.values())) / stored.documents


def indexes_table(step: Step) -> str:
    """Return the bytes of the data and of each index after the last step."""
    return documents.table(_INDEXES, _index_rows(step))


def _index_rows(step: Step) -> Iterator[Sequence[str]]:
    for name, stored in (("secrets", step.secrets), ("audit_logs", step.trail)):
        yield name, "none: the documents", f"{stored.data / stored.documents:.0f}"
        for index, size in stored.indexes.items():
            yield name, f"`{index}`", f"{size / stored.documents:.0f}"


@click.command()
@click.option("--part", "parts", multiple=True, type=click.Choice(_PARTS), help="Only this part.")
@click.option("--rounds", default=3, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=16, show_default=True, help="Connections for each worker.")
@click.option(
    "--members", multiple=True, type=int, default=_MEMBERS, show_default=True, help="MongoDB members."
)
@click.option(
    "--share",
    default=0.2,
    show_default=True,
    help="Share of a processor for each worker; 0 for no limit (processes).",
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
    secrets: int,
    entries: int,
    step: int,
    workers: int,
    cache: float,
    data: Path | None,
) -> None:
    """Measure more processes and more data, and print the tables."""
    errors, each = 0.0, Rounds(rounds, seconds, connections)
    with tempfile.TemporaryDirectory(dir=data) as name:
        folder = Path(name)
        if "processes" in (parts or _PARTS):
            found = run_processes(folder, each, share=share, members=members)
            show(processes_table(found))
            show(inputs_table(found))
            errors += sum(figures.errors for figures, _ in found.values())
        if "growth" in (parts or _PARTS):
            steps = []
            for one in grow(
                folder,
                secrets_count=secrets,
                entries_count=entries,
                step=step,
                cache_gigabytes=cache,
                workers=workers,
                rounds=each,
            ):
                steps.append((one, os.getloadavg()[0]))
                # After each step: the run takes hours, and can be interrupted.
                show(growth_table(steps))
                show(speed_table(steps))
                show(indexes_table(one))
                errors += failed(one.speed.values())
    sys.exit(bool(errors))


def show(table: str) -> None:
    """Print a *table*."""
    click.echo(f"\n{table}")


if __name__ == "__main__":
    main()
