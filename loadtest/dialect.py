"""The standard mixes of Vault's API, on this service and on OpenBao."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import arrivals
import mixes
import wrk
from baselines.dialect import OpenBaoDialect, SecretManagerDialect
from baselines.processes import Contender, SecretManager
from comparison import Block, Rounds, Run, Sample, block, sample

CONTENDERS: tuple[type[Contender], ...] = (SecretManagerDialect, OpenBaoDialect)

#: Calls to prepare for each second of a run; a run that needs more repeats them.
_CALLS_A_SECOND = 8_000

_MIXES = {"standard mix": mixes.STANDARD, "50 read, 50 write": mixes.HALF}

#: Kinds of calls that this service has in its REST API, too.
_KINDS = ("read", "write", "create")

#: The rates of the ramp begin here and double; it ends for a contender whose p99 is above the limit.
_FIRST_RATE = 125
_MAX_MILLISECONDS = 1_000
_RAMP_CONNECTIONS = 64


def compare(contenders: Sequence[Contender], rounds: Rounds, *, most_arrivals: int) -> Iterator[Block]:
    """Print and yield each block of the table: the mixes, single kinds of calls, and the ramp."""
    for contender in contenders:
        mixes.populate(contender)
    connections, seconds = rounds.connections, rounds.seconds
    for title, mix in _MIXES.items():
        runs = _closed(contenders, mix, seconds, connections)
        yield block(f"{title}, connections: {connections}", runs, rounds.count)
    for many in sorted({connections, 1}, reverse=True):
        for kind in _KINDS:
            runs = _closed(contenders, {kind: 1}, seconds, many)
            ours = [contender for contender in contenders if isinstance(contender, SecretManager)]
            rest = _closed(ours, {f"REST {kind}": 1}, seconds, many)
            runs |= {f"{name}, REST": run for name, run in rest.items()}
            yield block(f"{kind}, connections: {many}", runs, rounds.count)
    yield from _ramp(contenders, rounds, most_arrivals)


def _closed(
    contenders: Sequence[Contender], mix: Mapping[str, int], seconds: int, connections: int
) -> dict[str, Run]:
    """Return the runs in which each connection sends its next call after the reply to the one before."""

    def run(contender: Contender, number: int) -> Sample:
        calls = mixes.calls(mix, contender, _CALLS_A_SECOND * seconds, seed=number)
        path = contender.folder / "calls"
        path.write_text("".join(f"{call.line}\n" for call in calls))
        arguments = (str(path), str(wrk.threads(connections)))
        load = partial(wrk.run, "replay.lua", contender.url, *arguments, connections=connections)
        return sample(contender, partial(load, seconds=seconds))

    return {contender.name: partial(run, contender) for contender in contenders}


def _ramp(contenders: Sequence[Contender], rounds: Rounds, most_arrivals: int) -> Iterator[Block]:
    rate, keeping_up = _FIRST_RATE, list(contenders)
    while keeping_up and rate <= most_arrivals:
        runs = {one.name: partial(_arrivals, one, rate, rounds.seconds) for one in keeping_up}
        found = block(f"arrivals: {rate}/s", runs, rounds.count)
        keeping_up = [one for one in keeping_up if found.samples[one.name].p99 <= _MAX_MILLISECONDS]
        rate *= 2
        yield found


def _arrivals(contender: Contender, rate: int, seconds: int, number: int) -> Sample:
    calls = mixes.calls(mixes.STANDARD, contender, rate * seconds, seed=number)
    load = partial(arrivals.run, contender.url, calls, rate=rate, connections=_RAMP_CONNECTIONS)
    return sample(contender, partial(load, seed=number))
