"""The comparison of two runs of a program: equal, except for the accepted differences."""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.qa.differential.differences import ACCEPTED
from tests.qa.differential.observations import differing, explain, masked
from tests.support.openbao import Server, Servers

#: What a program saw, by step.
Seen = dict[str, Any]


class Observer:
    """Records what a program sees, step by step."""

    def __init__(self) -> None:
        self.seen: Seen = {}

    def __call__(self, step: str, observation: object) -> None:
        """Record an observation; a repeated step gets a number."""
        name, number = step, 1
        while name in self.seen:
            number += 1
            name = f"{step} ({number})"
        self.seen[name] = observation if isinstance(observation, Mapping) else {"value": observation}


def compare(servers: Servers, name: str, program: Callable[[Server, Observer], None]) -> None:
    """Run *program* against both servers at the same time, and compare what it sees."""
    observers = Observer(), Observer()
    with ThreadPoolExecutor(2) as both:
        runs = [both.submit(program, *pair) for pair in zip(servers, observers, strict=True)]
        for run in runs:
            run.result()
    there, here = (masked(server, one.seen) for server, one in zip(servers, observers, strict=True))
    assert list(there) == list(here)
    found = {step: places for step in there if (places := differing(there[step], here[step]))}
    _expect(name, found, there, here)


def _expect(name: str, found: dict[str, list[str]], there: Seen, here: Seen) -> None:
    accepted = {
        step: sorted(places.split())
        for difference in ACCEPTED
        for places, steps in difference.steps.get(name, {}).items()
        for step in steps
    }
    unlisted = [step for step in found if found[step] != accepted.get(step)]
    gone = [step for step in accepted if step not in found]
    assert not unlisted + gone, "\n".join(
        [
            f"{name}: {len(unlisted)} differences are not listed, {len(gone)} listed ones do not occur",
            *(
                f"  {step!r}: {' '.join(found[step])!r},\n{_explained(there, here, step, found)}"
                for step in unlisted
            ),
            *(f"  listed, but equal: {step!r}" for step in gone),
        ]
    )


def _explained(
    there: Mapping[str, Any], here: Mapping[str, Any], step: str, found: dict[str, list[str]]
) -> str:
    return explain(there[step], here[step], found[step])
