"""The attacks at full size, each next to honest clients: `python -m tests.qa.hostile`."""

import secrets
import sys
from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.qa.hostile.attacks import ATTACKS
from tests.qa.hostile.run import LIMIT_MB, Outcome, run
from tests.support.service import Service
from vault.clients.dev.mongod import Mongod

_P99_MILLISECONDS = 1_000


def _verdict(outcome: Outcome) -> str:
    wrong = [f"{answer}: {count}" for answer, count in outcome.failures.items()]
    wrong += ["workers killed"] if outcome.killed else []
    wrong += ["memory"] if outcome.megabytes > LIMIT_MB else []
    wrong += ["slow"] if outcome.percentile(0.99) > _P99_MILLISECONDS else []
    return ", ".join(wrong) or "good"


def _attacked(
    folder: Path, mongod: Mongod, attack: str, connections: int, addresses: int, seconds: int
) -> Outcome:
    environment = {
        "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
        "MONGO_URI": mongod.uri.replace("/?", f"/hostile_{secrets.token_hex(6)}?"),
        "MAX_SECRET_BYTES": "1048576",
        "LOG_LEVEL": "warning",
    }
    with Service(environment, folder=folder) as service:
        service.wait_until_started()
        return run(service, attack, connections=connections, addresses=addresses, seconds=seconds)


@click.command(context_settings={"show_default": True})
@click.option("--seconds", default=60, help="Length of each attack.")
@click.option(
    "--connections", "sizes", default=[2, 50, 2_000], multiple=True, help="Connections; repeatable."
)
@click.option("--addresses", default=1, help="Loopback addresses of the attackers.")
@click.option("--attack", "attacks", type=click.Choice(list(ATTACKS)), multiple=True, help="Default: all.")
def main(seconds: int, sizes: tuple[int, ...], addresses: int, attacks: tuple[str, ...]) -> None:
    """Run each attack and print its row of the table; fail if a promise is broken."""
    rows = [(attack, size) for attack in attacks or ATTACKS for size in sizes]
    click.echo("| attack | connections | requests | median ms | p99 ms | longest ms | memory MB | verdict |")
    click.echo("| --- | --- | --- | --- | --- | --- | --- | --- |")
    broken = 0
    with TemporaryDirectory(prefix="hostile-") as name, Mongod(Path(name) / "db") as mongod:
        for attack, size in [("none", 0), *rows]:
            outcome = _attacked(Path(name), mongod, attack, size, min(addresses, size or 1), seconds)
            median, p99, longest = (f"{outcome.percentile(share):.0f}" for share in (0.5, 0.99, 1))
            figures = f"{len(outcome.milliseconds)} | {median} | {p99} | {longest} | {outcome.megabytes:.0f}"
            verdict = _verdict(outcome)
            broken += verdict != "good"
            click.echo(f"| {attack} | {size} | {figures} | {verdict} |")
            sys.stdout.flush()
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
