"""Move a tree in from OpenBao, with a kill halfway: `python loadtest/moving.py [SECRETS] [VERSIONS]`.

Starts OpenBao (raft storage) and a MongoDB (majority and journal, a replica set with one member). Prints the
times of each step, and fails if the two sides differ at the end.
"""

import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import measured
from baselines.processes import OpenBao
from pymongo import MongoClient

from vault.cli.dev.mongod import Mongod

_THREADS = 8
_FOLDERS = 100


def fill(bao: OpenBao, count: int, versions: int) -> None:
    """Write *count* secrets with *versions* each."""

    def write(number: int) -> None:
        path = f"/v1/secret/data/folder-{number % _FOLDERS}/secret-{number}"
        for version in range(versions):
            bao.post(path, {"data": {"password": secrets.token_urlsafe(24), "version": version}})

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(write, range(count)))


@contextmanager
def timed(step: str) -> Iterator[None]:
    """Print the time of *step*."""
    started = time.monotonic()
    yield
    print(f"{step}: {time.monotonic() - started:.1f} s", flush=True)


def kill_half_way(command: list[str], environment: dict[str, str], uri: str, count: int) -> int:
    """Start the import, and kill it once half of the secrets are stored; return how many are."""
    with (
        MongoClient[Any](uri) as client,
        subprocess.Popen([sys.executable, "-m", "vault.cli", *command], env=environment) as process,
    ):
        stored = client["vault"].secrets
        while stored.estimated_document_count() < count // 2:
            if process.poll() is not None:
                sys.exit("the import ended before it could be killed")
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        return int(stored.count_documents({"pending": None}))


def show(step: str, taken: measured.Taken) -> None:
    """Print what *step* has used."""
    print(
        f"{step}: {taken.seconds:.1f} s, of which CPU {taken.cpu_seconds:.1f} s; {taken.mebibytes} MiB",
        flush=True,
    )


def main() -> None:
    """Move the tree in."""
    count, versions = (int(text) for text in (sys.argv[1:] + ["10000", "3"][len(sys.argv) - 1 :]))
    with (
        tempfile.TemporaryDirectory() as folder,
        Mongod(Path(folder) / "db") as mongod,
        OpenBao(Path(folder), mongo_uri="", workers=len(os.sched_getaffinity(0))) as bao,
    ):
        with timed(f"{count} secrets with {versions} versions written to OpenBao"):
            fill(bao, count, versions)
        environment = measured.environment(mongod.uri, secrets.token_bytes(32))
        # No variable of the caller may name another source.
        environment |= {"BAO_ADDR": bao.url, "BAO_TOKEN": bao.header[1], "BAO_NAMESPACE": ""}
        command = ["import", "vault"]
        with timed("first import, until it was killed"):
            stored = kill_half_way(command, environment, mongod.uri, count)
        print(f"stored by then: {stored}", flush=True)
        taken = measured.run(*command, environment=environment)
        show("second import and comparison", taken)
        taken = measured.run(*command, "--verify", environment=environment)
        show("comparison alone", taken)
        with MongoClient[Any](mongod.uri) as client:
            # A new database: the time of an import without an interruption.
            client.drop_database("vault")
        taken = measured.run(*command, environment=environment)
        show("whole import and comparison", taken)


if __name__ == "__main__":
    main()
