"""The standard mixes of Vault's API, on this service and on OpenBao."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import mixes
import wrk
from baselines.dialect import OpenBaoDialect, SecretManagerDialect
from baselines.processes import SecretManager, Service
from comparison import Block, Rounds, Run, Sample, block, sample

SERVICES: tuple[type[Service], ...] = (SecretManagerDialect, OpenBaoDialect)

#: Calls to prepare for each second of a run; a run that needs more repeats them.
_CALLS_A_SECOND = 8_000

_MIXES = {"standard mix": mixes.STANDARD, "50 read, 50 write": mixes.HALF}

#: Kinds of calls that this service has in its REST API, too.
_KINDS = ("read", "write", "create")


def compare(services: Sequence[Service], rounds: Rounds) -> Iterator[Block]:
    """Print and yield each block of the table: the mixes, and single kinds of calls."""
    for service in services:
        mixes.populate(service)
    connections, seconds = rounds.connections, rounds.seconds
    for title, mix in _MIXES.items():
        runs = _closed(services, mix, seconds, connections)
        yield block(f"{title}, connections: {connections}", runs, rounds.count)
    for many in sorted({connections, 1}, reverse=True):
        for kind in _KINDS:
            runs = _closed(services, {kind: 1}, seconds, many)
            ours = [service for service in services if isinstance(service, SecretManager)]
            rest = _closed(ours, {f"REST {kind}": 1}, seconds, many)
            runs |= {f"{name}, REST": run for name, run in rest.items()}
            yield block(f"{kind}, connections: {many}", runs, rounds.count)


def _closed(
    services: Sequence[Service], mix: Mapping[str, int], seconds: int, connections: int
) -> dict[str, Run]:
    """Return the runs in which each connection sends its next call after the reply to the one before."""

    def run(service: Service, number: int) -> Sample:
        calls = mixes.calls(mix, service, _CALLS_A_SECOND * seconds, seed=number)
        path = service.folder / "calls"
        path.write_text("".join(f"{call.line}\n" for call in calls))
        arguments = (str(path), str(wrk.threads(connections)))
        load = partial(wrk.run, "replay.lua", service.url, *arguments, connections=connections)
        return sample(service, partial(load, seconds=seconds))

    return {service.name: partial(run, service) for service in services}
