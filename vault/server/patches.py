"""Uses of gevent's internals, each with its reason and its test.

gevent has no public way to do these things. `setup.cfg` caps its version, and `tests/server/test_patches.py`
fails when a new version changes what is used here.
"""

import socket
from contextlib import suppress
from typing import Any

from gevent import thread
from gevent.ssl import SSLSocket


def add_lock_ownership_check() -> None:
    """Give gevent's locks the method by which `threading.Condition` asks whether its lock is held.

    Without it, a condition tries to take the lock to find out, and gevent then runs other greenlets. PyMongo
    guards its connections with a condition. The method saves 10 % of the CPU time of a lone fetch.
    """
    thread.LockType._is_owned = thread.LockType.locked  # noqa: SLF001


def accept(listening: Any) -> tuple[int, Any]:
    """Accept a connection on *listening*; return its descriptor and its client's address.

    `socket.accept` creates a socket object, which takes longer than all other steps of a refusal.

    Raises:
        BlockingIOError: No connection is waiting.
        ConnectionAbortedError: The client has left.
    """
    accepted: tuple[int, Any] = listening._accept()  # noqa: SLF001
    return accepted


def disconnect(client: Any) -> None:
    """End both directions of the gevent socket *client*. A greenlet that waits for it reads its end.

    gevent's own `shutdown` would raise an error in that greenlet. Safe to repeat.
    """
    with suppress(OSError):
        client._sock.shutdown(socket.SHUT_RDWR)  # noqa: SLF001


def has_unread(client: Any) -> bool:
    """Return whether bytes of the gevent socket *client*, or its end, have arrived that no greenlet has read.

    gevent's own `recv` would wait, and TLS has no way to look at what arrives.
    """
    if isinstance(client, SSLSocket) and client.pending():
        return True
    try:
        client._sock.recv(1, socket.MSG_PEEK)  # noqa: SLF001
    except BlockingIOError:
        return False
    except OSError:
        # The connection is broken.
        return True
    return True
