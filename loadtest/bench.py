"""Compare this service with baselines: `python loadtest/bench.py [--rounds N] [--seconds N]`.

Starts a MongoDB (majority and journal, one member) and every service with the same number of workers. Loads
them with wrk in turns, over several rounds. Prints a table of medians, with this service's figure divided by
the other's in brackets. The last block compares batches of this service with single secrets of the others.

With `--api vault`, this service and OpenBao get the same calls of Vault's API: mixes and single kinds.

Exits with 1 if a request failed. Requires root, because the service protects its memory from processes of the
same user, and wrk and `scripts/install.sh bench`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import click
import dialect
import rest
from comparison import Rounds, failed, report_resources
from stage import stage

_APIS = {"rest": (rest.SERVICES, rest.compare), "vault": (dialect.SERVICES, dialect.compare)}


@click.command()
@click.option("--rounds", "count", default=5, show_default=True, help="Number of rounds.")
@click.option("--seconds", default=5, show_default=True, help="Length of a run in seconds.")
@click.option("--connections", default=32, show_default=True, help="Concurrent connections.")
@click.option("--workers", default=2, show_default=True, help="Workers per service.")
@click.option("--api", type=click.Choice(list(_APIS)), default="rest", show_default=True, help="API to use.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice([kind.name for kind in rest.SERVICES]),
    help="Run only these and this service.",
)
def main(count: int, seconds: int, connections: int, workers: int, api: str, only: Sequence[str]) -> None:
    """Compare this service with baselines and print a table."""
    (ours, *others), compare = _APIS[api]
    with stage() as start:
        kinds = [ours, *(kind for kind in others if not only or kind.name in only)]
        services = [start(kind, workers) for kind in kinds]
        blocks = list(compare(services, Rounds(count, seconds, connections)))
        report_resources(services)
        click.echo(f"\n{interpreter()}")
    sys.exit(failed(blocks))


def interpreter() -> str:
    """Return the interpreter of all services in Python: a build that is not optimized is much slower."""
    return f"Python: {Path(sys.executable).resolve()}, {sys.version}"


if __name__ == "__main__":
    main()
