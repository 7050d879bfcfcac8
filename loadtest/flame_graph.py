"""Flame graphs of the service under load: `python loadtest/flame_graph.py [--seconds N] FOLDER`.

Starts a MongoDB and this service with one worker. While wrk creates or fetches secrets, py-spy samples the
worker. Writes `create-1.svg`, `create-32.svg`, `fetch-1.svg` and `fetch-32.svg`, named after the load and the
number of connections.

Requires root, wrk and `scripts/install.sh bench`: the service protects its memory from processes of the same
user.
"""

import subprocess
import sys
from pathlib import Path
from threading import Thread

import click
import rest
from baselines.processes import SecretManager, Service
from stage import stage

#: Samples per second.
_RATE = 200
_CONNECTIONS = (1, 32)


def record(service: Service, output: Path, *, seconds: int) -> None:
    """Sample the service's only worker for *seconds*, and write the flame graph to *output*.

    Raises:
        CalledProcessError: py-spy failed; its message is on standard error.
    """
    [worker] = service.worker_pids()
    command = ["py-spy", "record", "--function", "--rate", str(_RATE)]
    command += ["--duration", str(seconds), "--pid", str(worker), "--output", str(output)]
    # The graph shows the command, so this does not name the folder of py-spy.
    subprocess.run(
        command, executable=Path(sys.executable).with_name("py-spy"), stdout=subprocess.DEVNULL, check=True
    )


@click.command()
@click.option("--seconds", default=20, show_default=True, help="Length of each sample in seconds.")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def main(seconds: int, folder: Path) -> None:
    """Write flame graphs of creates and fetches to FOLDER."""
    folder.mkdir(parents=True, exist_ok=True)
    with stage() as start:
        service = start(SecretManager, 1)
        rest.seed([service])
        for what in ("create", "fetch"):
            for connections in _CONNECTIONS:
                # The load outlasts the samples.
                running = Thread(
                    target=rest.load,
                    args=(service, what),
                    kwargs={"connections": connections, "seconds": seconds + 2},
                )
                running.start()
                record(service, folder / f"{what}-{connections}.svg", seconds=seconds)
                running.join()


if __name__ == "__main__":
    main()
