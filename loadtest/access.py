"""Measure what a credential costs a fetch: `python loadtest/access.py [SECONDS]`. Needs `wrk`.

Runs two services of two workers each on one MongoDB of its own, one that asks for a token and one that does
not, and loads one after the other, turn by turn. The ratios are medians over the turns' own ratios.
"""

import subprocess
import sys

from ab_compare import Measured, compare, place


def main() -> None:
    """Print the rate and the CPU time of a fetch, with a token and without, and how they compare."""
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
