"""Compare this service with baselines: `python loadtest/bench.py [--rounds N] [--seconds N] [--growth N]`.

Starts a MongoDB (majority and journal, one member) and every contender with the same number of workers. Loads
them with wrk in turns, over several rounds. Prints a table of medians, with this service's figure divided by
the contender's in brackets. Then prints the time for 20 secrets, one by one and as a batch, with the ratio to
the batch in brackets.

With `--api vault`, this service and OpenBao get the same calls of Vault's API instead: standard mixes, single
kinds of calls, and a ramp of open arrivals.

Exits with 1 if a request failed. Requires wrk and `scripts/install.sh bench`.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from secrets import token_hex

import batches
import click
import closed
import dialect
from baselines.dialect import OpenBaoDialect, SecretManagerDialect
from baselines.growth import fill
from baselines.processes import Ceiling, Contender, Grown, Modernized, OpenBao, Original, SecretManager
from comparison import Sample, block, sample

from vault.cli.mongod import Mongod

_SEEDED = 1_000
#: The contenders by the API that the load uses.
_KINDS: dict[str, tuple[type[Contender], ...]] = {
    "rest": (SecretManager, Original, Modernized, OpenBao, Ceiling),
    "vault": (SecretManagerDialect, OpenBaoDialect),
}


def measure(contender: Contender, what: str, connections: int, seconds: int, _number: int) -> Sample:
    """Load *contender* and return the figures."""
    return sample(contender, partial(closed.load, contender, what, connections, seconds))


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


def compare_rest(
    contenders: Sequence[Contender], *, count: int, seconds: int, connections: int
) -> Iterator[Mapping[str, Sample]]:
    """Print the tables of creates, fetches and batches, and yield each block."""
    names = {contender: contender.seed(_SEEDED) for contender in contenders}
    for contender, known in names.items():
        closed.offer(contender, known)
    for many in sorted({connections, 1}, reverse=True):
        yield from turns(contenders, f"connections: {many}", count, many, seconds)
    # The ceiling has one secret.
    several = {contender: known for contender, known in names.items() if len(known) >= batches.SECRETS}
    report_batches(batches.compare(several, seconds=count * seconds))


def turns(
    contenders: Sequence[Contender], title: str, count: int, connections: int, seconds: int
) -> Iterator[Mapping[str, Sample]]:
    """Print and yield the blocks of creates and fetches."""
    for what in ("create", "fetch"):
        runs = {
            contender.name: partial(measure, contender, what, connections, seconds)
            for contender in contenders
        }
        yield block(f"{what}, {title}", runs, count)


def report_resources(contenders: Sequence[Contender]) -> None:
    """Print the memory and the time to start of each contender."""
    click.echo("\nafter load: memory in MiB (PSS); seconds from start to ready")
    for contender in contenders:
        click.echo(f"  {contender.name:<32}{contender.memory():>12.0f}{contender.ready_after:>12.2f}")


@click.command()
@click.option("--rounds", "count", default=5, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=32, show_default=True, help="Concurrent connections.")
@click.option("--workers", default=2, show_default=True, help="Workers per service.")
@click.option("--api", type=click.Choice(list(_KINDS)), default="rest", show_default=True, help="API to use.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([kind.name for kind in _KINDS["rest"]]),
    help="Run only these and this service.",
)
@click.option(
    "--growth", "secrets", default=0, help="Also measure with N secrets and 2N audit entries.", metavar="N"
)
@click.option(
    "--most-arrivals",
    default=4_000,
    show_default=True,
    help="Last rate of the ramp, per second (--api vault).",
)
def main(
    count: int,
    seconds: int,
    connections: int,
    workers: int,
    api: str,
    only: Sequence[str],
    secrets: int,
    most_arrivals: int,
) -> None:
    """Compare this service with baselines and print a table."""
    kinds = [kind for kind in _KINDS[api] if not only or kind.name in only or issubclass(kind, SecretManager)]
    blocks: list[Mapping[str, Sample]] = []
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "mongod") as mongod, ExitStack() as stack:
        contenders = [start(stack, kind, Path(name), mongod, workers) for kind in kinds]
        if api == "vault":
            blocks += dialect.compare(
                contenders,
                count=count,
                seconds=seconds,
                connections=connections,
                most_arrivals=most_arrivals,
            )
        else:
            blocks += compare_rest(contenders, count=count, seconds=seconds, connections=connections)
        report_resources(contenders)
        if secrets:
            large = start(stack, Grown, Path(name), mongod, workers)
            closed.offer(large, fill(large.mongo_uri, large.master_key, secrets, 2 * secrets))
            blocks += turns([contenders[0], large], "grown", count, connections, seconds)
    sys.exit(any(sample.errors for block in blocks for sample in block.values()))


if __name__ == "__main__":
    main()
