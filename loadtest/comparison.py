"""Comparison of services under the same load: samples in turns, medians, and a table with ratios."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import click
from baselines.processes import Contender, SecretManager
from wrk import Load


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run against one contender."""

    a_second: float
    p50: float
    p99: float
    #: Milliseconds of CPU time per request, without MongoDB's.
    cpu: float
    #: The same of MongoDB.
    mongodb: float
    errors: float


#: Puts load on a contender once; the number is that of the round.
Run = Callable[[int], Sample]


def sample(contender: Contender, load: Callable[[], Load]) -> Sample:
    """Put *load* on *contender* and return the figures."""
    before, mongodb_before = contender.cpu_seconds(), contender.mongodb_cpu_seconds()
    found = load()
    a_request = 1_000 / max(found.requests, 1)
    cpu = (contender.cpu_seconds() - before) * a_request
    mongodb = (contender.mongodb_cpu_seconds() - mongodb_before) * a_request
    return Sample(found.a_second, found.p50, found.p99, cpu, mongodb, found.errors)


def block(title: str, runs: Mapping[str, Run], count: int) -> Mapping[str, Sample]:
    """Print and return a block of the table: the medians of *count* rounds, and the sum of the errors.

    In each round, the runs take turns.
    """
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for number in range(count):
        for name, run in runs.items():
            samples[name].append(run(number))
    medians = {name: _median(found) for name, found in samples.items()}
    _report(title, medians)
    return medians


def _median(samples: Sequence[Sample]) -> Sample:
    medians = (median(getattr(sample, name) for sample in samples) for name in Sample.__slots__)
    return replace(Sample(*medians), errors=sum(sample.errors for sample in samples))


def _report(title: str, found: Mapping[str, Sample]) -> None:
    """Print a block; in brackets, the ratio of this service's figure to each."""
    ours = found.get(SecretManager.name)
    head = "".join(f"{column:>18}" for column in ("requests/s", "p50 ms", "p99 ms", "CPU ms/request"))
    click.echo(f"\n{title:<34}{head}{'MongoDB':>10}{'errors':>8}")
    for name, sample in found.items():
        cells = (
            f"{getattr(sample, field):.{digits}f}{_ratio(ours, sample, field)}"
            for field, digits in (("a_second", 0), ("p50", 2), ("p99", 2), ("cpu", 3))
        )
        rest = f"{sample.mongodb:>10.3f}{sample.errors:>8}"
        click.echo(f"  {name:<32}" + "".join(f"{cell:>18}" for cell in cells) + rest)


def _ratio(ours: Sample | None, sample: Sample, field: str) -> str:
    return f" ({getattr(ours, field) / getattr(sample, field):.2f})" if ours else ""
