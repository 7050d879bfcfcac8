"""Room for request bodies: bounded in bytes, by the half for each source, and waited for."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from tests.cli.waiting import wait_until
from vault.api import room
from vault.api.room import Room
from vault.errors import OverloadedError

SIZE = 1_000_000


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a body wait for room only briefly."""
    monkeypatch.setattr(room, "_WAIT_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
def test_a_source_gets_half_and_all_get_all() -> None:
    """A source gets half of the room, a second one the other half, a third one nothing until one leaves."""
    place = Room(SIZE)
    with place.taken(SIZE // 2, "a"):
        with pytest.raises(OverloadedError), place.taken(SIZE // 4, "a"):
            pass
        with place.taken(SIZE // 2, "b"), pytest.raises(OverloadedError), place.taken(SIZE // 4, "c"):
            pass
        with place.taken(SIZE // 4, "c"):
            pass
    with place.taken(SIZE // 2, "a"):
        pass


@pytest.mark.usefixtures("impatient")
def test_small_bodies_always_have_room() -> None:
    """Where there is no room left, a small body is taken all the same."""
    place = Room(SIZE)
    with place.taken(SIZE // 2, "a"), place.taken(SIZE // 2, "b"), place.taken(16_384, "a"):
        pass


def test_waiting_bodies_come_in_order_and_none_holds_up_another_source() -> None:
    """Who waits goes on as soon as there is room, in order, past those whose source has its half."""
    place = Room(SIZE)
    order: list[str] = []
    leave = Event()

    def body(source: str, name: str) -> None:
        with place.taken(SIZE // 2, source):
            order.append(name)
            leave.wait(30)

    with ThreadPoolExecutor(4) as pool:
        for number, (source, name) in enumerate((("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1"))):
            pool.submit(body, source, name)
            wait_until(lambda number=number: len(order) + len(place._waiting) == number + 1)
        assert order == ["a1", "b1"]
        leave.set()
    assert order[2:] in (["a2", "c1"], ["c1", "a2"])
    assert not place._taken
    assert not place._waiting
