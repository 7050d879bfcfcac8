"""Compare this service with baselines: `python loadtest/bench.py [--rounds N] [--seconds N] [--growth N]`.

Starts a MongoDB (majority and journal, one member) and every service with the same number of workers. Loads
them with wrk in turns, over several rounds. Prints a table of medians, with this service's figure divided by
the other's in brackets. Then prints the time for 20 secrets, one by one and as a batch, with the ratio to
the batch in brackets.

With `--api vault`, this service and OpenBao get the same calls of Vault's API instead: standard mixes, single
kinds of calls, and a ramp of open arrivals.

Exits with 1 if a request failed. Requires root, because the service protects its memory from processes of the
same user, and wrk and `scripts/install.sh bench`.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import batches
import click
import dialect
import documents
import rest
from baselines.processes import Service
from comparison import Block, Rounds, circumstances, failed, markdown, report_resources
from stage import stage

_SERVICES = {"rest": rest.SERVICES, "vault": dialect.SERVICES}


def compare(api: str, services: Sequence[Service], rounds: Rounds, *, most_arrivals: int) -> Iterator[Block]:
    """Print and yield the blocks of the *api*, then print the times of batches if it has those."""
    if api == "vault":
        yield from dialect.compare(services, rounds, most_arrivals=most_arrivals)
    else:
        names = rest.seed(services)
        yield from rest.compare(services, rounds)
        batches.compare(names, seconds=rounds.count * rounds.seconds)


@click.command()
@click.option("--rounds", "count", default=5, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=32, show_default=True, help="Concurrent connections.")
@click.option("--workers", default=2, show_default=True, help="Workers per service.")
@click.option(
    "--api", type=click.Choice(list(_SERVICES)), default="rest", show_default=True, help="API to use."
)
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([kind.name for kind in rest.SERVICES]),
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
@documents.option("Write the table into docs/performance.md of this checkout.")
def main(
    count: int,
    seconds: int,
    connections: int,
    workers: int,
    api: str,
    only: Sequence[str],
    secrets: int,
    most_arrivals: int,
    folder: Path | None,
) -> None:
    """Compare this service with baselines and print a table."""
    ours, *others = _SERVICES[api]
    rounds = Rounds(count, seconds, connections)
    about = circumstances(rounds, workers)
    with stage() as start:
        kinds = [ours, *(kind for kind in others if not only or kind.name in only)]
        services = [start(kind, workers) for kind in kinds]
        blocks = list(compare(api, services, rounds, most_arrivals=most_arrivals))
        report_resources(services)
        if folder:
            documents.write(folder / documents.PERFORMANCE, api, f"{markdown(blocks)}\n\n{about}")
        if secrets:
            grown = rest.grown(start, workers, secrets=secrets, entries=2 * secrets)
            blocks += rest.turns(grown, "grown", rounds)
    sys.exit(failed(blocks))


if __name__ == "__main__":
    main()
