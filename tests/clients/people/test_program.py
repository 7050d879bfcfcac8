"""Programs that run as a child, and their signals."""

import os
import signal
import threading

import pytest

from vault.clients.people import program

pytestmark = pytest.mark.process


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_signal_during_a_stop_prevents_a_restart(*, is_ignored: bool) -> None:
    """SIGHUP while a program is stopped asks it not to start again, unless it is ignored as by `nohup`."""
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN if is_ignored else signal.SIG_DFL)
    try:
        with program.held_signals():
            child = program.Child(["sleep", "60"], dict(os.environb))
            # A suspended program does not end, so that the stop waits and sees the signal.
            child._process.send_signal(signal.SIGSTOP)
            os.waitid(os.P_PID, child._process.pid, os.WSTOPPED | os.WNOWAIT)
            signal.pthread_kill(threading.get_ident(), signal.SIGHUP)
            child.stop(0.1)
        assert child.exit_code == 128 + signal.SIGKILL
        assert child.is_ending is not is_ignored
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_wait_returns_after_every_signal_of_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """A SIGCHLD of the program can hide that of `wake`, so a wait returns after each."""
    child = program.Child(["sleep", "60"], dict(os.environb))
    infos = [signal.struct_siginfo((signal.SIGCHLD, 5, 0, child._process.pid, 0, 0, 0))]
    monkeypatch.setattr(signal, "sigwaitinfo", lambda _: infos.pop())
    assert child.wait() is None
    with program.held_signals():
        child.stop(0)
    assert child.exit_code in {128 + signal.SIGTERM, 128 + signal.SIGKILL}


def test_a_stop_waits_on_after_an_early_return(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wait can return before the program has ended; the stop then waits on, and kills nothing."""
    child = program.Child(["sleep", "60"], dict(os.environb))
    waits = iter([None, 128 + signal.SIGTERM])
    monkeypatch.setattr(program.Child, "wait", lambda _child, _seconds: next(waits))
    child.stop(60)
    assert next(waits, "no more") == "no more"
    assert child._process.wait(60) == -signal.SIGTERM
