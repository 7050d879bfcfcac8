"""`python -m tests.qa.faults`: inject faults into a deployment, and count the losses."""

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tests.qa.faults import report, sandbox
from tests.qa.faults.faults import KINDS, Deployment, Kind
from tests.qa.faults.history import History
from tests.qa.faults.run import deployed, run, status_of, tell


def main(arguments: Sequence[str]) -> int:
    """Run it and return the exit status: 0 if nothing was lost, and 1 otherwise."""
    options = _options(arguments)
    if not sandbox.is_inside():
        sandbox.enter(arguments)
    history = History()
    return status_of(
        lambda folder: _run(options, folder, history), history, prefix="faults-", keep=options.keep
    )


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        "python -m tests.qa.faults", description="Inject faults into a deployment, and count the losses."
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the order of faults and of the clients' choices"
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="duration; each kind runs at least once (default 600)"
    )
    parser.add_argument("--shortened", type=float, default=1, help="factor for the duration of faults")
    parser.add_argument("--clients", type=int, default=12, help="concurrent clients (default 12)")
    parser.add_argument(
        "--kind", action="append", choices=[kind.name for kind in KINDS], help="only this kind; repeatable"
    )
    parser.add_argument("--keep", action="store_true", help="always keep the history and all logs")
    return parser.parse_args(arguments)


def _run(options: Namespace, folder: Path, history: History) -> bool:
    with deployed(folder, sandboxed=sandbox.is_inside()) as deployment:
        kinds = [kind for kind in KINDS if not options.kind or kind.name in options.kind]
        result = run(
            deployment,
            _possible(kinds, deployment),
            history,
            seed=options.seed,
            seconds=options.seconds,
            shortened=options.shortened,
            clients=options.clients,
        )
    tell("\n" + report.table(result.injections, history))
    tell("\n" + report.totals(history, result))
    for sentence in result.findings:
        tell(sentence)
    tell(result.trail)
    return not (any(result.findings) or result.trail)


def _possible(kinds: Sequence[Kind], deployment: Deployment) -> list[Kind]:
    """Return the kinds that this machine supports; in CI it must support all."""
    lacking = {kind.name: why for kind in kinds if (why := kind.lacks(deployment))}
    for name, why in lacking.items():
        tell(f"SKIPPED: {name}: {why}")
    assert not (lacking and os.environ.get("CI") == "true"), "in CI nothing may be skipped"
    return [kind for kind in kinds if kind.name not in lacking]


if __name__ == "__main__":
    # The first process of a namespace would not receive it, but everything must be taken down, and kept.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Processes started here are not measured: most of them are killed.
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        del os.environ[name]
    sys.exit(main(sys.argv[1:]))
