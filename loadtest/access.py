"""Measure the cost of authentication per fetch: `python loadtest/access.py [SECONDS]`. Requires `wrk`.

Starts a MongoDB and two services with two workers each: one requires a token, the other does not. Loads them
in turns. The printed ratios are medians of the ratios of all turns.
"""

import subprocess
import sys

from ab_compare import Measured, compare, place


def main() -> None:
    """Print the rate and the CPU time per fetch, with and without a token, and the ratios."""
    seconds = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with place() as (folder, environment):
        make = [sys.executable, "-m", "vault.cli", "tokens", "create", "--name", "load", "--role", "writer"]
        token = subprocess.run(make, env=environment, cwd=folder, capture_output=True, text=True, check=True)
        asking = {**environment, "AUTH_ENABLED": "true"}
        with (
            Measured("without", environment, folder) as without,
            Measured("with", asking, folder, token.stdout.strip()) as with_token,
        ):
            compare((without, with_token), seconds=seconds, what="with a token")


if __name__ == "__main__":
    main()
