"""A second sink for audit entries: a file or syslog, out of reach of anyone who can write to MongoDB."""

import errno
import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from logging.handlers import SysLogHandler
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any
from urllib.parse import unquote, urlsplit

from vault.common.errors import AuditUnavailableError
from vault.common.observability import metrics
from vault.core.documents.audit import record_of

logger = logging.getLogger(__name__)

#: The timeout of connecting and of sending.
_TIMEOUT_SECONDS = 1

#: The pause between two attempts to lock the file, which others hold for a write.
_LOCK_PAUSE_SECONDS = 0.001

#: Seconds without a retry after a failure. An output that does not answer would delay every commit.
_REQUIRED_RETRY_SECONDS = 1
_OPTIONAL_RETRY_SECONDS = 10

_SYSLOG_PORT = 514
_SYSLOG_HEADER = b"<%d>secret-manager: " % (SysLogHandler.LOG_AUTHPRIV << 3 | SysLogHandler.LOG_INFO)


class Sink:
    """Sends stored entries to an output, one JSON line for each entry.

    Methods raise `AuditUnavailableError` if the output is required and fails: then it raises `OSError`.
    """

    def __init__(self, output: "FileOutput | SyslogOutput", *, required: bool) -> None:
        """Prepare to write to *output*; if *required*, its failure fails the attempts of the commit."""
        self._output = output
        self.is_required = required
        self._retry_seconds = _REQUIRED_RETRY_SECONDS if required else _OPTIONAL_RETRY_SECONDS
        self._lock = Lock()
        self._failed_at: float | None = None

    def prepare(self) -> None:
        """Open the output before MongoDB gets the entries."""
        with self._lock:
            is_open = self._try(self._output.open)
        if not is_open:
            self._refuse()

    def write(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Write *entries*, which MongoDB has stored."""
        lines = [json.dumps(record_of(entry), default=str).encode() for entry in entries]
        with self._lock:
            # After a failure `prepare` waits, but MongoDB has these entries: a required output must get them.
            is_written = self._try(lambda: self._output.write(lines), waits=not self.is_required)
            if is_written and self._failed_at is not None:
                self._failed_at = None
                logger.info("audit sink works again")
        (metrics.SINK_WRITTEN if is_written else metrics.SINK_FAILED).inc(len(entries))
        if not is_written:
            self._refuse()

    def close(self) -> None:
        """Close the output."""
        with self._lock:
            self._output.close()

    def _try(self, action: Callable[[], None], *, waits: bool = True) -> bool:
        """Return whether *action* succeeds; if it *waits*, it is not run soon after a failure."""
        if waits and self._failed_at is not None and monotonic() < self._failed_at + self._retry_seconds:
            return False
        try:
            action()
        except OSError as error:
            if self._failed_at is None:
                logger.error("audit sink failed: %s", error.strerror or type(error).__name__)  # noqa: TRY400 - a traceback adds nothing
            self._failed_at = monotonic()
            self._output.close()
            return False
        return True

    def _refuse(self) -> None:
        if self.is_required:
            raise AuditUnavailableError


class FileOutput:
    """Appends to a file that several processes share and that can be rotated by renaming it.

    All lines of a write are in the file, or none: of a write that fails, as on a full disk, the part that was
    written is cut off. The next call of `open` writes these lines again. If the part cannot be cut off, its
    whole lines stay.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        #: The lines of the last write, if it failed.
        self._rest = b""

    def open(self) -> None:
        """Open the file at the path unless it is open, and write what the last write did not."""
        descriptor = self._opened()
        if self._rest:
            self._append_rest(descriptor)
            self._rest = b""

    def write(self, lines: Sequence[bytes]) -> None:
        """Append *lines*, which have no line breaks, in one write: no other process writes between them."""
        # First the rest, so that no more than one write is kept.
        self.open()
        self._rest = b"".join(line + b"\n" for line in lines)
        self.open()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append_rest(self, descriptor: int) -> None:
        with _locked(descriptor) as is_locked:
            start = os.fstat(descriptor).st_size
            data = b"\n" + self._rest if self._is_torn(descriptor, start) else self._rest
            written = 0
            try:
                while written < len(data):
                    written += os.write(descriptor, data[written:])
            except OSError:
                # A process that takes no lock, such as one of an earlier version, can have written meanwhile.
                is_mine = is_locked and os.fstat(descriptor).st_size == start + written
                if written and not (is_mine and _cut(descriptor, start)):
                    # The whole lines of that part are not written again.
                    self._rest = data[data.rfind(b"\n", 0, written) + 1 :]
                raise

    def _is_torn(self, descriptor: int, size: int) -> bool:
        """Return whether the file ends with a part of a line, as a killed process leaves it."""
        with suppress(OSError), self._path.open("rb", buffering=0) as file:
            # It can have been rotated since it was opened.
            is_same = os.path.samestat(os.fstat(file.fileno()), os.fstat(descriptor))
            return is_same and size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
        # It may be writable only.
        return False

    def _opened(self) -> int:
        if self._descriptor is None or not self._is_current(self._descriptor):
            self.close()
            # Non-blocking: a pipe without a reader would block the process.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
            self._descriptor = os.open(self._path, flags, 0o600)
            if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
        return self._descriptor

    def _is_current(self, descriptor: int) -> bool:
        with suppress(FileNotFoundError):
            return os.path.samestat(self._path.stat(), os.fstat(descriptor))
        return False


@contextmanager
def _locked(descriptor: int) -> Iterator[bool]:
    """Lock the file for the block, so that no other process writes to it; yield whether it is locked."""
    is_locked = _lock(descriptor)
    try:
        yield is_locked
    finally:
        if is_locked:
            flock(descriptor, LOCK_UN)


def _lock(descriptor: int) -> bool:
    until = monotonic() + _TIMEOUT_SECONDS
    while True:
        try:
            flock(descriptor, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            if monotonic() > until:
                raise
            sleep(_LOCK_PAUSE_SECONDS)
        except OSError:
            # Some network filesystems have no locks.
            return False
        else:
            return True


def _cut(descriptor: int, size: int) -> bool:
    """Cut the file to *size*; return whether that was possible: a file can be set to be appended to only."""
    with suppress(OSError):
        os.ftruncate(descriptor, size)
        return True
    return False


class SyslogOutput:
    """Sends each line to a syslog server, as a message or, over TCP, as a line."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._socket: socket.socket | None = None

    def open(self) -> None:
        """Connect unless there is a connection that the server has not closed."""
        self._connected()

    def write(self, lines: Sequence[bytes]) -> None:
        """Send *lines*."""
        connection = self._connected()
        messages = [_SYSLOG_HEADER + line for line in lines]
        if connection.type == socket.SOCK_STREAM:
            connection.sendall(b"".join(message + b"\n" for message in messages))
        else:
            for message in messages:
                connection.send(message)

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        if self._socket is None or _is_closed(self._socket):
            self.close()
            self._socket = self._connect()
        return self._socket


def sink(uri: str | None, *, required: bool) -> Sink | None:
    """Return the sink at *uri*, in the form that the settings require; None without one."""
    if uri is None:
        return None
    parts = urlsplit(uri)
    if parts.scheme == "file":
        return Sink(FileOutput(Path(unquote(parts.path))), required=required)
    if parts.scheme == "unix":
        return Sink(SyslogOutput(lambda: _local(unquote(parts.path))), required=required)
    address = (parts.hostname or "", parts.port or _SYSLOG_PORT)
    connect = _stream if parts.scheme == "syslog+tcp" else _datagrams
    return Sink(SyslogOutput(lambda: connect(address)), required=required)


def _stream(address: tuple[str, int]) -> socket.socket:
    return socket.create_connection(address, _TIMEOUT_SECONDS)


def _datagrams(address: tuple[str, int]) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(*address, type=socket.SOCK_DGRAM)[0]
    return _connected(socket.socket(family, kind, protocol), target)


def _local(path: str) -> socket.socket:
    return _connected(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM), path)


def _connected(made: socket.socket, target: Any) -> socket.socket:
    made.settimeout(_TIMEOUT_SECONDS)
    try:
        made.connect(target)
    except OSError:
        made.close()
        raise
    return made


def _is_closed(connected: socket.socket) -> bool:
    """Return whether the server has closed the connection or may have restarted."""
    if connected.type == socket.SOCK_DGRAM:
        return connected.family == socket.AF_UNIX
    connected.settimeout(0)
    try:
        return connected.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        connected.settimeout(_TIMEOUT_SECONDS)
