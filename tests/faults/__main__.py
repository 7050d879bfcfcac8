"""`python -m tests.faults`: inject faults into a deployment, and count the losses."""

import os
import shutil
import signal
import sys
import tempfile
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from tests.faults import report, sandbox
from tests.faults.faults import KINDS, Deployment, Kind
from tests.faults.history import History
from tests.faults.run import deployed, run


def main(arguments: Sequence[str]) -> int:
    """Run it and return the exit status: 0 if nothing was lost, and 1 otherwise."""
    options = _options(arguments)
    if not sandbox.is_inside():
        sandbox.enter(arguments)
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    history = History()
    good = False
    try:
        good = _run(options, folder, history)
    finally:
        if good and not options.keep:
            shutil.rmtree(folder)
        else:
            history.save(folder / "history.jsonl")
            _tell(f"The history and all logs are in {folder}")
    return 0 if good else 1


def _options(arguments: Sequence[str]) -> Namespace:
    parser = ArgumentParser(
        "python -m tests.faults", description="Inject faults into a deployment, and count the losses."
    )
    parser.add_argument(
        "--seed", type=int, default=1, help="seed of the order of faults and of the clients' choices"
    )
    parser.add_argument(
        "--seconds", type=float, default=600, help="duration; each kind runs at least once (default 600)"
    )
    parser.add_argument("--shortened", type=float, default=1, help="factor for the duration of faults")
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
            tell=_tell,
        )
    _tell("\n" + report.table(result.injections, history))
    _tell("\n" + report.totals(history, result))
    for sentence in result.findings:
        _tell(sentence)
    _tell(result.trail)
    return not (any(result.findings) or result.trail)


def _possible(kinds: Sequence[Kind], deployment: Deployment) -> list[Kind]:
    """Return the kinds that this machine supports; in CI it must support all."""
    lacking = {kind.name: why for kind in kinds if (why := kind.lacks(deployment))}
    for name, why in lacking.items():
        _tell(f"SKIPPED: {name}: {why}")
    assert not (lacking and os.environ.get("CI") == "true"), "in CI nothing may be skipped"
    return [kind for kind in kinds if kind.name not in lacking]


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    # The first process of a namespace would not receive it, but everything must be taken down, and kept.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Processes started here are not measured: most of them are killed.
    for name in [name for name in os.environ if name.startswith("COVERAGE")]:
        del os.environ[name]
    sys.exit(main(sys.argv[1:]))
