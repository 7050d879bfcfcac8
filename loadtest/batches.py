"""The secrets of one application on one connection: fetched one by one, and as a batch."""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from http.client import HTTPConnection
from statistics import median
from urllib.parse import urlsplit

from baselines.processes import Contender, SecretManager

#: The number of secrets that the application needs.
SECRETS = 20

_BATCH = "/vault/secret/fetch-batch"

Call = tuple[str, str, str]


def one_by_one(contender: Contender, names: Sequence[str]) -> list[Call]:
    """Return a call of *contender* for each secret."""
    method, path, body = contender.fetch
    return [(method, path.replace("NAME", name), body.replace("NAME", name)) for name in names]


def as_a_batch(names: Sequence[str]) -> list[Call]:
    """Return this service's one call for all secrets."""
    return [("POST", _BATCH, json.dumps({"secrets": [{"secret_id": name} for name in names]}))]


def compare(names: dict[Contender, Sequence[str]], *, seconds: float) -> dict[str, float]:
    """Return the median milliseconds of fetching SECRETS secrets in each way.

    *names* are the secrets of each contender. The ways take turns for *seconds*.
    """
    calls = {
        f"{contender.name}, one by one": (contender, one_by_one(contender, known[:SECRETS]))
        for contender, known in names.items()
    }
    for contender, known in names.items():
        if isinstance(contender, SecretManager):
            calls[f"{contender.name}, batch"] = (contender, as_a_batch(known[:SECRETS]))
    taken: dict[str, list[float]] = {way: [] for way in calls}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for way, (contender, wanted) in calls.items():
            taken[way].append(_milliseconds(contender, wanted))
    return {way: median(found) for way, found in taken.items()}


def _milliseconds(contender: Contender, calls: Sequence[Call]) -> float:
    """Return the time of *calls*, one after the other, on a connection that is open already."""
    headers = dict([contender.header]) if contender.header else {}
    with closing(HTTPConnection(urlsplit(contender.url).netloc, timeout=60)) as connection:
        send = _sender(connection, {"Content-Type": "application/json", **headers})
        send(("GET", contender.ready, ""))
        begun = time.perf_counter()
        for call in calls:
            send(call)
        return (time.perf_counter() - begun) * 1_000


def _sender(connection: HTTPConnection, headers: dict[str, str]) -> Callable[[Call], None]:
    def send(call: Call) -> None:
        method, path, body = call
        connection.request(method, path, body.encode() or None, headers)
        reply = connection.getresponse()
        text = reply.read()
        if reply.status != 200 or b'"problem"' in text:
            raise RuntimeError(f"{method} {path} failed: {reply.status}")

    return send
