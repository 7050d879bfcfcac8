"""Compare this service with baselines: `python loadtest/bench.py [--rounds N] [--seconds N] [--growth N]`.

Starts a MongoDB (majority and journal, one member) and every contender with the same number of workers. Loads
them with wrk in turns, over several rounds. Prints a table of medians, with this service's figure divided by
the contender's in brackets. Then prints the time for 20 secrets, one by one and as a batch, with the ratio to
the batch in brackets. Requires wrk and `scripts/install.sh bench`.
"""

import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from statistics import median

import batches
import click
import wrk
from baselines.growth import fill
from baselines.processes import Ceiling, Contender, Grown, Modernized, OpenBao, Original, SecretManager

from vault.cli.mongod import Mongod

_SEEDED = 1_000
_KINDS = (SecretManager, Original, Modernized, OpenBao, Ceiling)


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one run against one contender."""

    a_second: float
    p50: float
    p99: float
    #: Milliseconds of CPU time per request, without MongoDB's.
    cpu: float


def measure(contender: Contender, what: str, *, connections: int, seconds: int) -> Sample:
    """Load *contender* and return the figures."""
    before = contender.cpu_seconds()
    if what == "create":
        load = wrk.run(
            "create.lua",
            contender.url,
            *contender.create,
            *contender.header,
            connections=connections,
            seconds=seconds,
        )
    else:
        names = str(contender.folder / "names")
        load = wrk.run(
            "fetch.lua",
            contender.url,
            *contender.fetch,
            names,
            *contender.header,
            connections=connections,
            seconds=seconds,
        )
    cpu = (contender.cpu_seconds() - before) / load.requests * 1_000
    return Sample(load.a_second, load.p50, load.p99, cpu)


def rounds(
    contenders: Sequence[Contender], what: str, *, count: int, connections: int, seconds: int
) -> dict[str, Sample]:
    """Return the medians of *count* rounds; each round loads every contender once."""
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    for _ in range(count):
        for contender in contenders:
            sample = measure(contender, what, connections=connections, seconds=seconds)
            samples[contender.name].append(sample)
    return {name: _median(found) for name, found in samples.items()}


def _median(samples: Sequence[Sample]) -> Sample:
    return Sample(*(median(getattr(sample, name) for sample in samples) for name in Sample.__slots__))


def report(what: str, found: dict[str, Sample]) -> None:
    """Print a block of the table; in brackets, the ratio of this service's figure to each."""
    ours = found[SecretManager.name]
    click.echo(f"\n{what:<26}{'requests/s':>18}{'p50 ms':>18}{'p99 ms':>18}{'CPU ms/request':>18}")
    for name, sample in found.items():
        cells = (
            f"{getattr(sample, field):.{digits}f} ({getattr(ours, field) / getattr(sample, field):.2f})"
            for field, digits in (("a_second", 0), ("p50", 2), ("p99", 2), ("cpu", 3))
        )
        click.echo(f"  {name:<24}" + "".join(f"{cell:>18}" for cell in cells))


def report_batches(found: dict[str, float]) -> None:
    """Print the milliseconds of each way to get the secrets of an application, and its ratio to a batch."""
    batch = found[f"{SecretManager.name}, batch"]
    click.echo(f"\n{batches.SECRETS} secrets, connections: 1{'ms':>18}")
    for way, milliseconds in found.items():
        click.echo(f"  {way:<34}{f'{milliseconds:.2f} ({milliseconds / batch:.1f})':>18}")


def start(stack: ExitStack, kind: type[Contender], folder: Path, mongod: Mongod, workers: int) -> Contender:
    """Start a contender with its own database."""
    uri = mongod.uri.replace("/?", f"/bench_{token_hex(4)}?")
    return stack.enter_context(kind(folder, mongo_uri=uri, workers=workers))


def offer(contender: Contender, names: Sequence[str]) -> None:
    """Write the list of secrets that wrk fetches from *contender*."""
    (contender.folder / "names").write_text("\n".join(names) + "\n")


@click.command()
@click.option("--rounds", "count", default=5, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=32, show_default=True, help="Concurrent connections.")
@click.option("--workers", default=2, show_default=True, help="Workers per service.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([kind.name for kind in _KINDS]),
    help="Run only these and this service.",
)
@click.option(
    "--growth", "secrets", default=0, help="Also measure with N secrets and 2N audit entries.", metavar="N"
)
def main(count: int, seconds: int, connections: int, workers: int, only: Sequence[str], secrets: int) -> None:
    """Compare this service with baselines and print a table."""
    kinds = [kind for kind in _KINDS if not only or kind.name in only or kind is SecretManager]
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "mongod") as mongod, ExitStack() as stack:
        contenders = [start(stack, kind, Path(name), mongod, workers) for kind in kinds]
        names = {contender: contender.seed(_SEEDED) for contender in contenders}
        for contender, known in names.items():
            offer(contender, known)
        for many in (connections, 1):
            for what in ("create", "fetch"):
                found = rounds(contenders, what, count=count, connections=many, seconds=seconds)
                report(f"{what}, connections: {many}", found)
        # The ceiling has one secret.
        several = {contender: known for contender, known in names.items() if len(known) >= batches.SECRETS}
        report_batches(batches.compare(several, seconds=count * seconds))
        click.echo("\nafter load: memory in MiB (PSS); seconds from start to ready")
        for contender in contenders:
            click.echo(f"  {contender.name:<24}{contender.memory():>12.0f}{contender.ready_after:>12.2f}")
        if secrets:
            large = start(stack, Grown, Path(name), mongod, workers)
            offer(large, fill(large.mongo_uri, large.master_key, secrets, 2 * secrets))
            for what in ("create", "fetch"):
                pair = [contenders[0], large]
                report(
                    f"{what}, grown",
                    rounds(pair, what, count=count, connections=connections, seconds=seconds),
                )


if __name__ == "__main__":
    main()
