"""The log of the service that `dev` runs: all of it, or only warnings and errors."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from vault.toolkit.cli.output import warn

_SHOWN_LEVELS = ("warning", "error", "critical")
#: Its lines are warnings for refusals, which concern only the client.
_REQUEST_LOGGER = "vault.toolkit.http.request_log"
#: The warning about a MongoDB of one member, which `dev` runs itself.
_ONE_MEMBER = "no redundancy: "


class WholeLog:
    """The whole log, on the standard output of this process."""

    @contextmanager
    def output(self) -> Iterator[IO[bytes] | None]:
        """Yield the standard output for the service; None for that of this process."""
        yield None

    def show(self) -> None:
        """Do nothing: the service itself prints the log."""


class FiledLog(WholeLog):
    """The log in the file *path*, which is emptied first; `show` prints its warnings and errors."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._path.write_bytes(b"")
        self._position = 0

    @contextmanager
    def output(self) -> Iterator[IO[bytes]]:
        """Yield the file, which keeps earlier lines."""
        with self._path.open("ab") as file:
            yield file

    def show(self) -> None:
        """Print the warnings and errors since the last call, and lines that are not part of the log."""
        with self._path.open("rb") as file:
            file.seek(self._position)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._position += len(complete + newline)
        for line in complete.decode(errors="replace").splitlines():
            if shown := _shown(line):
                warn(shown)


def _shown(line: str) -> str:
    """Return *line* as a person reads it; empty if it is neither a warning nor an error."""
    entry = _entry(line)
    if entry is None:
        return line
    if entry.get("logger") == _REQUEST_LOGGER or entry.get("level") not in _SHOWN_LEVELS:
        return ""
    message = str(entry.get("message"))
    return "" if message.startswith(_ONE_MEMBER) else f"{entry['level']}: {message}"


def _entry(line: str) -> dict[str, Any] | None:
    """Return the entry of the log in *line*; None if it has none, such as a part of a traceback."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None
