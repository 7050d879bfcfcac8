"""Activation: the sockets that systemd passes to this process, and keeps for it."""

import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from vault.common.errors import VaultError

#: The first file that systemd passes.
_FIRST_FILE = 3


class NoSocketError(VaultError):
    """systemd passes no socket."""

    kind = "no_socket"
    message = "systemd passes no socket"
    remedy = "start it by secret-manager-credentials.socket"


class Passed(NamedTuple):
    """The sockets that systemd passes."""

    listener: socket.socket
    #: Connections that an earlier process had when it was killed.
    kept: Sequence[socket.socket]


def passed(environment: Mapping[str, str]) -> Passed:
    """Return the sockets that systemd passes to this process.

    Raises:
        NoSocketError: It passes nothing.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()):
        raise NoSocketError
    count = int(environment["LISTEN_FDS"])
    listener, *kept = (socket.socket(fileno=_FIRST_FILE + number) for number in range(count))
    return Passed(listener, kept)


def keep(connection: socket.socket, environment: Mapping[str, str]) -> None:
    """Have systemd keep *connection* open if this process is killed, and pass it to the next one."""
    path = environment.get("NOTIFY_SOCKET", "")
    # Without systemd, or with too many open files, the kernel closes it.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.connect(f"\0{path[1:]}" if path.startswith("@") else path)
        socket.send_fds(systemd, [b"FDSTORE=1"], [connection.fileno()])
