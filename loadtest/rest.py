"""Creates and fetches over this service's REST API, and over what each service has in its place."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import wrk
from baselines.processes import (
    Ceiling,
    Modernized,
    OpenBao,
    Original,
    PostgresOpenBao,
    SecretManager,
    Service,
    SyncedOpenBao,
)
from comparison import Block, Rounds, Run, block, sample

SERVICES: tuple[type[Service], ...] = (
    SecretManager,
    Original,
    Modernized,
    OpenBao,
    SyncedOpenBao,
    PostgresOpenBao,
    Ceiling,
)
KINDS = ("create", "fetch")

_SEEDED = 1_000
#: Secrets of a batch, and different batches under load.
_BATCH = 20
_BATCHES = 200


def seed(services: Iterable[Service]) -> dict[Service, list[str]]:
    """Create the secrets that wrk fetches from each service, and return their IDs or names."""
    names = {service: service.seed(_SEEDED) for service in services}
    for service, known in names.items():
        offer(service, known)
    return names


def offer(service: Service, names: Sequence[str]) -> None:
    """Write the list of secrets that wrk fetches from *service*."""
    (service.folder / "names").write_text("\n".join(names) + "\n")


def load(service: Service, what: str, *, connections: int, seconds: int) -> wrk.Load:
    """Create secrets, fetch them, or fetch batches of them, for *seconds*."""
    script, arguments = {
        "create": ("create.lua", service.create),
        "fetch": ("fetch.lua", (*service.fetch, str(service.folder / "names"))),
        "batch": (
            "batch.lua",
            ("POST", "/vault/secret/fetch-batch", "NAME", str(service.folder / "batches")),
        ),
    }[what]
    arguments += service.header
    return wrk.run(script, service.url, *arguments, connections=connections, seconds=seconds)


def turns(services: Sequence[Service], title: str, rounds: Rounds) -> Iterator[Block]:
    """Print and yield the block of each kind of load."""
    for kind in KINDS:
        runs = {one.name: _run(one, kind, rounds) for one in services}
        yield block(f"{kind}, {title}", runs, rounds.count)


def compare(services: Sequence[Service], rounds: Rounds) -> Iterator[Block]:
    """Print and yield the blocks of results: several connections, one connection, batches."""
    names = seed(services)
    for many in sorted({rounds.connections, 1}, reverse=True):
        yield from turns(services, f"connections: {many}", replace(rounds, connections=many))
    yield _batches(names, rounds)


def _batches(names: Mapping[Service, Sequence[str]], rounds: Rounds) -> Block:
    """Print and return the block of batches from this service, and of single secrets from the others."""
    runs = {}
    chance = random.Random(1)  # noqa: S311 - not for security
    for service, known in names.items():
        if is_ours := isinstance(service, SecretManager):
            batches = (chance.sample(known, _BATCH) for _ in range(_BATCHES))
            bodies = ({"secrets": [{"secret_id": name} for name in batch]} for batch in batches)
            (service.folder / "batches").write_text("".join(f"{json.dumps(body)}\n" for body in bodies))
        runs[service.name] = _run(service, "batch" if is_ours else "fetch", rounds)
    return block(f"batches of {_BATCH}, connections: {rounds.connections}", runs, rounds.count)


def _run(service: Service, what: str, rounds: Rounds) -> Run:
    wanted = partial(load, service, what, connections=rounds.connections, seconds=rounds.seconds)
    return lambda _number: sample(service, wanted)
