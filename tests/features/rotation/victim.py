"""`python -m tests.features.rotation.victim`: a process that rotates by the timer until it is killed.

It prints a line once it has begun. Its settings are those of the environment.
"""

import os
import sys

from tests.features.rotation.conftest import World, rotation_app
from tests.support.access import services
from vault.features.rotation import run, runner


def main() -> None:
    """Rotate."""
    # Short leases, as each killed process keeps its own.
    runner._MARGIN_SECONDS = run.SETTLED_SECONDS = 1
    with rotation_app(dict(os.environ), ROTATION_STEP_SECONDS="1", ROTATION_CHECK_SECONDS="1") as app:
        services(app).startup.attempt()
        world = World(app)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        world.runner.start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
