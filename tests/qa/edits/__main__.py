"""`python -m tests.qa.edits`: edits of a trail in a MongoDB of its own."""

import sys
from argparse import ArgumentParser
from collections import Counter
from pathlib import Path
from random import SystemRandom
from tempfile import TemporaryDirectory
from typing import Any

from pymongo import MongoClient

from tests.qa.edits.run import ALTERATIONS, UnnoticedError, run
from tests.qa.edits.victim import EVIDENCE, victim
from vault.clients.dev.mongod import Mongod


def main() -> int:
    """Run the edits; return the exit code."""
    parser = ArgumentParser(prog="python -m tests.qa.edits", description=__doc__)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(2**32))
    parser.add_argument("--evidence", choices=EVIDENCE, default="", help="default: each kind in turn")
    options = parser.parse_args()
    _tell(f"seeds {options.seed} to {options.seed + options.count - 1}")
    outcomes: Counter[str] = Counter()
    with TemporaryDirectory() as folder, Mongod(Path(folder) / "db") as mongod:
        uri = mongod.uri.replace("/?", "/edits?")
        with MongoClient[dict[str, Any]](uri, tz_aware=True) as client, victim(uri, client.edits) as found:
            for seed in range(options.seed, options.seed + options.count):
                try:
                    outcomes["tampering" if run(found, seed, options.evidence) else "without effect"] += 1
                    for name, alter in ALTERATIONS.items():
                        outcomes[f"{name}s refused"] += alter(found, seed)
                except UnnoticedError as unnoticed:
                    outcomes["unnoticed"] += 1
                    _tell(str(unnoticed))
    _tell(", ".join(f"{count} {outcome}" for outcome, count in outcomes.items()))
    return int(outcomes["unnoticed"] > 0)


def _tell(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - the output of the command


if __name__ == "__main__":
    sys.exit(main())
