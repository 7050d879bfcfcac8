"""Memory for bodies and replies: limited in bytes, at most half for each source, with a queue."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Event

import pytest

from tests.support.waiting import wait_until
from vault.common.errors import OverloadedError
from vault.toolkit.http import memory
from vault.toolkit.http.memory import Memory, Reservation

SIZE = 1_000_000


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time that a body waits for memory."""
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 0.05)


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the time after which a client is slow, and that in which a body tries to get memory."""
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.02)
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 0.2)


@pytest.mark.promise("network")
@pytest.mark.usefixtures("impatient")
def test_a_source_gets_at_most_half_of_the_memory() -> None:
    """One source gets half of the memory, a second the other half, and a third waits."""
    place = Memory(SIZE)
    with place.reserve(SIZE // 2, "a"):
        with pytest.raises(OverloadedError), place.reserve(SIZE // 4, "a"):
            pass
        with place.reserve(SIZE // 2, "b"), pytest.raises(OverloadedError), place.reserve(SIZE // 4, "c"):
            pass
        with place.reserve(SIZE // 4, "c"):
            pass
    with place.reserve(SIZE // 2, "a"):
        pass


@pytest.mark.usefixtures("impatient")
def test_small_bodies_always_have_memory() -> None:
    """A small body is accepted even if the memory is used up."""
    place = Memory(SIZE)
    with place.reserve(SIZE // 2, "a"), place.reserve(SIZE // 2, "b"), place.reserve(16_384, "a"):
        pass


def test_waiting_bodies_are_served_in_order_without_blocking_other_sources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Waiting bodies proceed in order, and overtake those whose source has its half."""
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 60.0)
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 60.0)
    place = Memory(SIZE)
    order: list[str] = []
    leave = Event()

    def body(source: str, name: str) -> None:
        with place.reserve(SIZE // 2, source):
            order.append(name)
            leave.wait(30)

    with ThreadPoolExecutor(4) as pool:
        for number, (source, name) in enumerate((("a", "a1"), ("a", "a2"), ("b", "b1"), ("c", "c1"))):
            pool.submit(body, source, name)
            wait_until(lambda number=number: len(order) + len(place._waiting) == number + 1)
        assert order == ["a1", "b1"]
        leave.set()
    assert order[2:] in (["a2", "c1"], ["c1", "a2"])
    assert not place._used
    assert not place._waiting


@pytest.mark.promise("network")
def test_slow_bodies_of_two_sources_lock_out_no_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """If slow bodies hold all memory, the oldest are disconnected, and their sources do not get it back."""
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.05)
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 30.0)
    place = Memory(SIZE)
    leaves = {f"{source}{number}": Event() for source in "ab" for number in range(4)}
    evicted: list[str] = []
    turns: dict[str, int] = {}
    done = Event()

    def evict(name: str) -> None:
        evicted.append(name)
        leaves[name].set()

    def slow(name: str) -> None:
        with place.reserve(SIZE // 8, name[0], partial(evict, name)):
            turns[name] = place._turns[name[0]]
            leaves[name].wait(30)

    def received() -> None:
        with place.reserve(SIZE // 8, "a", lambda: None) as reservation:
            reservation.keep()
            done.wait(30)

    with ThreadPoolExecutor(12) as pool:
        for number, name in enumerate(("a0", "b0", "a1", "b1", "a2", "b2", "b3"), 1):
            pool.submit(slow, name)
            wait_until(lambda number=number: len(place._evictable) == number)
        pool.submit(received)
        wait_until(lambda: place._used.total() == SIZE)
        # Waits for its source's half, and goes on only after the third source.
        pool.submit(slow, "a3")
        wait_until(lambda: len(place._waiting) == 1)
        with place.reserve(SIZE // 4, "c"):
            turns["c"] = place._turns["c"]
            # Now others may have to leave for the one that still waits.
            assert evicted[:2] == ["a0", "b0"]
        done.set()
        for leave in leaves.values():
            leave.set()
    assert sorted(turns, key=turns.__getitem__)[-2:] == ["c", "a3"]
    assert not place._evictable
    assert not place._used


def test_memory_that_was_granted_at_the_last_moment_evicts_no_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that gets its memory just as it stops waiting disconnects no slow client."""

    class Late(Event):
        def wait(self, timeout: float | None = None) -> bool:
            """Report a timeout the first time, although the event may be set."""
            is_first = not hasattr(self, "was_waited_for")
            self.was_waited_for = True
            return False if is_first else super().wait(timeout)

    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.0)
    place = Memory(SIZE)
    left = Event()
    with place.reserve(SIZE // 2, "a", left.set), place.reserve(SIZE // 4, "b"):
        monkeypatch.setattr(memory, "Event", Late)
        place.reserve(SIZE // 4, "c").release()
    assert not left.is_set()


@pytest.mark.usefixtures("strict")
def test_one_slow_body_does_not_keep_its_address_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a slow body holds its source's half, a smaller one of that source disconnects it."""
    place = Memory(SIZE)
    left = Event()
    slow = place.reserve(SIZE // 2, "a", left.set)
    with place.reserve(SIZE // 4, "b"), ThreadPoolExecutor(1) as pool:
        with pytest.raises(OverloadedError):
            place.reserve(SIZE // 2, "a")
        assert not left.is_set()
        monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 30.0)
        smaller = pool.submit(place.reserve, SIZE // 8, "a")
        assert left.wait(30)
        slow.release()
        smaller.result().release()
    assert not place._used


@pytest.mark.usefixtures("strict")
def test_memory_that_is_on_its_way_evicts_no_one_else() -> None:
    """A body evicts only as much as it needs, even if those it evicts take long to give their memory back."""
    place = Memory(SIZE)
    evicted: list[int] = []
    for number in range(8):
        place.reserve(SIZE // 8, "ab"[number % 2], partial(evicted.append, number))
    with pytest.raises(OverloadedError):
        place.reserve(SIZE // 4, "c")
    assert evicted == [0, 1]


def test_a_body_whose_client_was_disconnected_has_no_effect(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that is disconnected just as its last byte arrives gets no reply, so nothing is done."""
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.02)
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 30.0)
    place = Memory(SIZE)
    left = Event()
    slow = place.reserve(SIZE // 2, "a", left.set)
    with place.reserve(SIZE // 2, "b") as other, ThreadPoolExecutor(1) as pool:
        other.keep()
        waiting = pool.submit(place.reserve, SIZE // 2, "c")
        assert left.wait(30)
        with pytest.raises(OverloadedError):
            slow.keep()
        slow.release()
        waiting.result().release()
    assert not place._used


@pytest.mark.parametrize("is_reply", [False, True])
def test_a_client_that_keeps_the_pace_is_not_evicted(monkeypatch: pytest.MonkeyPatch, is_reply: bool) -> None:
    """Of two clients that hold all memory, the one that stalls makes way, even if it came later."""
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.05)
    now = [0.0]
    monkeypatch.setattr(memory, "monotonic", lambda: now[0])
    place = Memory(SIZE)
    evicted: list[str] = []
    held: dict[str, Reservation] = {}

    def leave(name: str) -> None:
        evicted.append(name)
        held[name].release()

    for name in "ab":
        held[name] = place.reserve(SIZE // 2, name, partial(leave, name))
        if is_reply:
            held[name].keep()
            held[name].offer()
    now[0] = 0.1
    held["a"].advance(memory._FAST_BYTES_PER_SECOND)
    place.reserve(SIZE // 2, "c").release()
    assert evicted == ["b"]


def test_keeping_the_pace_has_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that keeps the pace makes way after its time, so that two of them cannot hold all memory."""
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 0.02)
    monkeypatch.setattr(memory, "_FAST_SECONDS", 0.2)
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 30.0)
    place = Memory(SIZE)
    held: list[Reservation] = []
    held.append(place.reserve(SIZE // 2, "a", lambda: held[0].release()))
    with place.reserve(SIZE // 2, "b") as other, ThreadPoolExecutor(1) as pool:
        other.keep()
        waiting = pool.submit(place.reserve, SIZE // 2, "c")
        while not waiting.done():
            held[0].advance(16_384)
        waiting.result().release()


def test_memory_is_given_back_once() -> None:
    """A reservation can be given back before its end, any number of times."""
    place = Memory(SIZE)
    with place.reserve(SIZE // 2, "a") as mine, place.reserve(SIZE // 4, "b"):
        mine.release()
        mine.release()
        assert place._used == {"b": SIZE // 4}
    assert not place._used
    assert not place._evictable


@pytest.mark.usefixtures("impatient")
def test_a_reservation_can_shrink() -> None:
    """Memory that a reply does not need is free immediately; a small rest needs none."""
    place = Memory(SIZE)
    mine = place.reserve(SIZE // 2, "a")
    mine.shrink(SIZE // 4)
    with place.reserve(SIZE // 4, "a"):
        assert place._used == {"a": SIZE // 2}
    mine.shrink(SIZE)
    assert place._used == {"a": SIZE // 4}
    mine.shrink(16_384)
    assert not place._used
    assert not place._evictable
    mine.shrink(5)
    assert not place._used


@pytest.mark.usefixtures("impatient")
def test_one_that_stops_waiting_leaves_the_queue() -> None:
    """A reservation that is refused does not keep others from the memory."""
    place = Memory(SIZE)
    with place.reserve(SIZE // 2, "a"), place.reserve(SIZE // 4, "b"):
        with pytest.raises(OverloadedError):
            place.reserve(SIZE // 2, "c")
        assert not place._waiting
        with place.reserve(SIZE // 4, "c"):
            pass


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize("size", [SIZE // 2, SIZE // 4], ids=["as large", "smaller"])
def test_one_large_body_does_not_lock_out_others(size: int) -> None:
    """The slowest client with as much memory as another needs is disconnected."""
    place = Memory(SIZE)
    slow: list[Reservation] = []
    with place.reserve(SIZE // 2, "b") as other:
        other.keep()
        slow.append(place.reserve(SIZE // 2, "a", lambda: slow[0].release()))
        with place.reserve(size, "c"):
            assert place._used == {"b": SIZE // 2, "c": size}
    assert not place._used


@pytest.mark.usefixtures("strict")
@pytest.mark.parametrize(("part", "count"), [(4, 2), (16, 0)], ids=["large", "small"])
def test_a_larger_body_disconnects_large_ones_only(part: int, count: int) -> None:
    """A client that needs more memory than each other has disconnects only those with a large part."""
    place = Memory(SIZE)
    held: dict[int, Reservation] = {}
    for number in range(part):
        size = SIZE // part
        held[number] = place.reserve(size, str(number), lambda number=number: held[number].release())
    if count:
        place.reserve(SIZE // 2, "z").release()
    else:
        with pytest.raises(OverloadedError):
            place.reserve(SIZE // 2, "z")
    assert [number for number in held if not held[number].size] == list(range(count))


@pytest.mark.usefixtures("strict")
def test_a_reply_that_is_not_taken_makes_room() -> None:
    """A reply keeps its memory while it is made; once it waits for a slow client, others can have it."""
    place = Memory(SIZE)
    held: list[Reservation] = []
    for name in "ab":
        held.append(place.reserve(SIZE // 2, name, lambda: held[0].release()))
        held[-1].keep()
    with pytest.raises(OverloadedError):
        place.reserve(SIZE // 4, "c")
    held[0].offer()
    with place.reserve(SIZE // 4, "c"):
        assert place._used == {"b": SIZE // 2, "c": SIZE // 4}
    held[0].offer()
    assert list(place._evictable) == []


def test_sources_with_as_much_memory_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source that has not had memory gets it before one that waits with many clients."""
    monkeypatch.setattr(memory, "_WAIT_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(memory, "_GRACE_SECONDS", 30.0)
    place = Memory(SIZE)
    order: list[str] = []

    def client(name: str) -> None:
        with place.reserve(SIZE // 2, name):
            order.append(name)

    first, second = place.reserve(SIZE // 2, "a"), place.reserve(SIZE // 2, "b")
    with ThreadPoolExecutor(5) as pool:
        for number, name in enumerate("aaabc", 1):
            pool.submit(client, name)
            wait_until(lambda number=number: len(place._waiting) == number)
        second.keep()
        first.release()
        wait_until(lambda: len(order) == 4)
        second.release()
    assert order[0] == "c"
    assert not place._turns
