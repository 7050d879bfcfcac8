"""The search for an order that explains what was seen."""

from collections.abc import Callable
from itertools import count

import pytest

from tests.faults.linearize import Operation, is_possible


def write(value: int, sent: float, answered: float, *, required: bool = True) -> Operation:
    return Operation(sent, answered, lambda _: value, required=required)


def read(value: int, sent: float, answered: float) -> Operation:
    return Operation(sent, answered, lambda state: state if state == value else None)


@pytest.mark.parametrize(
    "operations",
    [
        [],
        [write(1, 0, 1), read(1, 2, 3)],
        [write(1, 0, 9), read(0, 1, 2), read(1, 3, 4)],
        [write(1, 0, 9), write(2, 0, 9), read(2, 1, 2), read(1, 3, 4)],
        [write(1, 0, 1, required=False), read(0, 2, 3)],
        [write(1, 0, 1, required=False), read(0, 2, 3), read(1, 4, 5)],
    ],
    ids=["nothing", "in turn", "at once", "two at once", "unknown and not done", "unknown and done late"],
)
def test_what_could_have_happened_is_possible(operations: list[Operation]) -> None:
    """An order within the times of all operations is found, whatever the order in which they are given."""
    assert is_possible(operations, 0)
    assert is_possible(operations[::-1], 0)


@pytest.mark.parametrize(
    "operations",
    [
        [write(1, 0, 1), read(0, 2, 3)],
        [read(1, 0, 1), write(1, 2, 3)],
        [write(1, 0, 9), read(1, 1, 2), read(0, 3, 4)],
        [write(1, 0, 1), write(2, 2, 3), read(1, 4, 5)],
        [write(1, 0, 1, required=False), read(1, 2, 3), read(0, 4, 5)],
    ],
    ids=["lost", "from the future", "back again", "overwritten by an older one", "unknown, done and undone"],
)
def test_what_cannot_have_happened_is_found(operations: list[Operation]) -> None:
    """Where no order explains all that was seen, none is found."""
    assert not is_possible(operations, 0)
    assert not is_possible(operations[::-1], 0)


def test_dozens_at_once_are_searched_soon() -> None:
    """Of many operations that overlap not every order is tried."""
    steps = counted = count()

    def counting(step: Callable[[int], int | None]) -> Callable[[int], int | None]:
        def run(state: int) -> int | None:
            next(steps)
            return step(state)

        return run

    writes = [Operation(0, 100, counting(lambda _, value=value: value)) for value in range(1, 13)]
    reads = [read(value, 2 * value, 2 * value + 1) for value in range(1, 13)]
    assert is_possible([*writes, *reads], 0)
    assert not is_possible([*writes, *reads, read(1, 50, 51)], 0)
    assert next(counted) < 1_000_000
