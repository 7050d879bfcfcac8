"""Creates and fetches over this service's REST API, and over what each contender has in its place."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import batches
import wrk
from baselines.growth import fill
from baselines.processes import Ceiling, Contender, Grown, Modernized, OpenBao, Original, SecretManager
from comparison import Block, Rounds, Run, block, sample
from stage import Start

CONTENDERS: tuple[type[Contender], ...] = (SecretManager, Original, Modernized, OpenBao, Ceiling)
KINDS = ("create", "fetch")

_SEEDED = 1_000


def seed(contenders: Iterable[Contender]) -> dict[Contender, list[str]]:
    """Create the secrets that wrk fetches from each contender, and return their IDs or names."""
    names = {contender: contender.seed(_SEEDED) for contender in contenders}
    for contender, known in names.items():
        offer(contender, known)
    return names


def offer(contender: Contender, names: Sequence[str]) -> None:
    """Write the list of secrets that wrk fetches from *contender*."""
    (contender.folder / "names").write_text("\n".join(names) + "\n")


def load(contender: Contender, what: str, *, connections: int, seconds: int) -> wrk.Load:
    """Create secrets, fetch them, or fetch batches of them, for *seconds*."""
    script, arguments = {
        "create": ("create.lua", contender.create),
        "fetch": ("fetch.lua", (*contender.fetch, str(contender.folder / "names"))),
        "batch": ("batch.lua", ("POST", batches.PATH, "NAME", str(contender.folder / "batches"))),
    }[what]
    arguments += contender.header
    return wrk.run(script, contender.url, *arguments, connections=connections, seconds=seconds)


def turns(
    contenders: Sequence[Contender], title: str, rounds: Rounds, *, kinds: Sequence[str] = KINDS
) -> Iterator[Block]:
    """Print and yield the block of each of the *kinds* of load."""
    for kind in kinds:
        runs = {one.name: _run(one, kind, rounds) for one in contenders}
        yield block(f"{kind}, {title}", runs, rounds.count)


def compare(contenders: Sequence[Contender], rounds: Rounds) -> Iterator[Block]:
    """Print and yield the blocks with several connections, then those with one."""
    for many in sorted({rounds.connections, 1}, reverse=True):
        yield from turns(contenders, f"connections: {many}", replace(rounds, connections=many))


def compare_batches(names: Mapping[Contender, Sequence[str]], rounds: Rounds) -> Block:
    """Print and return the block of batches from this service, and of single secrets from the others."""
    runs = {}
    for contender, known in names.items():
        if isinstance(contender, SecretManager):
            batches.offer(contender, known)
            runs[contender.name] = _run(contender, "batch", rounds)
        else:
            runs[contender.name] = _run(contender, "fetch", rounds)
    return block(f"batches of {batches.SECRETS}, connections: {rounds.connections}", runs, rounds.count)


def grown(start: Start, workers: int, *, secrets: int, entries: int) -> list[Contender]:
    """Start this service with few secrets, and with a database of *secrets* and audit *entries*."""
    small, large = start(SecretManager, workers), start(Grown, workers)
    seed([small])
    offer(large, fill(large.mongo_uri, large.master_key, secrets, entries))  # type: ignore[attr-defined]
    return [small, large]


def _run(contender: Contender, what: str, rounds: Rounds) -> Run:
    wanted = partial(load, contender, what, connections=rounds.connections, seconds=rounds.seconds)
    return lambda _number: sample(contender, wanted)
