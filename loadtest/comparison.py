"""Comparison of services under the same load: samples in turns, medians, and tables with ratios."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Any, TypeVar

import click
from baselines.processes import SecretManager, Service
from wrk import Load


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run against one service, or their medians."""

    a_second: float
    #: Milliseconds.
    p50: float
    p99: float
    p999: float
    #: Milliseconds of CPU time per request, without the database's.
    cpu: float
    #: The same of the database, if that is a process of its own.
    database: float
    errors: float


@dataclass(frozen=True, slots=True)
class Rounds:
    """The number of rounds, and the seconds and connections of a run."""

    count: int
    seconds: int
    connections: int


#: The figures that are compared: heading, and digits after the point.
_COLUMNS = {
    "a_second": ("requests/s", 0),
    "p50": ("p50, ms", 2),
    "p99": ("p99, ms", 2),
    "p999": ("p99.9, ms", 2),
    "cpu": ("CPU, ms", 3),
}

#: A data class of figures, one of which is the number of errors.
_Figures = TypeVar("_Figures", bound=Any)

#: Puts load on a service once; the number is that of the round.
Run = Callable[[int], Sample]


@dataclass(frozen=True, slots=True)
class Block:
    """The medians of the services under one load, by name."""

    title: str
    samples: Mapping[str, Sample]

    def ratio(self, field: str, other: str, *, ours: str = SecretManager.name) -> float:
        """Return the figure of one service divided by the *other*'s; NaN if there is nothing to divide."""
        one, two = (getattr(self.samples[name], field) for name in (ours, other))
        return one / two if two else math.nan


def sample(service: Service, load: Callable[[], Load]) -> Sample:
    """Put *load* on *service* and return the figures."""
    before, database_before = service.cpu_seconds(), service.database_cpu_seconds()
    found = load()
    a_request = 1_000 / max(found.requests, 1)
    cpu = (service.cpu_seconds() - before) * a_request
    database = (service.database_cpu_seconds() - database_before) * a_request
    return Sample(found.a_second, found.p50, found.p99, found.p999, cpu, database, found.errors)


def block(title: str, runs: Mapping[str, Run], count: int) -> Block:
    """Print and return a block of the table: the medians of *count* rounds, and the sum of the errors.

    In each round, the runs take turns.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for round_number in range(count):
        for name, run in runs.items():
            samples[name].append(run(round_number))
    found = Block(title, {name: medians(several) for name, several in samples.items()})
    _report(found)
    return found


def failed(blocks: Iterable[Block]) -> bool:
    """Return whether a request failed."""
    return any(sample.errors for block in blocks for sample in block.samples.values())


def report_resources(services: Sequence[Service]) -> None:
    """Print the memory and the time to start of each service."""
    click.echo("\nafter load: memory in MiB (PSS); seconds from start to ready")
    for service in services:
        click.echo(f"  {service.name:<32}{service.memory():>12.0f}{service.ready_after:>12.2f}")


def medians(found: Sequence[_Figures]) -> _Figures:
    """Return the median of each figure of several runs; of the errors, the sum."""
    names = [field.name for field in fields(found[0])]
    middle = {name: median(getattr(one, name) for one in found) for name in names}
    return replace(found[0], **(middle | {"errors": sum(one.errors for one in found)}))


def _report(block: Block) -> None:
    """Print a block; in brackets, the ratio of this service's figure to each."""
    head = "".join(f"{heading:>18}" for heading, _ in _COLUMNS.values())
    click.echo(f"\n{block.title:<34}{head}{'database':>10}{'errors':>8}")
    for name, sample in block.samples.items():
        cells = (
            f"{getattr(sample, field):.{digits}f}{_ratio(block, field, name)}"
            for field, (_, digits) in _COLUMNS.items()
        )
        rest = f"{sample.database:>10.3f}{sample.errors:>8}"
        click.echo(f"  {name:<32}" + "".join(f"{cell:>18}" for cell in cells) + rest)


def _ratio(block: Block, field: str, other: str) -> str:
    return f" ({block.ratio(field, other):.2f})" if SecretManager.name in block.samples else ""
