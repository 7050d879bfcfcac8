"""The `.env` file of the working folder, read only if no other user can change it."""

import os
import stat
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values

from vault.errors import SettingsError


def path() -> Path:
    """Return where the file is, or would be."""
    return Path.cwd() / ".env"


def read() -> dict[str, str | None]:
    """Return what the file sets; nothing if there is no such file.

    Its settings decide who is let in and which database gets the secrets, so the file must belong to this
    process's user or to root, and must not be writable by everyone.

    Raises:
        SettingsError: It cannot be read, or another user can change it.
    """
    try:
        file = path()
        # A folder of this name is a virtual environment.
        if not (file.is_file() or file.is_fifo()):
            return {}
        # First: opening another user's FIFO would wait for that user.
        _require_safe(file.stat())
        with file.open(encoding="utf-8") as stream:
            # The name may lead elsewhere by now.
            _require_safe(os.fstat(stream.fileno()))
            content = stream.read()
    except (OSError, ValueError):
        raise _refusal("not a readable text file.") from None
    return dotenv_values(stream=StringIO(content), interpolate=False)


def _require_safe(state: os.stat_result) -> None:
    if state.st_uid not in (0, os.geteuid()):
        raise _refusal("belongs to another user. Change its owner (chown), or set the environment instead.")
    if stat.S_ISREG(state.st_mode) and state.st_mode & stat.S_IWOTH:
        raise _refusal("can be written by everyone. Take that right away: chmod o-w .env")


def _refusal(reason: str) -> SettingsError:
    return SettingsError(f"wrong settings:\n  .env: {reason}")
