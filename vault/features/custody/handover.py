"""The handover of opened keys to the processes that follow: a file in memory that only they can open.

It survives `execve` and forks, as `serve` becomes gunicorn, which forks its workers. So the providers are
asked once a start, whatever reads the settings. The first byte says whether the opening is recorded.

After `execve`, until the process is hardened again, other processes of its user can open its files through
`/proc`, but not its sockets. So the file is encrypted. Its key stays in a socket, from which every reader
copies it.
"""

import json
import os
import socket
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fcntl import LOCK_EX, LOCK_NB, flock
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from vault.features.custody.opening import Opened

#: The variables that name the file, and the descriptor of the socket; they are no settings.
VARIABLE, SOCKET = "KEYS_OPENED_FILE", "KEYS_OPENED_SOCKET"

_MFD_NOEXEC_SEAL = 8
_NEW, _RECORDED = b"n", b"r"
#: Each key encrypts one file.
_KEY_BYTES, _NONCE = 32, bytes(12)


def hand_down(opened: Sequence[Opened]) -> None:
    """Hand *opened* down to the program that replaces this process, and to its forks."""
    rows = [asdict(key) | {"material": b64encode(key.material).decode()} for key in opened]
    key = os.urandom(_KEY_BYTES)
    descriptor = _memory_file()
    os.write(descriptor, _NEW + AESGCM(key).encrypt(_NONCE, json.dumps(rows).encode(), None))
    os.environ[VARIABLE] = f"/proc/self/fd/{descriptor}"
    os.environ[SOCKET] = str(_waiting(key))


def _waiting(content: bytes) -> int:
    """Return the descriptor of a socket in which *content* waits, also for programs that follow."""
    reader, writer = socket.socketpair()
    with writer:
        writer.sendall(content)
    reader.set_inheritable(True)
    return reader.detach()


def _memory_file() -> int:
    try:
        # Required with vm.memfd_noexec=2.
        return os.memfd_create(VARIABLE, _MFD_NOEXEC_SEAL)
    except OSError:
        # A kernel before 6.3.
        return os.memfd_create(VARIABLE, 0)


def handed_down() -> list[Opened]:
    """Return the keys that were handed down to this process; none if none were."""
    path = os.environ.get(VARIABLE)
    if not path:
        return []
    with socket.socket(fileno=os.dup(int(os.environ[SOCKET]))) as waiting:
        key = waiting.recv(_KEY_BYTES, socket.MSG_PEEK)
    rows = json.loads(AESGCM(key).decrypt(_NONCE, Path(path).read_bytes()[len(_NEW) :], None))
    return [
        Opened(
            **row
            | {name: tuple(row[name]) for name in ("skipped", "refused", "slots")}
            | {"material": b64decode(row["material"])}
        )
        for row in rows
    ]


class Place:
    """The place of the one process, of all that share a handover, that records it and checks the slots."""

    def __init__(self) -> None:
        #: Negative without it.
        self._descriptor = -1

    def take(self) -> bool:
        """Return whether this process has the place, which it keeps until its end."""
        if self._descriptor < 0:
            # Opened again in each process: forks share the lock of what they inherit.
            descriptor = os.open(os.environ[VARIABLE], os.O_RDWR | os.O_CLOEXEC)
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                os.close(descriptor)
                return False
            self._descriptor = descriptor
        return True

    @contextmanager
    def recording(self) -> Iterator[bool]:
        """Yield whether this process has to record the opening; it has after the block, unless that fails."""
        is_due = self.take() and os.pread(self._descriptor, 1, 0) == _NEW
        yield is_due
        if is_due:
            os.pwrite(self._descriptor, _RECORDED, 0)
