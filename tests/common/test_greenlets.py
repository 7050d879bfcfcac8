"""A shared flush waits for the greenlets that can run, and not for long."""

import threading
from collections.abc import Iterator

import gevent
import pytest

from vault.common import greenlets as module
from vault.common.greenlets import in_thread, wait_until_idle


@pytest.fixture
def greenlets(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[gevent.Greenlet]]:
    """Pretend that this process runs under gevent; return greenlets to end afterwards."""
    monkeypatch.setattr(module.monkey, "is_module_patched", lambda _name: True)
    begun: list[gevent.Greenlet] = []
    yield begun
    gevent.killall(begun)


def test_all_runnable_greenlets_run_first(
    greenlets: list[gevent.Greenlet], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wait ends after all runnable greenlets have run, however often they yield."""
    # A busy machine may stop this process for longer than the limit.
    monkeypatch.setattr(module, "_IDLE_TIMEOUT_SECONDS", 30)
    steps: list[int] = []

    def walk(number: int) -> None:
        for _ in range(5):
            gevent.sleep(0)
            steps.append(number)

    waits = gevent.spawn(gevent.sleep, 60)
    greenlets += [waits, *(gevent.spawn(walk, number) for number in range(10))]
    wait_until_idle()
    assert sorted(steps) == sorted([*range(10)] * 5)
    assert not waits.dead


def test_a_flood_does_not_delay_it_forever(greenlets: list[gevent.Greenlet]) -> None:
    """The wait ends even if some greenlet is always runnable, so no client can starve a flush."""
    turns: list[None] = []

    def never_rest() -> None:
        while True:
            turns.append(None)
            gevent.sleep(0)

    greenlets += [gevent.spawn(never_rest) for _ in range(3)]
    with gevent.Timeout(60):
        wait_until_idle()
    assert len(turns) > 3
    assert not any(greenlet.dead for greenlet in greenlets)


def test_threads_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """With threads, which are scheduled by the system, as in commands, there is no wait."""
    waited: list[float] = []
    monkeypatch.setattr(module, "with_timeout", lambda seconds, *_, **__: waited.append(seconds))
    wait_until_idle()
    assert waited == []


def test_work_in_a_thread_lets_others_run(greenlets: list[gevent.Greenlet]) -> None:
    """Other greenlets run while one waits for a thread."""
    done = threading.Event()

    def work() -> str:
        assert done.wait(60)
        return threading.current_thread().name

    greenlets.append(gevent.spawn(done.set))
    assert in_thread(work) != threading.current_thread().name


def test_work_without_greenlets_is_done_in_place() -> None:
    """Threads take turns by themselves."""
    assert in_thread(threading.get_ident) == threading.get_ident()
