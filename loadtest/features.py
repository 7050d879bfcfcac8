"""Measure what each feature adds to a request that does not use it: `loadtest/features.py [--turns N]`.

Each process has an application with some of the features, and answers creates and fetches without a network,
one at a time, on one MongoDB. Prints the Python functions and the CPU time of a request with all features,
and how much of it ends with each one that is off. The processes take turns.

Functions are counted in all threads. CPU times are medians of the turns, without MongoDB's; the row `nothing`
shows their noise. With gevent, and with several requests at a time, which share round trips, both are lower.
Requires Python 3.12.
"""

import json
import os
import random
import secrets
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from io import BytesIO
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import click
from baselines.processes import VALUE
from werkzeug.test import EnvironBuilder, run_wsgi_app

from vault.app import create_app
from vault.clients.dev.mongod import Mongod
from vault.common.config.settings import Settings
from vault.common.feature import features
from vault.common.observability import logs

_KINDS = ("create", "fetch")
#: Requests before the first figure, whose functions are counted, and of a turn.
_WARM, _COUNTED, _TIMED = 50, 25, 100
_COUNTER = 3


class Member:
    """A process with an application without the features *off*."""

    def __init__(self, off: Sequence[str], uri: str, stack: ExitStack) -> None:
        ours, theirs = get_context("spawn").Pipe()
        settings = {
            "MONGO_URI": uri.replace("/?", f"/without_{secrets.token_hex(4)}?"),
            "MASTER_KEY": b64encode(secrets.token_bytes(32)).decode(),
            "FEATURES_OFF": ",".join(off),
        }
        self._process = get_context("spawn").Process(target=_serve, args=(theirs, settings), daemon=True)
        self._process.start()
        theirs.close()
        self._pipe = stack.enter_context(ours)
        stack.callback(self._process.terminate)
        self.calls: dict[str, int] = self._pipe.recv()
        #: Microseconds of CPU time of a request in each turn.
        self.turns: dict[str, list[float]] = {kind: [] for kind in _KINDS}

    def turn(self) -> None:
        """Measure CPU times once more."""
        self._pipe.send(None)
        for kind, microseconds in self._pipe.recv().items():
            self.turns[kind].append(microseconds)


def _serve(pipe: Connection, settings: Mapping[str, str]) -> None:
    """Send the number of functions of each kind of request, and its CPU time whenever it is asked for."""
    os.environ.update(settings)
    # The lines of the log are a part of the request.
    with Path(os.devnull).open("w") as log, redirect_stdout(log):
        logs.configure("INFO")
        requests = _requests(create_app(Settings.from_environment()))
        pipe.send({kind: _functions(request) for kind, request in requests.items()})
        # Until it is terminated.
        while True:
            pipe.recv()
            pipe.send({kind: _microseconds(request) for kind, request in requests.items()})


def _requests(app: Any) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return a function for each kind of request, after its first ones."""

    def request(path: str, body: Mapping[str, str]) -> Callable[[], dict[str, Any]]:
        content = json.dumps(body).encode()
        builder = EnvironBuilder(path, method="POST", data=content, content_type="application/json")
        environ = builder.get_environ()

        def send() -> dict[str, Any]:
            environ["wsgi.input"] = BytesIO(content)
            reply, status, _ = run_wsgi_app(app, environ.copy(), buffered=True)
            text = b"".join(reply)
            if not status.startswith("200"):
                raise RuntimeError(f"{path} was answered {status}: {text.decode()}")
            found: dict[str, Any] = json.loads(text)
            return found

        return send

    create = request("/vault/secret/create/", {"secret": VALUE})
    fetch = request("/vault/secret/fetch", {"secret_id": create()["secret_id"]})
    for _ in range(_WARM):
        create()
        fetch()
    return {"create": create, "fetch": fetch}


def _functions(request: Callable[[], object]) -> int:
    """Return how many Python functions a request calls: the fewest, as threads can wait for each other."""
    monitoring = sys.monitoring
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1

    monitoring.use_tool_id(_COUNTER, "features")
    monitoring.register_callback(_COUNTER, monitoring.events.PY_START, called)
    monitoring.set_events(_COUNTER, monitoring.events.PY_START)
    found = []
    for _ in range(_COUNTED):
        before = count
        request()
        found.append(count - before)
    monitoring.set_events(_COUNTER, 0)
    monitoring.free_tool_id(_COUNTER)
    return min(found)


def _microseconds(request: Callable[[], object]) -> float:
    before = time.process_time()
    for _ in range(_TIMED):
        request()
    return (time.process_time() - before) / _TIMED * 1e6


@click.command()
@click.option("--turns", default=20, show_default=True, help="Number of turns.")
def main(turns: int) -> None:
    """Measure what each feature adds to a request that does not use it."""
    if sys.version_info < (3, 12):
        sys.exit("Functions can be counted from Python 3.12 on.")
    names = [feature.name for feature in features()]
    single = {name: (name,) for name in names}
    without: dict[str, Sequence[str]] = {"": (), "nothing": (), **single, "all features": names}
    with (
        tempfile.TemporaryDirectory() as folder,
        Mongod(Path(folder) / "mongod") as mongod,
        ExitStack() as stack,
    ):
        members = {name: Member(off, mongod.uri, stack) for name, off in without.items()}
        for _ in range(turns):
            # A fixed order would favour some: the first of a turn needs more time.
            for member in random.sample(list(members.values()), len(members)):
                member.turn()
    _report(members)


def _report(members: Mapping[str, Member]) -> None:
    (_, every), *others = members.items()
    microseconds = {kind: median(every.turns[kind]) for kind in _KINDS}
    print("| | functions: create, fetch | CPU, µs: create, fetch |\n| --- | --- | --- |")
    print(_row("a request", every.calls, microseconds))
    for name, member in others:
        calls = {kind: every.calls[kind] - member.calls[kind] for kind in _KINDS}
        microseconds = {kind: _less(every, member, kind) for kind in _KINDS}
        print(_row(f"of that, {name}", calls, microseconds))


def _less(every: Member, member: Member, kind: str) -> float:
    """Return the median of the microseconds that the *member* needs less in a turn."""
    pairs = zip(every.turns[kind], member.turns[kind], strict=True)
    return median(one - two for one, two in pairs)


def _row(name: str, calls: Mapping[str, int], microseconds: Mapping[str, float]) -> str:
    functions = ", ".join(str(calls[kind]) for kind in _KINDS)
    times = ", ".join(f"{microseconds[kind]:.0f}" for kind in _KINDS)
    return f"| {name} | {functions} | {times} |"


if __name__ == "__main__":
    main()
