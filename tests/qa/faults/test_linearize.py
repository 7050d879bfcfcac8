"""The search for an order that explains the observations."""

from collections.abc import Callable
from itertools import count

import pytest

from tests.qa.faults.linearize import Operation, is_possible


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
def test_a_possible_history_has_an_order(operations: list[Operation]) -> None:
    """An order within the times of all operations is found, whatever their given order."""
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
def test_an_impossible_history_has_no_order(operations: list[Operation]) -> None:
    """If no order explains all observations, none is found."""
    assert not is_possible(operations, 0)
    assert not is_possible(operations[::-1], 0)


def test_dozens_of_concurrent_operations_are_searched_quickly() -> None:
    """The search does not visit every order of many overlapping operations."""
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
