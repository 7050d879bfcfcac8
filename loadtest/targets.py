"""Measure the targets of speed: `python loadtest/targets.py [--rounds N] [--seconds N] [--write FOLDER]`.

Loads the services of `bench.py` as it does, and then batches, a second worker and a large database. Prints
the figures with their targets.

Exits with 1 if a request failed, not if a target is missed. Requires root, because the service protects its
memory from processes of the same user, and wrk and `scripts/install.sh bench`.
"""

import operator
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import batches
import click
import documents
import rest
from baselines.processes import Ceiling, Grown, Modernized, OpenBao, Original, Pinned, SecretManager
from comparison import Block, Rounds, circumstances, failed, markdown, report_resources
from stage import Start, stage

_WORKERS = 2
_CONNECTIONS = 32
_ONE, _TWO = (Pinned.title(workers) for workers in (1, 2))

#: The rows of the README's table.
_DESCRIPTIONS = {
    SecretManager.name: "this service",
    Original.name: "its original design: FastAPI, in the style of PyMongo 4.7",
    Modernized.name: "the same with PyMongo's asynchronous driver",
    OpenBao.name: "OpenBao 2.7, raft, file audit device",
    Ceiling.name: "an empty Flask application",
}
_PICTURE = "docs/performance.svg"
_SHOWN = (SecretManager.name, Original.name, OpenBao.name)

_SIGNS = {"≥": operator.ge, "≤": operator.le, "<": operator.lt}


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of a run."""

    create: Block
    fetch: Block
    #: On one connection.
    lone_create: Block
    lone_fetch: Block
    batch: Block
    #: Fetches from one worker and from two.
    workers: Block
    #: Fetches from a small and from a large database.
    growth: Block
    #: Milliseconds for the secrets of an application, by way.
    start: Mapping[str, float]
    #: MiB by service.
    memory: Mapping[str, float]

    @property
    def compared(self) -> list[Block]:
        """The blocks that compare this service with others."""
        return [self.create, self.fetch, self.lone_create, self.lone_fetch, self.batch]

    @property
    def blocks(self) -> list[Block]:
        """All blocks."""
        return [*self.compared, self.workers, self.growth]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure, and its target unless it only explains the figure before."""

    figure: str
    value: float
    #: "≥", "≤" or "<".
    sign: str = ""
    limit: float = 0

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """The cells of the table."""
        target = met = documents.NOTHING
        if self.sign:
            target = f"{self.sign} {self.limit:g}"
            met = "yes" if _SIGNS[self.sign](self.value, self.limit) else "no"
        return self.figure, f"{self.value:.2f}", target, met


def measure(start: Start, rounds: Rounds, *, secrets: int, entries: int) -> Measured:
    """Measure everything, and print each block."""
    services = [start(kind, _WORKERS) for kind in rest.SERVICES]
    names = rest.seed(services)
    create, fetch, lone_create, lone_fetch = rest.compare(services, rounds)
    two = {one: known for one, known in names.items() if one.name in (SecretManager.name, OpenBao.name)}
    batch = rest.compare_batches(two, rounds)
    milliseconds = batches.compare(names, seconds=rounds.count * rounds.seconds)
    memory = report_resources(services)
    pinned = [start(Pinned, workers) for workers in (1, 2)]
    rest.seed(pinned)
    [workers] = rest.turns(pinned, "pinned", rounds, kinds=["fetch"])
    grown = rest.grown(start, _WORKERS, secrets=secrets, entries=entries)
    [growth] = rest.turns(grown, "grown", rounds, kinds=["fetch"])
    return Measured(create, fetch, lone_create, lone_fetch, batch, workers, growth, milliseconds, memory)


def rows(found: Measured, *, secrets: int, entries: int) -> Iterator[Row]:
    """Yield the figure of each target; ratios are of medians."""
    yield from _rates(found)
    yield from _costs(found)
    ours, theirs = f"{SecretManager.name}, ", found.start[f"{OpenBao.name}, one by one"]
    figure = f"{batches.SECRETS} secrets at an application's start, 1 connection: time ÷ OpenBao"
    yield Row(figure, found.start[f"{ours}batch"] / theirs, "<", 1)
    yield Row("the same, one by one", found.start[f"{ours}one by one"] / theirs)
    yield Row("fetch/s of 2 pinned workers ÷ 1", found.workers.ratio("a_second", _ONE, ours=_TWO), "≥", 1.8)
    # MongoDB and wrk take the same processors, unless there are more of them.
    yield Row(
        "the same, if only the workers' CPU time limited it", 2 * found.workers.ratio("cpu", _TWO, ours=_ONE)
    )
    figure = f"fetch/s at {secrets:,} secrets and {entries:,} entries ÷ at 1,000"
    yield Row(figure, found.growth.ratio("a_second", SecretManager.name, ours=Grown.name), "≥", 0.9)
    yield Row("memory in MiB (PSS)", found.memory[SecretManager.name], "≤", 100)


def _rates(found: Measured) -> Iterator[Row]:
    for name, create, fetch in ((OpenBao.name, 1.4, 0.5), (Original.name, 2.2, 2.5)):
        yield Row(f"create/s ÷ {name}", found.create.ratio("a_second", name), "≥", create)
        yield Row(f"fetch/s ÷ {name}", found.fetch.ratio("a_second", name), "≥", fetch)
    figure = f"secrets/s in batches of {batches.SECRETS} ÷ {OpenBao.name}'s single reads"
    yield Row(figure, batches.SECRETS * found.batch.ratio("a_second", OpenBao.name), "≥", 2)


def _costs(found: Measured) -> Iterator[Row]:
    yield Row("CPU per create ÷ empty Flask application", found.create.ratio("cpu", Ceiling.name), "≤", 2.5)
    yield Row("CPU per fetch ÷ empty Flask application", found.fetch.ratio("cpu", Ceiling.name), "≤", 2.2)
    for what, block, limit in (("create", found.lone_create, 0.8), ("fetch", found.lone_fetch, 1)):
        figure = f"1 connection, p50 of a {what} ÷ {Original.name}"
        yield Row(figure, block.ratio("p50", Original.name), "≤", limit)


def performance(found: Measured) -> str:
    """Return the table of the README, with its picture."""
    head = [
        *("", "create/s", "fetch/s", "p99, p99.9 fetch latency", "CPU per fetch"),
        *("single connection: create, fetch", "memory"),
    ]
    table = documents.table(head, (_performance(found, name) for name in _DESCRIPTIONS))
    picture = f"![Requests per second and latencies of {', '.join(_SHOWN)}]({_PICTURE})"
    return f"{table}\n\n{picture}"


def _performance(found: Measured, name: str) -> list[str]:
    fetch = found.fetch.samples[name]
    lone = [block.samples[name].p50 for block in (found.lone_create, found.lone_fetch)]
    return [
        _DESCRIPTIONS[name],
        f"{found.create.samples[name].a_second:,.0f}",
        f"{fetch.a_second:,.0f}",
        f"{fetch.p99:,.0f}, {fetch.p999:,.0f} ms",
        f"{fetch.cpu:.2f} ms",
        f"{lone[0]:.1f}, {lone[1]:.1f} ms",
        f"{found.memory[name]:.0f} MiB",
    ]


def write(folder: Path, found: Measured, targets: str) -> None:
    """Write the tables and the picture into the documents of the checkout *folder*."""
    # Imported here: only the picture needs matplotlib.
    from picture import draw

    documents.write(folder / "README.md", "performance", performance(found))
    documents.write(folder / documents.PERFORMANCE, "targets", targets)
    documents.write(folder / documents.PERFORMANCE, "rest", markdown(found.compared))
    draw({"create": found.create, "fetch": found.fetch}, _SHOWN, folder / _PICTURE)


@click.command()
@click.option("--rounds", "count", default=5, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--secrets", default=100_000, show_default=True, help="Secrets of the large database.")
@click.option("--entries", default=1_000_000, show_default=True, help="Audit entries of it.")
@documents.option("Write the tables and the picture into the documents of this checkout.")
def main(count: int, seconds: int, secrets: int, entries: int, folder: Path | None) -> None:
    """Measure the targets of speed and print a table."""
    rounds = Rounds(count, seconds, _CONNECTIONS)
    about = circumstances(rounds, _WORKERS)
    with stage() as start:
        found = measure(start, rounds, secrets=secrets, entries=entries)
    cells = (row.cells for row in rows(found, secrets=secrets, entries=entries))
    targets = f"{documents.table(('figure', 'this run', 'target', 'met'), cells)}\n\n{about}"
    click.echo(f"\n{targets}")
    if folder:
        write(folder, found, targets)
    sys.exit(failed(found.blocks))


if __name__ == "__main__":
    main()
