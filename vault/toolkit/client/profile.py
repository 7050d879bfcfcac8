"""Profiles: the address and the token of a login, kept in the user's home."""

import json
import os
import stat
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vault.common.errors import ProfileError
from vault.toolkit.client import private_files


@dataclass(frozen=True, slots=True)
class Profile:
    """The service at *url*, and a token for it."""

    url: str
    token: str = field(repr=False)
    #: The file with the service's certificate authorities; None for the system's.
    ca_cert: str | None = None


def place() -> Path:
    """Return the path of the profile, whether it exists or not.

    Raises:
        ProfileError: The user has no home.
    """
    folder = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    # The standard ignores relative paths.
    if not folder.is_absolute():
        try:
            folder = Path.home() / ".config"
        except RuntimeError:
            raise ProfileError("there is no home for a profile", hint="set HOME") from None
    return folder / "secret-manager" / "profile"


def load() -> Profile | None:
    """Return the profile, or None without one.

    Raises:
        ProfileError: It is not private, or cannot be read.
    """
    try:
        path = place()
    except ProfileError:
        return None
    try:
        with path.open(encoding="utf-8") as file:
            _require_private(path, os.fstat(file.fileno()))
            content = json.load(file)
        return Profile(**{name: str(text) for name, text in content.items() if text is not None})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"{path} cannot be read: {error.strerror}") from None
    except (AttributeError, RecursionError, TypeError, ValueError):
        raise ProfileError(f"{path} is not a profile", hint="run `secret-manager login` again") from None


def save(profile: Profile) -> None:
    """Keep *profile* in place of an earlier one.

    Raises:
        ProfileError: It cannot be written, or the user has no home.
    """
    path = place()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        private_files.write(path, json.dumps(asdict(profile)).encode())
    except OSError as error:
        raise ProfileError(f"{path} cannot be written: {error.strerror}") from None


def remove() -> bool:
    """Remove the profile, and return whether there was one.

    Raises:
        ProfileError: It cannot be removed, or the user has no home.
    """
    path = place()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise ProfileError(f"{path} cannot be removed: {error.strerror}") from None
    return True


def _require_private(path: Path, state: os.stat_result) -> None:
    if not stat.S_ISREG(state.st_mode) or state.st_uid != os.geteuid():
        raise ProfileError(f"{path} is not a file of your own", hint="run `secret-manager login` again")
    if state.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ProfileError(
            f"other users can use {path}",
            hint=f"run `chmod 600 {path}`, and replace the token if one of them may have read it",
        )
