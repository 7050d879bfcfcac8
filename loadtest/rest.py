"""Creates and fetches over this service's REST API, and over what each service has in its place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import batches
import wrk
from baselines.growth import fill
from baselines.processes import Ceiling, Grown, Modernized, OpenBao, Original, SecretManager, Service
from comparison import Block, Rounds, Run, block, sample
from stage import Start

SERVICES: tuple[type[Service], ...] = (SecretManager, Original, Modernized, OpenBao, Ceiling)
KINDS = ("create", "fetch")

_SEEDED = 1_000


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
        "batch": ("batch.lua", ("POST", batches.PATH, "NAME", str(service.folder / "batches"))),
    }[what]
    arguments += service.header
    return wrk.run(script, service.url, *arguments, connections=connections, seconds=seconds)


def turns(
    services: Sequence[Service], title: str, rounds: Rounds, *, kinds: Sequence[str] = KINDS
) -> Iterator[Block]:
    """Print and yield the block of each of the *kinds* of load."""
    for kind in kinds:
        runs = {one.name: _run(one, kind, rounds) for one in services}
        yield block(f"{kind}, {title}", runs, rounds.count)


def compare(services: Sequence[Service], rounds: Rounds) -> Iterator[Block]:
    """Print and yield the blocks with several connections, then those with one."""
    for many in sorted({rounds.connections, 1}, reverse=True):
        yield from turns(services, f"connections: {many}", replace(rounds, connections=many))


def compare_batches(names: Mapping[Service, Sequence[str]], rounds: Rounds) -> Block:
    """Print and return the block of batches from this service, and of single secrets from the others."""
    runs = {}
    for service, known in names.items():
        if isinstance(service, SecretManager):
            batches.offer(service, known)
            runs[service.name] = _run(service, "batch", rounds)
        else:
            runs[service.name] = _run(service, "fetch", rounds)
    return block(f"batches of {batches.SECRETS}, connections: {rounds.connections}", runs, rounds.count)


def grown(start: Start, workers: int, *, secrets: int, entries: int) -> list[Service]:
    """Start this service with few secrets, and with a database of *secrets* and audit *entries*."""
    small, large = start(SecretManager, workers), start(Grown, workers)
    seed([small])
    offer(large, fill(large.mongo_uri, large.master_key, secrets, entries))  # type: ignore[attr-defined]
    return [small, large]


def _run(service: Service, what: str, rounds: Rounds) -> Run:
    wanted = partial(load, service, what, connections=rounds.connections, seconds=rounds.seconds)
    return lambda _number: sample(service, wanted)
