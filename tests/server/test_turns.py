"""Turns of requests: a client with many connections does not delay another one."""

from time import monotonic

import gevent
import pytest

from vault.server import turns as turns_module
from vault.server.turns import _MAX_AT_ONCE, _MAX_OF_ONE, Turns


def test_a_client_waits_for_few_requests_of_another() -> None:
    """Next to 100 greenlets of one address, another address gets each turn after a few."""
    turns = Turns()
    begun: list[str] = []

    def client(source: str, count: int) -> None:
        for _ in range(count):
            turns.take(source)
            begun.append(source)

    flood = [gevent.spawn(client, "flood", 10) for _ in range(100)]
    gevent.sleep(0)
    other = gevent.spawn(client, "other", 5)
    gevent.joinall([*flood, other], raise_error=True)
    assert begun.count("flood") == 1_000
    assert begun.count("other") == 5
    last = len(begun) - begun[::-1].index("other")
    assert last < 100


def test_other_greenlets_run_between_turns() -> None:
    """A greenlet that yields runs again before many of the queue have had their turn."""
    turns = Turns()
    begun: list[int] = []
    ended = False

    def client(number: int) -> None:
        while not ended:
            turns.take("flood")
            begun.append(number)

    flood = [gevent.spawn(client, number) for number in range(100)]
    gevent.sleep(0)
    between = []
    for _ in range(20):
        before = len(begun)
        gevent.sleep(0)
        between.append(len(begun) - before)
    ended = True
    gevent.joinall(flood, raise_error=True)
    assert max(between) <= 5 * _MAX_AT_ONCE
    assert sum(between) > 0


def test_a_greenlet_killed_while_waiting_blocks_no_other() -> None:
    """A greenlet that ends before its turn leaves the others theirs."""
    turns = Turns()
    begun: list[int] = []

    def client(number: int) -> None:
        turns.take("a")
        begun.append(number)

    waiting = [gevent.spawn(client, number) for number in range(10)]
    gevent.sleep(0)
    waiting[5].kill(block=False)
    gevent.joinall(waiting)
    assert set(range(10)) - set(begun) <= {5}
    turns.take("a")


def test_a_request_that_has_just_arrived_need_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the greenlets that have waited for their clients, only the first go on without giving way."""
    now = [1]
    turns = Turns()
    monkeypatch.setattr(turns, "round", lambda: now[0])
    assert [turns.take_now("a") for _ in range(_MAX_AT_ONCE + 2)] == [True] * _MAX_AT_ONCE + [False] * 2
    now[0] = 2
    assert turns.take_now("a")
    waiting = [gevent.spawn(turns.take, "a") for _ in range(_MAX_AT_ONCE + 1)]
    gevent.sleep(0)
    # Others were first.
    now[0] = 3
    assert not turns.take_now("a")
    with gevent.Timeout(60):
        while not all(greenlet.dead for greenlet in waiting):
            now[0] += 1
            gevent.sleep(0.001)
    now[0] += 1
    assert turns.take_now("a")


def test_an_address_gets_fewer_turns_while_another_is_active(monkeypatch: pytest.MonkeyPatch) -> None:
    """Next to another address, one begins two requests in a step; alone again, eight; all together, eight."""
    step = [1]
    turns = Turns()
    monkeypatch.setattr(turns, "round", lambda: step[0])
    assert turns.take_now("b")
    monkeypatch.setattr(turns_module, "_ACTIVE_SECONDS", 60)
    taken = {name: sum(turns.take_now(name) for _ in range(10)) for name in ("a", "b", "c", "d", "e")}
    assert taken == {"a": _MAX_OF_ONE, "b": 1, "c": _MAX_OF_ONE, "d": _MAX_OF_ONE, "e": 0}
    monkeypatch.setattr(turns_module, "_ACTIVE_SECONDS", 0)
    step[0] = 2
    assert sum(turns.take_now("a") for _ in range(10)) == _MAX_AT_ONCE


def test_timers_let_no_further_requests_go_on() -> None:
    """Of the greenlets that run in one step, few go on without giving way, even if each starts a timer."""
    turns = Turns()
    went_on: list[bool] = []

    def client() -> None:
        went_on.append(turns.take_now("a"))
        # A timer is set by the clock, which has to advance.
        began = monotonic()
        while monotonic() == began:
            pass
        with gevent.Timeout(60):
            gevent.sleep(0)

    gevent.joinall([gevent.spawn(client) for _ in range(20)], raise_error=True)
    assert sum(went_on) == _MAX_AT_ONCE
