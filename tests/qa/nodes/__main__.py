"""`python -m tests.qa.nodes`: lose nodes of a swarm under load from outside, and count the losses."""

import shutil
import signal
import sys
import tempfile
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from tests.qa.deployment.engine import BUILD_OPTIONS, IMAGE
from tests.qa.faults.history import History
from tests.qa.nodes import experiment, report
from tests.qa.nodes.cluster import missing, run
from tests.qa.nodes.deployment import deployed
from tests.qa.nodes.experiment import Outcome
from tests.qa.nodes.losses import LOSSES, Loss


def main(arguments: Sequence[str]) -> int:
    """Cause the losses, and return the exit status: 0 if all checks passed, and 1 otherwise."""
    options = _options(arguments)
    if reason := missing():
        _tell(reason)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))
    names = [loss.name for loss in LOSSES]
    chosen = [loss for loss in LOSSES if not options.only or loss.name in options.only]
    run("docker", "build", "--quiet", *BUILD_OPTIONS.split(), "-t", IMAGE, ".")
    rows = []
    good = 0
    for outcome in _outcomes(chosen, folder, seed=options.seed):
        rows.append(report.row(outcome))
        good += outcome.is_good
        _show(outcome)
        if options.report:
            report.write(options.report, rows, names)
    _tell(report.table(rows))
    if good == len(chosen) and not options.keep:
        shutil.rmtree(folder)
    else:
        _tell(f"The histories are in {folder}")
    return 0 if good == len(chosen) else 1


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        "python -m tests.qa.nodes",
        description="Lose nodes of a swarm under load from outside, and count the losses.",
    )
    parser.add_argument(
        "--only", action="append", choices=[loss.name for loss in LOSSES], help="only this loss; repeatable"
    )
    parser.add_argument("--report", type=Path, help="write the table between the markers of this document")
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="seed of the clients' choices")
    parser.add_argument("--keep", action="store_true", help="always keep the histories")
    return parser.parse_args(arguments)


def _outcomes(chosen: Sequence[Loss], folder: Path, *, seed: int) -> Iterator[Outcome]:
    """Cause all *chosen* losses; those of one form share a deployment. One without a recovery is left out."""
    for form, losses in groupby(chosen, key=lambda loss: loss.form):
        with deployed(form, IMAGE, _tell) as deployment:
            for number, loss in enumerate(losses):
                history = History()
                try:
                    yield experiment.run(loss, deployment, history, seed=seed + number)
                except AssertionError as error:
                    _tell(f"{loss.name}: {error}")
                finally:
                    history.save(folder / f"{loss.name}.jsonl")


def _show(outcome: Outcome) -> None:
    _tell(report.row(outcome))
    for what, effect in (("before", outcome.before), ("lost", outcome.lost), ("returned", outcome.returned)):
        _tell(f"  {what}: {effect}")
    for line in (*outcome.by_hand, *outcome.findings, outcome.trail):
        _tell(f"  {line}")


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    # An exception, so that the deployment is removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(sys.argv[1:]))
