"""A MongoDB, and services that run on it."""

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import token_hex

from baselines.processes import Service

from vault.clients.dev.mongod import Mongod

#: Starts a service with a number of workers and its own database.
Start = Callable[[type[Service], int], Service]


@contextmanager
def stage() -> Iterator[Start]:
    """Start a MongoDB (majority and journal, one member), and yield the function that starts services.

    They run until the end of the block.

    Raises:
        SystemExit: wrk is not installed, or the caller is not root, to whom alone the service's memory is
            visible.
    """
    if not shutil.which("wrk"):
        sys.exit("wrk is not installed: install Debian's package wrk.")
    if os.geteuid():
        sys.exit("The service's memory can be measured by root only: run this as root.")
    with tempfile.TemporaryDirectory() as name, Mongod(Path(name) / "mongod") as mongod, ExitStack() as stack:

        def start(kind: type[Service], workers: int) -> Service:
            uri = mongod.uri.replace("/?", f"/bench_{token_hex(4)}?")
            return stack.enter_context(kind(Path(name), mongo_uri=uri, workers=workers))

        yield start
