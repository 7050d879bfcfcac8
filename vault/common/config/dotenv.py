"""Files of settings, such as `.env` in the working folder, which applies where the environment has none."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from vault.common.errors import SettingsError


def dotenv_path() -> Path:
    """Return the path of the `.env` file, which may not exist."""
    return Path.cwd() / ".env"


def read_dotenv() -> dict[str, str | None]:
    """Return the settings in the `.env` file; nothing if there is no file. As `dotenv_content`."""
    return parsed(dotenv_content())


def dotenv_content() -> str:
    """Return the content of the `.env` file; nothing if there is no file.

    Its settings control access and name the database, so the file, and a link to it, must belong to this
    process's user or to root. The file must not be writable by everyone.

    Raises:
        SettingsError: The file cannot be read, or another user can change it.
    """
    try:
        file = dotenv_path()
        # A folder with this name is a virtual environment.
        if not (file.is_file() or file.is_fifo()):
            return ""
        # Another user can link to a file of root with chosen content, such as a setuid program's arguments.
        _require_safe(file.lstat())
        # Checked before opening: opening another user's FIFO would wait for that user.
        _require_safe(file.stat())
        with file.open(encoding="utf-8") as stream:
            # Checked again: the path may name another file by now.
            _require_safe(os.fstat(stream.fileno()))
            return stream.read()
    except (OSError, ValueError):
        raise _refusal("is not a readable text file.") from None


def parsed(content: str) -> dict[str, str | None]:
    """Return the variables in the *content* of a file."""
    return dotenv_values(stream=StringIO(content), interpolate=False)


def flaws(content: str) -> Iterator[str]:
    """Yield a phrase for each line of *content* that sets nothing, and each variable that is set again."""
    bindings = list(parse_stream(StringIO(content)))
    for one in bindings:
        if one.error or (one.key and one.value is None):
            yield f"line {one.original.line} is not of the form NAME=value"
    counts = Counter(one.key for one in bindings if one.key)
    yield from (f"{name} is set {count} times" for name, count in counts.items() if count > 1)


def _require_safe(state: os.stat_result) -> None:
    if state.st_uid not in (0, os.geteuid()):
        raise _refusal("belongs to another user. Change its owner (chown), or set the environment instead.")
    # The group may write: with a umask of 002, every new file allows that.
    if stat.S_ISREG(state.st_mode) and state.st_mode & stat.S_IWOTH:
        raise _refusal("is writable by everyone. Revoke that right with `chmod o-w .env`.")


def _refusal(reason: str) -> SettingsError:
    return SettingsError(f"invalid settings: .env: {reason}", invalid={".env": reason})
