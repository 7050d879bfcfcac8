"""The secrets of one application: fetched one by one, and as a batch."""

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http.client import HTTPConnection
from statistics import median
from urllib.parse import urlsplit

import click
from baselines.processes import SecretManager, Service

#: The number of secrets that the application needs.
SECRETS = 20

#: The path of this service's batches.
PATH = "/vault/secret/fetch-batch"

#: Different batches under load.
_BATCHES = 200

Call = tuple[str, str, str]


def one_by_one(service: Service, names: Sequence[str]) -> list[Call]:
    """Return a call of *service* for each secret."""
    method, path, body = service.fetch
    return [(method, path.replace("NAME", name), body.replace("NAME", name)) for name in names]


def as_a_batch(names: Sequence[str]) -> list[Call]:
    """Return this service's one call for all secrets."""
    return [("POST", PATH, json.dumps({"secrets": [{"secret_id": name} for name in names]}))]


def offer(service: SecretManager, names: Sequence[str]) -> None:
    """Write a list of batches of *names* for wrk, the same each time."""
    chance = random.Random(1)  # noqa: S311 - not for security
    calls = (as_a_batch(chance.sample(names, SECRETS)) for _ in range(_BATCHES))
    (service.folder / "batches").write_text("".join(f"{body}\n" for [(_, _, body)] in calls))


def compare(names: Mapping[Service, Sequence[str]], *, seconds: float) -> dict[str, float]:
    """Print and return the median milliseconds of fetching SECRETS secrets on one connection in each way.

    *names* are the secrets of each service, and those with fewer are left out: the ceiling has one secret.
    The ways take turns for *seconds*.
    """
    several = {service: known for service, known in names.items() if len(known) >= SECRETS}
    calls = {
        f"{service.name}, one by one": (service, one_by_one(service, known[:SECRETS]))
        for service, known in several.items()
    }
    for service, known in several.items():
        if isinstance(service, SecretManager):
            calls[f"{service.name}, batch"] = (service, as_a_batch(known[:SECRETS]))
    taken: dict[str, list[float]] = {way: [] for way in calls}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for way, (service, wanted) in calls.items():
            taken[way].append(_milliseconds(service, wanted))
    medians = {way: median(found) for way, found in taken.items()}
    _report(medians)
    return medians


def _report(found: dict[str, float]) -> None:
    """Print the milliseconds of each way, and in brackets their ratio to a batch."""
    batch = found[f"{SecretManager.name}, batch"]
    click.echo(f"\n{SECRETS} secrets, connections: 1{'ms':>18}")
    for way, milliseconds in found.items():
        click.echo(f"  {way:<34}{f'{milliseconds:.2f} ({milliseconds / batch:.1f})':>18}")


def _milliseconds(service: Service, calls: Sequence[Call]) -> float:
    """Return the time of *calls*, one after the other, on a connection that is open already."""
    headers = dict([service.header]) if service.header else {}
    with closing(HTTPConnection(urlsplit(service.url).netloc, timeout=60)) as connection:
        send = _sender(connection, {"Content-Type": "application/json", **headers})
        send(("GET", service.ready, ""))
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
