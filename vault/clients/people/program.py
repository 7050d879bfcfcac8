"""Programs that run with secrets: in place of this process, or as its child."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NamedTuple, NoReturn

from vault.common.errors import ProgramError
from vault.common.processes import die_with_parent

#: Credentials of this process, which a program gets only if it is meant to.
_TOKEN = b"VAULT_TOKEN"
_KEYS = {
    *(b"MASTER_KEY", b"MASTER_KEY_FILE", b"MASTER_KEY_FALLBACKS", b"MASTER_KEY_FALLBACKS_FILE"),
    *(b"MASTER_KEYRING_FILE", b"PKCS11_PIN", b"PKCS11_PIN_FILE", b"TRANSIT_TOKEN", b"TRANSIT_TOKEN_FILE"),
}

#: With a key, these lead to the service's database. Without one, they are of the program.
_DATABASE = {b"MONGO_URI", b"MONGO_URI_FILE"}

#: Signals that Python ignores, and a program that it starts would ignore, too.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

#: Signals that reach a program through its parent.
_FORWARDED = {
    *(signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
    signal.SIGCONT,
}

#: Those of them that ask a program to end. Many programs survive the others: a JVM prints its threads after
#: SIGQUIT, and daemons read their files again after SIGHUP.
_ENDING = {signal.SIGTERM}

#: Those of them that ask a program which is stopped not to start again.
_ENDING_RESTARTS = {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}

_WAITED = _FORWARDED | {signal.SIGCHLD}

#: `si_code` of a signal of the kernel. A terminal signals all processes in the foreground itself.
_SI_KERNEL = 0x80

#: Signals of a terminal's keys.
_OF_KEYS = {signal.SIGINT, signal.SIGQUIT}

_MAIN_THREAD = threading.main_thread().ident or 0

#: As shells have it for a program that a signal ended.
_SIGNALLED = 128


def require(command: Sequence[str]) -> str:
    """Return the path of the program of *command*.

    Raises:
        ProgramError: It does not exist, or may not be executed.
    """
    path = shutil.which(command[0])
    if path is None:
        raise ProgramError(
            f"there is no program {command[0]} that you can execute", hint="check the name, and PATH"
        )
    return path


def environment(variables: Mapping[str, bytes], *, keep_token: bool) -> dict[bytes, bytes]:
    """Return this process's environment with *variables*, and without its own credentials.

    Raises:
        ProgramError: A value cannot be in an environment.
    """
    for name, value in variables.items():
        if b"\0" in value:
            raise ProgramError(
                f"the value for {name} has a NUL byte, which a variable cannot have", hint="use --file"
            )
    dropped = _KEYS if _KEYS.isdisjoint(os.environb) else _KEYS | _DATABASE
    dropped = dropped if keep_token else dropped | {_TOKEN}
    kept = {name: value for name, value in os.environb.items() if name not in dropped}
    return kept | {name.encode(): value for name, value in variables.items()}


def replace(command: Sequence[str], variables: Mapping[bytes, bytes]) -> NoReturn:
    """Run *command* in place of this process, with the environment *variables*.

    Raises:
        ProgramError: It cannot be started.
    """
    path = require(command)
    for number in _IGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(path, list(command), variables)  # noqa: S606 - no shell takes part
    except OSError as error:
        raise _not_started(command, error) from None


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold the signals of this process back while the block runs, for `Child.wait` to forward them."""
    # Off Linux, a signal that is held back and not handled is lost.
    handler = signal.signal(signal.SIGCHLD, _ignore)
    earlier = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, earlier)
        signal.signal(signal.SIGCHLD, handler)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    pass


def wake() -> None:
    """Make `Child.wait` of the main thread return."""
    # Not to the process: a thread that does not hold the signal back would take it, and ignore it.
    signal.pthread_kill(_MAIN_THREAD, signal.SIGCHLD)


class _Received(NamedTuple):
    """A signal, and whether a terminal sent it."""

    number: int
    is_of_terminal: bool


def _received(seconds: float | None) -> _Received | None:
    """Return the next signal that is held back, or None after *seconds*."""
    if sys.platform != "linux":
        return _received_elsewhere(seconds)
    info = signal.sigwaitinfo(_WAITED) if seconds is None else signal.sigtimedwait(_WAITED, seconds)
    return info and _Received(info.si_signo, info.si_code == _SI_KERNEL)


def _received_elsewhere(seconds: float | None) -> _Received:
    """Return the next signal that is held back, or SIGCHLD after *seconds*."""
    timer = threading.Timer(seconds or 0.0, wake)
    if seconds is not None:
        timer.start()
    number = signal.sigwait(_WAITED)
    timer.cancel()
    return _Received(number, number in _OF_KEYS and _is_in_foreground())


def _is_in_foreground() -> bool:
    """Return whether this process gets the signals of its terminal's keys."""
    try:
        terminal = os.open(os.ctermid(), os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


class Child:
    """A program that runs as a child, and gets the signals of this process; for a block of `held_signals`."""

    def __init__(self, command: Sequence[str], variables: Mapping[bytes, bytes]) -> None:
        """Start *command* with the environment *variables*.

        Raises:
            ProgramError: It cannot be started.
        """
        #: True once a signal has asked the program to end, or not to start again after `stop`.
        self.is_ending = False
        self._ending = _ENDING
        die = die_with_parent(signal.SIGTERM)

        def prepare() -> None:  # pragma: no cover - between fork and exec, coverage is not measured
            if die:
                die()
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED)

        try:
            self._process = subprocess.Popen(  # noqa: S603 - no shell takes part
                command, executable=require(command), env=variables, preexec_fn=prepare
            )
        except OSError as error:
            raise _not_started(command, error) from None

    def wait(self, seconds: float | None = None) -> int | None:
        """Forward signals until the program has ended, and return its exit code, or None if it runs.

        It can still run after *seconds*, after `wake`, and after it was suspended or continued.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while self._process.poll() is None:
            left = None if end is None else max(0.0, end - time.monotonic())
            received = _received(left)
            # Signals of one number can become one, so this SIGCHLD may be that of `wake`, too.
            if received is None or received.number == signal.SIGCHLD:
                break
            self._forward(received)
        return self.exit_code

    @property
    def exit_code(self) -> int | None:
        """The exit code of the program, or None while it runs. After a signal, it is 128 and its number."""
        code = self._process.poll()
        return _SIGNALLED - code if code is not None and code < 0 else code

    def stop(self, grace_seconds: float) -> None:
        """Terminate the program, and kill it after *grace_seconds*; do nothing if it has ended."""
        self._ending = _ENDING_RESTARTS
        self._process.terminate()
        end = time.monotonic() + grace_seconds
        while self.wait(max(0.0, end - time.monotonic())) is None:
            if time.monotonic() >= end:
                self._process.kill()
                self._process.wait()

    def _forward(self, received: _Received) -> None:
        # A blocked signal arrives although it is ignored, such as SIGHUP after `nohup`.
        is_ignored = signal.getsignal(received.number) is signal.SIG_IGN
        self.is_ending |= received.number in self._ending and not is_ignored
        # The terminal signals the program itself.
        if not received.is_of_terminal:
            self._process.send_signal(received.number)


def _not_started(command: Sequence[str], error: OSError) -> ProgramError:
    if error.errno == errno.E2BIG:
        return ProgramError("the values are too large for an environment", hint="use --file")
    return ProgramError(f"{command[0]} cannot be started: {error.strerror}")
